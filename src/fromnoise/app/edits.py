"""Image editing with a model: what `fromnoise edit` does."""

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
"""Kinds that condition unCLIP's decoder on an image embedding."""
Shown = tuple[Tensor, Tensor]
"""(input images, edited images), both [N, C, H, W] in [-1, 1] and of the same size."""


@dataclass(frozen=True)
class _Job:
    """The arguments of an edit; where a value is None, the edit uses its default."""

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
        """The image-text model that computes image embeddings, on the denoiser's device.

        Raises:
            FromNoiseError: if the model is not conditioned on image embeddings, or the image-text model is missing.
        """
        if unclip.embedding_size(self.denoiser) is None:
            raise FromNoiseError("this model takes no image embedding: train one with recipe emoji-unclip")
        if self.image_text is None:
            raise FromNoiseError("the image-text model of this run is missing: copy its folder into the run, "
                                 "as image-text")  # fmt: skip
        return self.image_text.to(self.denoiser.device)

    def cond(self) -> Cond | None:
        """The requested class, else the null class: without a class, `sample` would draw each in turn."""
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
    """Edit images; returns (the input as it should be shown, the edited images).

    Args:
        kind: interpolate, reconstruct, image-to-image, inpaint or upscale, see `fromnoise.editing`; variations or
            text-difference, see `fromnoise.compose.unclip`.
        denoiser: the denoiser, with guidance applied.
        x: images [K, C, H, W] in [-1, 1]; K = 2 for interpolate, 1 for all other kinds.
        plan: how to sample.
        n: number of images to make; default: 8.
        mask: for inpaint, uint8 [1, H, W]; the model draws where it is at most 127.
        strength: for image-to-image, in (0, 1], default: 0.6; for variations, DDIM's eta, default: 1; for
            text-difference, how far the embedding moves, default: 0.5.
        repeats: for inpaint, how often each step is repeated; default: 5.
        seed: seed of the noise.
        image_text: for unCLIP, the model that computes the embeddings.
        words: for text-difference, (new text, old text).

    Raises:
        FromNoiseError: if the kind is unknown, or the edit itself fails.
    """
    if kind not in EDITS:
        raise unknown("edit", kind, EDITS)
    return EDITS[kind](_Job(denoiser, x, plan, 8 if n is None else n, mask, strength, repeats, seed, image_text, words))


def decodes(kind: str, model: Model) -> bool:
    """Whether this kind of edit conditions the model on an image embedding."""
    return kind in BY_EMBEDDING and unclip.embedding_size(model.denoiser) is not None


def insist_on_fit(kind: str, model: Model, guidance: float | None, label: str | None, way: str) -> None:
    """Check that a model supports an edit.

    Args:
        kind, model, guidance, label: the requested edit.
        way: for the message, how the caller is to name a class.

    Raises:
        FromNoiseError: if it does not.
    """
    if model.denoiser.low is not None or model.needs_images:
        what = "is conditioned on" if model.needs_images else "enlarges"
        raise FromNoiseError(f"this model {what} images: edit with one that generates images from noise alone")
    if guidance not in (None, 1.0) and not label and not decodes(kind, model):
        raise FromNoiseError(f"guidance: needs a class to steer towards; {way}")
    if model.denoiser.classes and model.denoiser.null_label is None and not label:
        raise FromNoiseError(f"this model needs a class: {way}")


def read(kind: str, model: Model, paths: Sequence[Path]) -> Tensor:
    """Read images as uint8 [K, C, H, W], resized to the model's size; for upscale at their own size."""
    channels, *size = model.denoiser.image_shape or (3, 64, 64)
    whole = None if kind == "upscale" else (size[0], size[1])
    return torch.stack([read_image(path, channels, whole) for path in paths])


def read_mask(mask: Path, image: Path, size: tuple[int, int]) -> Tensor:
    """Read a mask as uint8 [1, H, W], cropped and scaled as the image is; both need the same proportions.

    Raises:
        FromNoiseError: if their proportions differ.
    """
    own, other = (read_image(path, 1, None).shape[1:] for path in (mask, image))
    if abs(own[0] * other[1] - own[1] * other[0]) > max(own[0] * other[1], own[1] * other[0]) / 50:
        sides = [f"{h}x{w}" for h, w in (own, other)]
        raise FromNoiseError(f"mask: is {sides[0]} pixels and the image {sides[1]}: the mask must have the image's "
                             "proportions")  # fmt: skip
    return read_image(mask, 1, size)


def _interpolate(job: _Job) -> Shown:
    if unclip.embedding_size(job.denoiser) is not None:
        return job.x, unclip.interpolate(job.denoiser, job.embedder, job.x[0], job.x[1], job.n).cpu()
    made = editing.interpolate(job.denoiser, job.x[0], job.x[1], job.n, job.plan.cond(job.denoiser, 2))
    return job.x, made.cpu()


def _reconstruct(job: _Job) -> Shown:
    cond = job.plan.cond(job.denoiser, 1)
    back = editing.decode(job.denoiser, editing.encode(job.denoiser, job.x, cond), cond).cpu()
    say(f"root mean square difference {(back - job.x).square().mean().sqrt():.4f}, for pixel values in [-1, 1]")
    return job.x, back


def _image_to_image(job: _Job) -> Shown:
    many, strength = job.x.expand(job.n, -1, -1, -1), 0.6 if job.strength is None else job.strength
    made = editing.image_to_image(job.denoiser, many, strength, job.plan.sampler, cond=job.cond(), **job.options)
    return job.x, made.cpu()


def _inpaint(job: _Job) -> Shown:
    if job.mask is None:
        raise FromNoiseError("inpaint needs a mask that is black where the model should draw")
    known = (job.mask > 127).float()
    if bool(known.all()):
        raise FromNoiseError("the mask has no black pixels, so nothing would change: make it black where to draw")
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
        raise FromNoiseError("text-difference needs two texts: what the image should become, and what it shows now")
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
