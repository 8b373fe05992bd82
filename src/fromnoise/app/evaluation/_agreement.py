"""Whether samples show what their prompts say: an image-text model has to find each prompt among other captions."""

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
"""Name of the figure: the share of samples whose caption is found."""
_TOGETHER, _KNOWN = 250, 500


@dataclass(frozen=True)
class Judge:
    """An image-text model that judges samples; it has seen neither them nor its run's held-out images, if any.

    Attributes:
        model: the image-text model, on its device.
        captions: the distinct captions of the data, from which the alternatives are drawn.
        images, numbers: real images to test the judge on: the held-out ones, or all if none were held out.
        about: JSON values for the report.
    """

    model: ImageText
    captions: Sequence[str]
    images: Images
    numbers: Sequence[int]
    about: dict[str, Any]

    @classmethod
    def opened(cls, run: Path, shape: tuple[int, ...] | None, progress: Callable[..., Any]) -> "Judge":
        """Open a run as a judge; the other captions come from its data.

        Raises:
            FromNoiseError: if there is no such run, or its images have another shape or too few distinct captions.
        """
        config = read(run, ImageTextConfig) if has_any(run) else None
        model = guides.load_image_text(run)
        if config is None:
            raise FromNoiseError(f"{run}: is a saved model, and the judge needs its training data: name a run")
        if model.shape != shape:
            raise FromNoiseError(f"{run} judges images of shape {list(model.shape)}, and these are "
                                 f"{list(shape or ())}: train one of their size")  # fmt: skip
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
        """The share of test images whose caption the judge finds."""
        return self._of(self.numbers)

    @cached_property
    def learned(self) -> float:
        """The share of its training images (at most 500) whose caption the judge finds."""
        held = set(self.numbers) if self.about["held out"] else set()
        order = rng.permutation(0, 0, len(self.images))
        return self._of([int(i) for i in order if int(i) not in held][:_KNOWN])

    def figures(self) -> dict[str, float]:
        """How reliable the judge is: its own agreement on real images."""
        if not self.about["held out"]:
            return {"of real images": self.own}
        return {"of real images, held out": self.own, "of real images, learned from": self.learned}

    def _of(self, numbers: Sequence[int]) -> float:
        said = [i for i in numbers if self.images.captions[i]]
        pixels = torch.cat([self.images.batch(said[i : i + _TOGETHER])[0] for i in range(0, len(said), _TOGETHER)])
        return self.share(pixels, [self.images.captions[i] for i in said])

    @torch.no_grad()
    def share(self, pixels: Tensor, texts: Sequence[str], seed: int = 0) -> float:
        """Return how often an image is closer to its own text than to 99 other captions, in [0, 1]; chance is 0.01.

        Images without a text are left out; returns NaN if no image has one.

        Args:
            pixels: images, uint8 [N, C, H, W].
            texts: the text of each image.
            seed: seed of the choice of other captions.
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
