"""The sections of a denoiser's configuration."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from fromnoise import distill, recipes
from fromnoise.errors import FromNoiseError
from fromnoise.nn import text
from fromnoise.recipes.config import Spec
from fromnoise.registry.section import Section

_TAKEN = (
    "autoencoder",
    "image-text",
    "teacher",
    "pairs",
    "checkpoints",
    "classifier",
    "eval",
    "pictures",
    "samples",
    "wandb",
)
"""The folders that a run has besides those of its stages."""


def insist_on_folders(stages: Mapping[str, Any]) -> None:
    """That the names of stages are those of folders that a run has not already.

    Raises:
        FromNoiseError: one is not.
    """
    for name in stages:
        if not re.fullmatch("[a-z0-9_-]{1,64}", name) or name in _TAKEN:
            raise FromNoiseError(f"a stage cannot be called {name!r}: take small letters, digits, - and _, and "
                                 f"none of {', '.join(_TAKEN)}")  # fmt: skip


class SampleConfig(Section):
    """How this model is best sampled: the defaults of `fromnoise sample`."""

    sampler: Spec = Field({"name": "unipc"}, description="a sampler's name and its options")
    steps: int = Field(20, ge=1)
    spacing: str | None = Field(None, description="which levels; the sampler's own by default")
    clip: bool = Field(True, description="clip the predicted image to [-1, 1] at every step")
    threshold: float | None = Field(None, ge=0, le=100, description="percentile of dynamic thresholding, for clipping")
    guidance: float = Field(1.0, description="scale of classifier-free guidance, 1 = off")
    guidance_interval: tuple[float, float] | None = Field(None, description="of sigma/alpha in which it holds")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="share of the unguided deviation that is given back")
    guidance_channels: int | None = Field(None, ge=1, description="only the first so many are guided")
    strength: float = Field(0.0, ge=0, le=1, description="of the augmentation of the image that is enlarged")
    truncated: bool = Field(False, description="whether the stage before stops at that strength of noise")


class EvalConfig(Section):
    """How this model is best measured: the defaults of `fromnoise eval`."""

    features: str = Field("inception", description="a feature extractor's name")
    n: int = Field(50_000, ge=2, le=10**8, description="samples")
    split: Literal["train", "test"] = Field("train", description="of the data: what the samples are compared with")


class LowConfig(Section):
    """For a super-resolution model: how it is conditioned on the low-resolution image."""

    factor: int = Field(2, ge=2, description="by which the sides grow")
    augmentation: Spec = Field({"name": "none"}, description="of the small image: a name and its options")


class LatentConfig(Section):
    """For a model of latents: whose."""

    autoencoder: str = Field(description="recipe of the autoencoder, which is trained first unless one is given")

    @field_validator("autoencoder")
    @classmethod
    def _known_autoencoder(cls, value: str) -> str:
        recipes.registry.check(value)  # a name: a path would let a run's config.yaml have code executed
        return value


class TextConfig(Section):
    """For a text-conditional model: the captions of its data."""

    encoder: Spec = Field({"name": "learned"}, description="of texts: a name and its options")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the captions that training hides, for guidance")

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, value: Spec) -> Spec:
        text.registry.check(value)
        return value


class UnclipConfig(Section):
    """For a stage of unCLIP: what it is, and whose vectors of images are the embeddings."""

    image_text: str = Field(description="recipe of the image-text model, which is trained first unless one is given")
    role: Literal["prior", "decoder"] = Field(description="prior: text to embedding; decoder: embedding to image")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the embeddings that a decoder's training hides")

    @field_validator("image_text")
    @classmethod
    def _known_image_text(cls, value: str) -> str:
        recipes.registry.check(value)  # as of an autoencoder
        return value


class DistillConfig(Section):
    """For a student: how it learns from its teacher, or from data alone."""

    way: Spec = Field(description="of distilling: a name and its options")
    guidance: float = Field(1.0, description="scale at which the teacher is guided, 1 = off; what a student learns")

    @field_validator("way")
    @classmethod
    def _known_way(cls, value: Spec) -> Spec:
        distill.registry.check(value)
        if "teacher" in value:
            raise FromNoiseError("no file holds a teacher: leave it out, and name its run or saved model")
        return value
