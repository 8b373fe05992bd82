"""What a recipe of an autoencoder is."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig, Spec

if TYPE_CHECKING:
    from fromnoise.nn.coder import Autoencoder


class LossConfig(BaseModel):
    """Mean absolute error + LPIPS + penalty of the latents + adversary of the patches; see `train.Autoencoding`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    penalty: float = Field(1e-6, ge=0, description="weight of KL's divergence, or of VQ's codebook and commitment")
    perceptual: float = Field(0.0, ge=0, description="weight of LPIPS, for which VGG is downloaded")
    discriminator: Spec | None = Field(None, description="a discriminator's name and options; none for no adversary")
    adversarial: float = Field(0.1, ge=0, description="weight of fooling it")
    after: int = Field(0, ge=0, description="steps before it counts")


class AutoencoderRecipe(RunConfig):
    """An autoencoder's whole configuration."""

    what: ClassVar[str] = "an autoencoder"
    holds: ClassVar[str] = "autoencoder"

    kind: Literal["autoencoder"] = "autoencoder"
    loss: LossConfig = LossConfig()

    def build(self, channels: int | None = None) -> "Autoencoder":
        """The untrained network, with weights drawn from `seed`.

        Args:
            channels: of the images; None means what `data` says.
        """
        import torch

        from fromnoise import nn
        from fromnoise.nn.coder import Autoencoder

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = nn.build(self.network, in_channels=channels or self.data.channels or 3)
        if not isinstance(network, Autoencoder):
            raise FromNoiseError(f"network {self.network['name']} is no autoencoder: take kl-autoencoder or "
                                 "vq-autoencoder")  # fmt: skip
        return network

    def latent_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(c, h, w) of the latents of images (C, H, W).

        Raises:
            FromNoiseError: a side does not fit.
        """
        import torch

        with torch.device("meta"):
            return self.build(shape[0]).latent_shape(shape)
