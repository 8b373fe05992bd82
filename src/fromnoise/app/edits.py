"""Images changed by a model, one way or another: what `fromnoise edit` does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise import editing, samplers
from fromnoise.app.runs.model import Model
from fromnoise.app.runs.plan import SamplingPlan
from fromnoise.compose import unclip
from fromnoise.data.folder import read_image
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.guidance import ImageText
from fromnoise.system.progress import Bar, say

BY_EMBEDDING = ("interpolate", "variations", "text-difference")
"""Kinds that show unCLIP's decoder an embedding."""
Shown = tuple[Tensor, Tensor]
"""(what was given, what was made), both in [-1, 1], [N, C, H, W] of one size."""


@dataclass(frozen=True)
class _Job:
    """What an edit is made of; None leaves a choice to the edit."""

    denoiser: Denoiser
    x: Tensor
    plan: SamplingPlan
    n: int
    mask: Tensor | None
    strength: float | None
    repeats: int | None
    seed: int
    image_text: ImageText | None
    words: tuple[str, str] | None

    @property
    def options(self) -> dict[str, Any]:
        return {"steps": self.plan.steps, "spacing": self.plan.spacing, "seed": self.seed}

    @property
    def embedder(self) -> ImageText:
        """What makes embeddings of images.

        Raises:
            FromNoiseError: the model is shown none, or what makes them is not there.
        """
        if unclip.embedding_size(self.denoiser) is None:
            raise FromNoiseError("this model is shown no embedding of an image: train one with recipe emoji-unclip")
        if self.image_text is None:
            raise FromNoiseError("the image-text model of this run is missing: put its folder into the run, as "
                                 "image-text")  # fmt: skip
        return self.image_text.to(self.denoiser.device)

    def cond(self) -> Cond | None:
        """The class that was asked for, else that of none: `sample` would draw every class in turn."""
        null = self.denoiser.null_label
        asked = self.plan.cond(self.denoiser, self.n)
        return asked or (None if null is None else {"label": torch.full((self.n,), null)})

    def drawn(self, denoiser: Denoiser, sampler: samplers.Sampler) -> Tensor:
        length = denoiser.schedule.steps(self.plan.steps, self.plan.spacing).steps
        with Bar("sampling", -(-self.n // 64) * length) as bar:
            return samplers.sample(
                denoiser, self.n, sampler, cond=self.cond(), callback=lambda moment: bar.advance(), **self.options
            ).cpu()


def edit(
    kind: str,
    denoiser: Denoiser,
    x: Tensor,
    plan: SamplingPlan,
    *,
    n: int | None = None,
    mask: Tensor | None = None,
    strength: float | None = None,
    repeats: int | None = None,
    seed: int = 0,
    image_text: ImageText | None = None,
    words: tuple[str, str] | None = None,
) -> Shown:
    """What was given as it is shown, and what was made of it.

    Args:
        kind: interpolate, reconstruct, image-to-image, inpaint or upscale, see `fromnoise.editing`; variations or
            text-difference, see `fromnoise.compose.unclip`.
        denoiser: with its guidance.
        x: images in [-1, 1], [K, C, H, W]: two for interpolate, else one.
        plan: how to sample.
        n: how many are made; None is 8.
        mask: of inpaint, uint8 [1, H, W], at most 127 where the model is to draw.
        strength: of image-to-image, in (0, 1], None is 0.6; eta of variations, None is 1; of text-difference how far
            the embedding moves, None is 0.5.
        repeats: of inpaint; None is 5.
        seed: of the noise.
        image_text: of unCLIP: what makes the embeddings.
        words: of text-difference: (new, old).

    Raises:
        FromNoiseError: an unknown kind, or what the edit itself raises.
    """
    if kind not in EDITS:
        raise unknown("edit", kind, EDITS)
    return EDITS[kind](_Job(denoiser, x, plan, 8 if n is None else n, mask, strength, repeats, seed, image_text, words))


def decodes(kind: str, model: Model) -> bool:
    """Whether this kind shows the model an embedding."""
    return kind in BY_EMBEDDING and unclip.embedding_size(model.denoiser) is not None


def insist_on_fit(kind: str, model: Model, guidance: float | None, label: str | None, way: str) -> None:
    """That a model can be asked for this.

    Args:
        kind, model, guidance, label: what was asked.
        way: how a class is named, for the message.

    Raises:
        FromNoiseError: it cannot, with the way out.
    """
    if model.denoiser.low is not None or model.needs_images:
        what = "is shown" if model.needs_images else "enlarges"
        raise FromNoiseError(f"this model {what} images: edit with one that draws them by itself")
    if guidance not in (None, 1.0) and not label and not decodes(kind, model):
        raise FromNoiseError(f"guidance: steers towards a class; {way}")
    if model.denoiser.classes and model.denoiser.null_label is None and not label:
        raise FromNoiseError(f"this model needs the class of the images: {way}")


def read(kind: str, model: Model, paths: Sequence[Path]) -> Tensor:
    """uint8 [K, C, H, W], at the model's size, or for upscale at the image's own."""
    channels, *size = model.denoiser.image_shape or (3, 64, 64)
    whole = None if kind == "upscale" else (size[0], size[1])
    return torch.stack([read_image(path, channels, whole) for path in paths])


def read_mask(mask: Path, image: Path, size: tuple[int, int]) -> Tensor:
    """uint8 [1, H, W], cut and scaled as the image is, so that they must have one shape.

    Raises:
        FromNoiseError: it has another.
    """
    own, other = (read_image(path, 1, None).shape[1:] for path in (mask, image))
    if abs(own[0] * other[1] - own[1] * other[0]) > max(own[0] * other[1], own[1] * other[0]) / 50:
        sides = [f"{h}x{w}" for h, w in (own, other)]
        raise FromNoiseError(f"mask: has {sides[0]} pixels and the picture {sides[1]}: paint it over the picture, in "
                             "its proportions")  # fmt: skip
    return read_image(mask, 1, size)


def _interpolate(job: _Job) -> Shown:
    if unclip.embedding_size(job.denoiser) is not None:
        return job.x, unclip.interpolate(job.denoiser, job.embedder, job.x[0], job.x[1], job.n).cpu()
    made = editing.interpolate(job.denoiser, job.x[0], job.x[1], job.n, job.plan.cond(job.denoiser, 2))
    return job.x, made.cpu()


def _reconstruct(job: _Job) -> Shown:
    cond = job.plan.cond(job.denoiser, 1)
    back = editing.decode(job.denoiser, editing.encode(job.denoiser, job.x, cond), cond).cpu()
    say(f"root mean square difference {(back - job.x).square().mean().sqrt():.4f}, of images in [-1, 1]")
    return job.x, back


def _image_to_image(job: _Job) -> Shown:
    many, strength = job.x.expand(job.n, -1, -1, -1), 0.6 if job.strength is None else job.strength
    made = editing.image_to_image(job.denoiser, many, strength, job.plan.sampler, cond=job.cond(), **job.options)
    return job.x, made.cpu()


def _inpaint(job: _Job) -> Shown:
    if job.mask is None:
        raise FromNoiseError("inpaint needs a mask, black where the model is to draw")
    known = (job.mask > 127).float()
    if bool(known.all()):
        raise FromNoiseError("the mask has no black, which says where to draw: nothing would be changed")
    sampler = editing.Inpaint(job.x[0], known, job.plan.sampler, 5 if job.repeats is None else job.repeats)
    return torch.cat([job.x, job.x * known - (1 - known)]), job.drawn(job.denoiser, sampler)


def _upscale(job: _Job) -> Shown:
    denoiser = editing.Upscale(job.denoiser, job.x[0])
    shown = job.x.repeat_interleave(denoiser.factor, 2).repeat_interleave(denoiser.factor, 3)
    return shown, job.drawn(denoiser, job.plan.sampler)


def _variations(job: _Job) -> Shown:
    eta = 1.0 if job.strength is None else job.strength
    steps, seed = job.plan.steps, job.seed
    return job.x, unclip.variations(job.denoiser, job.embedder, job.x[0], job.n, eta, steps, seed).cpu()


def _text_difference(job: _Job) -> Shown:
    if job.words is None:
        raise FromNoiseError("text-difference needs two texts, what the image shall become and what it is")
    most = 0.5 if job.strength is None else job.strength
    return job.x, unclip.text_difference(job.denoiser, job.embedder, job.x[0], *job.words, job.n, most).cpu()


EDITS: dict[str, Callable[[_Job], Shown]] = {
    "interpolate": _interpolate,
    "reconstruct": _reconstruct,
    "image-to-image": _image_to_image,
    "inpaint": _inpaint,
    "upscale": _upscale,
    "variations": _variations,
    "text-difference": _text_difference,
}
