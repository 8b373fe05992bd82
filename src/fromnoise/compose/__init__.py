"""Models made of models: latents and cascades."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__, Autoencoded="autoencoded", PCA="latent", Scaled="latent", Stage="cascade", cascade="cascade:*"
)
