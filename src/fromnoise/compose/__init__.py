"""Models composed of several networks: latent models, cascades, unCLIP and control branches."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.compose import cascade as cascade
    from fromnoise.compose import unclip as unclip
    from fromnoise.compose.autoencoded import Autoencoded as Autoencoded
    from fromnoise.compose.cascade import Stage as Stage
    from fromnoise.compose.control import controlled as controlled
    from fromnoise.compose.latent import PCA as PCA
    from fromnoise.compose.latent import Scaled as Scaled
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        Autoencoded="autoencoded",
        PCA="latent",
        Scaled="latent",
        Stage="cascade",
        controlled="control",
        cascade="cascade:*",
        unclip="unclip:*",
    )
