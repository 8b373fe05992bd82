"""Models made of models: latents."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(__name__, Codec="latent", PCA="latent", Scaled="latent")
