"""What a recipe is: everything that decides how a denoiser is trained, sampled and measured."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from fromnoise.errors import FromNoiseError
from fromnoise.recipes.config import RunConfig, Spec, merged

if TYPE_CHECKING:
    from fromnoise.augmentations.low_res import LowResolution
    from fromnoise.denoise import Denoiser


class SampleConfig(BaseModel):
    """How this model is best sampled: what `fromnoise sample` does unless told otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampler: Spec = Field({"name": "unipc"}, description="a sampler's name and its options")
    steps: int = Field(20, ge=1)
    spacing: str | None = Field(None, description="which levels; the sampler's usual ones unless given")
    clip: bool = Field(True, description="clip the predicted image to [-1, 1] at every step")
    guidance: float = Field(1.0, description="scale of classifier-free guidance, 1 = off")
    guidance_interval: tuple[float, float] | None = Field(None, description="of sigma/alpha in which it holds")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="share of the unguided deviation that is given back")
    guidance_channels: int | None = Field(None, ge=1, description="only the first so many are guided")
    strength: float = Field(0.0, ge=0, le=1, description="of the augmentation of the image that is enlarged")
    truncated: bool = Field(False, description="whether the stage before stops at that strength of noise")


class EvalConfig(BaseModel):
    """How this model is best measured: what `fromnoise eval` does unless told otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str = Field("inception", description="a feature extractor's name")
    n: int = Field(50_000, ge=2, description="samples")
    split: Literal["train", "test"] = Field("train", description="of the data: what the samples are compared with")


class LowConfig(BaseModel):
    """For a model that enlarges images: how it is told them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: int = Field(2, ge=2, description="by which the sides grow")
    augmentation: Spec = Field({"name": "none"}, description="of the small image: a name and its options")


class LatentConfig(BaseModel):
    """For a model of latents: whose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    autoencoder: str = Field(description="recipe of the autoencoder, which is trained first unless one is given")


class Recipe(RunConfig):
    """A denoiser's whole configuration.

    Attributes:
        stages: of a cascade, in order: what each changes of the rest, as nested values. Its models stand in folders of
            these names, and the rest is what they share.
    """

    what: ClassVar[str] = "a diffusion model"
    holds: ClassVar[str] = "denoiser"

    kind: Literal["diffusion"] = "diffusion"
    schedule: Spec = Field({"name": "linear", "T": 1000})
    parameterization: Literal["eps", "x0", "mean", "v", "score", "edm"] | Spec = "eps"
    variance: Literal["fixed_small", "fixed_large", "learned_range"] = "fixed_large"
    objective: Spec = Field({"name": "simple"})
    times: Spec = Field({"name": "uniform"})
    low: LowConfig | None = None
    latent: LatentConfig | None = None
    sample: SampleConfig = SampleConfig()
    evaluate: EvalConfig = EvalConfig()
    stages: dict[str, dict[str, Any]] = Field({})

    def stage(self, name: str) -> "Recipe":
        """The configuration of one stage of a cascade.

        Raises:
            FromNoiseError: it changes a key that there is not.
        """
        made = self.checked(merged(self.model_dump(mode="json"), self.stages[name]) | {"stages": {}})
        made._low_res()  # before the first stage is trained, not after
        return made

    def build(self, shape: tuple[int, int, int] | None = None) -> "Denoiser":
        """The untrained denoiser, with weights drawn from `seed`.

        Args:
            shape: (C, H, W) of the images or latents; None means what `data` says.

        Raises:
            FromNoiseError: no shape is known, the size does not fit the network, or an option is wrong.
        """
        import torch

        from fromnoise import nn, schedules
        from fromnoise.denoise import Denoiser
        from fromnoise.variance import variance

        shape = self._state_shape() if shape is None else shape
        shown = {"image_channels": shape[0]} if self.low else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            outputs = shape[0] * variance(self.variance).outputs
            null = self.train.label_dropout > 0
            network = nn.build(self.network, in_channels=shape[0], out_channels=outputs, null_label=null, **shown)
        if not getattr(network, "denoises", True):
            raise FromNoiseError(f"network {self.network['name']} is no denoiser: take unet or dit")
        network.check_size(shape[1:])
        if self.low and not getattr(network, "image_channels", 0):
            raise FromNoiseError(f"network {self.network['name']} cannot be shown an image to enlarge: take unet")
        schedule = schedules.build(self.schedule)
        return Denoiser(network, schedule, self.parameterization, self.variance, shape, low=self._low_res())

    def _low_res(self) -> "LowResolution | None":
        """How a model that enlarges is told of the small image.

        Raises:
            FromNoiseError: it is to be sampled with a strength of the augmentation that training does not show.
        """
        if self.low is None:
            return None
        from fromnoise import augmentations
        from fromnoise.augmentations.low_res import LowResolution

        augmentation = augmentations.build(self.low.augmentation)
        if self.sample.strength > augmentation.most:
            raise FromNoiseError(f"sample.strength {self.sample.strength:g} is more than training shows, which is "
                                 f"{augmentation.most:g} for {self.low.augmentation['name']}")  # fmt: skip
        return LowResolution(self.low.factor, augmentation)

    def _state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what is denoised, from `data` alone: images, or latents of the autoencoder's recipe."""
        if self.data.reduced is None or self.data.channels is None:
            raise FromNoiseError(f"recipe {self.recipe} takes its size from the data: give build() a shape (C, H, W)")
        if self.latent is None:
            return (self.data.channels, *self.data.reduced)
        from fromnoise import recipes

        return recipes.load(self.latent.autoencoder).latent_shape((self.data.channels, *self.data.reduced))
