"""Weights: our format, and other people's."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    load="native",
    load_autoencoder="native",
    load_classifier="native",
    save="native",
    autoencoder_kl="autoencoder_kl:*",
    diffusers="diffusers:*",
    dit="dit:*",
)
