"""The studio: draw, train, look inside, edit and measure in the browser, on your own machine."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.app.studio.serving import Settings as Settings
    from fromnoise.app.studio.serving import serve as serve
else:
    __getattr__, __dir__ = lazy_attributes(__name__, Settings="serving", serve="serving")
