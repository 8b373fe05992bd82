"""Diffusers: a folder with model_index.json, a network, a scheduler, and perhaps an autoencoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from fromnoise.denoise import Denoiser
from fromnoise.registry import register
from fromnoise.weights import lora, pipeline_writing, pipelines
from fromnoise.weights.formats.base import Card, Format
from fromnoise.weights.formats.source import Source
from fromnoise.weights.names import CONFIG, INDEX


@register("diffusers")
@dataclass(frozen=True)
class Diffusers(Format):
    """The folder of a pipeline, such as `DDPMPipeline` or `DDIMPipeline`, or of its U-Net alone."""

    loads: ClassVar[str] = 'diffusers.DDPMPipeline.from_pretrained("{path}")().images'

    def claims(self, source: Source) -> bool:
        named = source.has(INDEX) or source.has(CONFIG)
        return source.is_folder and (named or lora.is_one(source.path))

    def read(self, source: Source) -> nn.Module:
        source.told()
        return pipelines.load(source.path, source.warn)

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        pipeline_writing.write(denoiser, path, card.clip, card.about)
