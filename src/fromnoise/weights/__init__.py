"""Model weights: our own format and third-party formats."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.weights import autoencoder_kl as autoencoder_kl
    from fromnoise.weights import diffusers as diffusers
    from fromnoise.weights import dit as dit
    from fromnoise.weights import formats as formats
    from fromnoise.weights.native import load as load
    from fromnoise.weights.native import load_autoencoder as load_autoencoder
    from fromnoise.weights.native import load_classifier as load_classifier
    from fromnoise.weights.native import save as save
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        load="native",
        load_autoencoder="native",
        load_classifier="native",
        save="native",
        autoencoder_kl="autoencoder_kl:*",
        diffusers="diffusers:*",
        dit="dit:*",
        formats="formats:*",
    )
