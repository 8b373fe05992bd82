"""Theory against practice: compute every identity with the shipped code and compare it with the mathematics."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.verify._check import Check as Check
    from fromnoise.verify._check import Row as Row
    from fromnoise.verify._check import checks as checks
    from fromnoise.verify._check import rows as rows
    from fromnoise.verify._report import check_figures as check_figures
    from fromnoise.verify._report import html as html
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__, Check="_check", Row="_check", checks="_check", rows="_check", html="_report", check_figures="_report"
    )
