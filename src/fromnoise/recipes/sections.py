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
"""Folders of a run that a stage must not be named after."""


def insist_on_folders(stages: Mapping[str, Any]) -> None:
    """Check that the names of stages can be folder names and are not used by a run already.

    Raises:
        FromNoiseError: a name cannot be used.
    """
    for name in stages:
        if not re.fullmatch("[a-z0-9_-]{1,64}", name) or name in _TAKEN:
            raise FromNoiseError(f"a stage cannot be called {name!r}: take small letters, digits, - and _, and "
                                 f"none of {', '.join(_TAKEN)}")  # fmt: skip


class SampleConfig(Section):
    """How the model is sampled by default by `fromnoise sample`."""

    sampler: Spec = Field({"name": "unipc"}, description="name and options of a sampler")
    steps: int = Field(20, ge=1)
    spacing: str | None = Field(None, description="spacing of the levels; default: that of the sampler")
    clip: bool = Field(True, description="clip the predicted image to [-1, 1] at every step")
    threshold: float | None = Field(None, ge=0, le=100, description="percentile of dynamic thresholding, replaces clip")
    guidance: float = Field(1.0, description="scale of classifier-free guidance, 1 = off")
    guidance_interval: tuple[float, float] | None = Field(None, description="range of sigma/alpha with guidance")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="how far x0 regains its unguided deviation")
    guidance_channels: int | None = Field(None, ge=1, description="guide only this many leading channels")
    strength: float = Field(0.0, ge=0, le=1, description="strength of the augmentation of the small image")
    truncated: bool = Field(False, description="whether the previous stage stops at that noise")


class EvalConfig(Section):
    """How the model is evaluated by default by `fromnoise eval`."""

    features: str = Field("inception", description="name of a feature extractor")
    n: int = Field(50_000, ge=2, le=10**8, description="number of samples")
    split: Literal["train", "test"] = Field("train", description="part of the data to compare the samples with")


class LowConfig(Section):
    """For super-resolution models: how they are conditioned on the small image."""

    factor: int = Field(2, ge=2, description="factor by which each side grows")
    augmentation: Spec = Field({"name": "none"}, description="name and options of the augmentation of the small image")


class LatentConfig(Section):
    """For latent models: the autoencoder."""

    autoencoder: str = Field(description="recipe of the autoencoder, which is trained first if none is given")

    @field_validator("autoencoder")
    @classmethod
    def _known_autoencoder(cls, value: str) -> str:
        recipes.registry.check(value)  # a name only: with a path, a run's config.yaml could execute code
        return value


class TextConfig(Section):
    """For text-conditional models: how captions are encoded."""

    encoder: Spec = Field({"name": "learned"}, description="name and options of a text encoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of captions dropped in training, for guidance")

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, value: Spec) -> Spec:
        text.registry.check(value)
        return value


class UnclipConfig(Section):
    """For stages of unCLIP: the role of the stage, and the image-text model of the embeddings."""

    image_text: str = Field(description="recipe of the image-text model, which is trained first if none is given")
    role: Literal["prior", "decoder"] = Field(description="prior: text to embedding; decoder: embedding to image")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of embeddings dropped in a decoder's training")

    @field_validator("image_text")
    @classmethod
    def _known_image_text(cls, value: str) -> str:
        recipes.registry.check(value)  # only a name, see LatentConfig
        return value


class DistillConfig(Section):
    """For students: how they learn from a teacher, or from data alone."""

    way: Spec = Field(description="name and options of the distillation")
    guidance: float = Field(1.0, description="guidance scale of the teacher, 1 = off")

    @field_validator("way")
    @classmethod
    def _known_way(cls, value: Spec) -> Spec:
        distill.registry.check(value)
        if "teacher" in value:
            raise FromNoiseError("no file holds a teacher: leave it out, and name its run or saved model")
        return value
