"""Whether samples show what they were asked for: an image-text model looks for their texts among others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.app.runs.config import has_any, read
from fromnoise.data.images import Images, to_unit
from fromnoise.data.loading import load
from fromnoise.errors import FromNoiseError
from fromnoise.guidance import ImageText
from fromnoise.recipes.contrast import ImageTextConfig
from fromnoise.system import rng
from fromnoise.system.hardware import choose
from fromnoise.weights import guides

AMONG = 100
CAPTIONS = "caption agreement"
"""The share of samples whose text is found, by its name."""
_TOGETHER, _KNOWN = 250, 500


@dataclass(frozen=True)
class Judge:
    """An image-text model that saw neither the samples nor, where its run held images out, those.

    Attributes:
        model: on its device.
        captions: all different ones of the data, which others are drawn from.
        images, numbers: real images that it is tried on: those that were held out, else all.
        about: JSON values for the report.
    """

    model: ImageText
    captions: Sequence[str]
    images: Images
    numbers: Sequence[int]
    about: dict[str, Any]

    @classmethod
    def opened(cls, run: Path, shape: tuple[int, ...] | None, progress: Callable[..., Any]) -> "Judge":
        """From a run, whose data gives the other captions.

        Raises:
            FromNoiseError: no such run, or it is of images of another shape.
        """
        config = read(run, ImageTextConfig) if has_any(run) else None
        model = guides.load_image_text(run)
        if config is None:
            raise FromNoiseError(f"{run}: holds a saved model, and its data is needed: name a run")
        if model.shape != shape:
            raise FromNoiseError(f"{run} judges images of {list(model.shape)}, and these are {list(shape or ())}: "
                                 "train one of their size")  # fmt: skip
        images = load(config.data, progress)
        held = config.data.hold_out
        numbers = images.split_numbers(held, config.seed)[1].tolist() if held else range(len(images))
        about = {"run": str(run), "among": AMONG, "real images": len(numbers), "held out": bool(held)}
        captions = [text for text in dict.fromkeys(images.captions) if text]
        if len(captions) < AMONG:
            raise FromNoiseError(f"{run}: its data has {len(captions)} different captions, and {AMONG} are needed")
        return cls(model.to(choose("fp32").device), captions, images, numbers, about)

    @cached_property
    def own(self) -> float:
        """The share of real images whose caption it finds: those that it was tried on."""
        return self._of(self.numbers)

    @cached_property
    def learned(self) -> float:
        """The same of images that it learned from, 500 at most."""
        held = set(self.numbers) if self.about["held out"] else set()
        order = rng.permutation(0, 0, len(self.images))
        return self._of([int(i) for i in order if int(i) not in held][:_KNOWN])

    def figures(self) -> dict[str, float]:
        """What its judgement is worth."""
        if not self.about["held out"]:
            return {"of real images": self.own}
        return {"of real images, held out": self.own, "of real images, learned from": self.learned}

    def _of(self, numbers: Sequence[int]) -> float:
        said = [i for i in numbers if self.images.captions[i]]
        pixels = torch.cat([self.images.batch(said[i : i + _TOGETHER])[0] for i in range(0, len(said), _TOGETHER)])
        return self.share(pixels, [self.images.captions[i] for i in said])

    @torch.no_grad()
    def share(self, pixels: Tensor, texts: Sequence[str], seed: int = 0) -> float:
        """How often an image's text is closer to it than each of 99 other captions, in [0, 1]; by chance 0.01. Images
        of no text are left out; NaN where all are.

        Args:
            pixels: uint8 [N, C, H, W].
            texts: what each shows.
            seed: of the others.
        """
        device = next(self.model.parameters()).device
        t = self.model.schedule.chain[-2]  # the cleanest level that it was trained on
        known = self.model.of_texts(list(self.captions))
        right, said = 0.0, [i for i, text in enumerate(texts) if text]
        if not said:
            return math.nan
        pixels, texts = pixels[said], [texts[i] for i in said]
        for start in range(0, len(pixels), _TOGETHER):
            part, own = pixels[start : start + _TOGETHER], texts[start : start + _TOGETHER]
            u = self.model.of_states(t.alpha.item() * to_unit(part).to(device), t)
            mine = (u * self.model.of_texts(list(own))).sum(1)
            for i, text in enumerate(own):
                order = rng.permutation(seed, start + i, len(self.captions))
                others = [int(k) for k in order[:AMONG] if self.captions[int(k)] != text][: AMONG - 1]
                right += float(bool((mine[i] > (known[others] @ u[i])).all()))
        return right / len(pixels)
