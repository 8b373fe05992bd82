"""The configuration of an autoencoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig, Spec
from fromnoise.registry.section import Section

if TYPE_CHECKING:
    from fromnoise.data.examples import Examples
    from fromnoise.denoise import Codec
    from fromnoise.nn.coder import Autoencoder
    from fromnoise.train.task import Task


class LossConfig(Section):
    """Mean absolute error + LPIPS + a penalty on the latents + a patch discriminator; see `train.Autoencoding`."""

    penalty: float = Field(1e-6, ge=0, description="weight of the KL divergence, or of VQ's codebook and commitment")
    perceptual: float = Field(0.0, ge=0, description="weight of LPIPS, which downloads VGG")
    discriminator: Spec | None = Field(None, description="name and options of a discriminator; default: none")
    adversarial: float = Field(0.1, ge=0, description="weight of the adversarial loss")
    after: int = Field(0, ge=0, description="training steps before the adversarial loss sets in")


class AutoencoderRecipe(RunConfig):
    """The complete configuration of an autoencoder."""

    what: ClassVar[str] = "an autoencoder"
    holds: ClassVar[str] = "autoencoder"

    kind: Literal["autoencoder"] = "autoencoder"
    loss: LossConfig = LossConfig()

    def task(self, source: "Examples", codec: "Codec | None" = None, sampled: Any = None) -> "Task":
        import torch

        from fromnoise import nn
        from fromnoise.train import Autoencoding, Pair

        network, loss, adversary = self.build(source.shape[0]), self.loss, None
        if loss.discriminator is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                adversary = nn.build(loss.discriminator, in_channels=source.shape[0])
            adversary.check_size(source.shape[1:])
        shape = network.latent_shape(source.shape)  # pyrefly: ignore[bad-argument-type]
        return Autoencoding(Pair(network, adversary), self.seed, shape, loss.penalty, loss.adversarial, loss.after,
                            loss.perceptual)  # fmt: skip

    def next_command(self, out: Path) -> str:
        return f"fromnoise train RECIPE --autoencoder {out}, with a recipe of a latent model such as digits-latent"

    def build(self, channels: int | None = None) -> "Autoencoder":
        """The untrained network, with weights drawn from `seed`.

        Args:
            channels: channels of the images; default: from `data`.
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
        """The shape (c, h, w) of the latents of images of shape (C, H, W).

        Raises:
            FromNoiseError: a side is not divisible as the network needs it.
        """
        import torch

        with torch.device("meta"):
            return self.build(shape[0]).latent_shape(shape)
