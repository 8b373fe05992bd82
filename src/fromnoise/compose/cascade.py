"""Cascades: each model is conditioned on the sample of the one before, a small image to enlarge or an embedding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fromnoise.augmentations.low_res import rounded
from fromnoise.compose import unclip
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.samplers import Moment, Sampler, sample
from fromnoise.schedules.spacings.base import Spacing
from fromnoise.system import rng


@dataclass(frozen=True)
class Stage:
    """One model of a cascade, and how it is sampled.

    Attributes:
        denoiser: the model, wrapped in its guidance; all stages but the first are conditioned on the previous sample.
        sampler, steps, spacing: see `sample`.
        strength: strength of the augmentation of the small image, in [0, 1].
        truncated: for augmentation by noise: the previous stage stops at the level of `strength`, instead of being
            finished and noised again, which saves its last steps (Ho et al. 2021, section 4.2).
    """

    denoiser: Denoiser
    sampler: Sampler
    steps: int
    spacing: str | Spacing | None = None
    strength: float = 0.0
    truncated: bool = False


def check(stages: Sequence[Stage]) -> None:
    """Check that each stage can be conditioned on the samples of the one before it.

    Raises:
        FromNoiseError: shapes, classes or encoders of two stages do not fit, or the augmentation lacks the strength.
    """
    if not stages:
        raise FromNoiseError("stages: none given; a cascade has one or more")
    if stages[0].denoiser.low is not None:
        raise FromNoiseError("the first stage of a cascade cannot be a super-resolution model, which needs the smaller "
                             "example: sample its cascade")  # fmt: skip
    for before, stage in pairwise(stages):
        low, own, given = stage.denoiser.low, stage.denoiser.shape, before.denoiser.image_shape
        if stage.denoiser.class_names != before.denoiser.class_names:
            raise FromNoiseError("mismatched stages: they know different classes: "
                                 f"{before.denoiser.class_names} and {stage.denoiser.class_names}")  # fmt: skip
        words, earlier = stage.denoiser.text, before.denoiser.text
        if words is not None and earlier is not None and not words.reads_as(earlier):
            raise FromNoiseError("mismatched stages: they have different text encoders: train both on the same "
                                 "captions and text.encoder")  # fmt: skip
        if low is None and (size := unclip.embedding_size(stage.denoiser)) is not None:
            if given != (size,):
                raise FromNoiseError(f"mismatched stages: one takes an embedding of {size} numbers, but the one "
                                     f"before it draws {list(given or ())}")  # fmt: skip
            if None not in (kinds := {before.denoiser.embeddings, stage.denoiser.embeddings}) and len(kinds) > 1:
                raise FromNoiseError("mismatched stages: their embeddings come from two image-text models: take a "
                                     "prior and a decoder that were trained with one")  # fmt: skip
            if stage.truncated or stage.strength:
                raise FromNoiseError("strength and truncated apply to an image that is enlarged, but a decoder takes "
                                     "an embedding")  # fmt: skip
            continue
        if low is None or own is None:
            raise FromNoiseError("a later stage of a cascade must be a super-resolution model (low=), or a decoder of "
                                 "embeddings (image_embedding=)")  # fmt: skip
        if low.shape(own) != given:
            wanted, there = ("x".join(map(str, s or ())) for s in (low.shape(own), given))
            raise FromNoiseError(f"mismatched stages: one enlarges {wanted}, but the one before it draws {there}")
        if stage.truncated and not (low.augmentation.is_noise and stage.strength):
            raise FromNoiseError("truncated needs an augmentation by noise, of a strength above 0: the stage before "
                                 "stops at its level")  # fmt: skip
        if not 0 <= stage.strength <= low.augmentation.most:
            raise FromNoiseError(f"strength: the model was trained with strengths from 0 to {low.augmentation.most:g}, "
                                 f"got {stage.strength:g}")  # fmt: skip
        if stage.truncated and _log_snr(stage.strength) <= before.denoiser.schedule.chain[0].log_snr:
            raise FromNoiseError(f"truncated at strength {stage.strength:g}: the stage before starts below that level")


@torch.no_grad()
def draw(
    stages: Sequence[Stage],
    n: int,
    seed: int = 0,
    cond: Cond | None = None,
    *,
    batch_size: int = 64,
    first: int = 0,
    callback: Callable[[Moment], None] | None = None,
) -> Tensor:
    """Sample a cascade: x_0 of the last stage, [n, C, *size], each stage conditioned on the one before it.

    Source: Ho et al. 2021 (cascaded diffusion), algorithm 3; Ramesh et al. 2022 (arXiv 2204.06125), section 2; Sedykh
    5.1.

    Args:
        stages: the stages, smallest images first, or the prior and the decoder of unCLIP.
        n, seed, cond, batch_size, first, callback: see `sample`; each stage has noise of its own.

    Raises:
        FromNoiseError: the stages do not fit (see `check`), or an argument is refused as in `sample`.
    """
    check(stages)
    x = torch.empty(0)
    for i, (stage, after) in enumerate(zip(stages, [*stages[1:], None], strict=True)):
        told = _own(stage.denoiser, cond) | (_conditions(stage, x, _seed(seed, i), first) if i else {})
        until = _log_snr(after.strength) if after is not None and after.truncated else None
        x = sample(
            stage.denoiser,
            n,
            stage.sampler,
            stage.steps,
            _seed(seed, i),
            told or None,
            callback,
            spacing=stage.spacing,
            batch_size=batch_size,
            first=first,
            until=until,
        )
        if after is not None:  # in the form that the next stage was trained with
            x = _as_learned(x, stage, after)
    return x


def steps(stages: Sequence[Stage]) -> int:
    """Total number of steps of all stages, for one batch."""
    found = 0
    for stage, after in zip(stages, [*stages[1:], None], strict=True):
        chain = stage.denoiser.schedule.steps(stage.steps, stage.spacing or stage.sampler.default_spacing)
        if after is not None and after.truncated:
            chain = chain.until(stage.denoiser.schedule.at(_log_snr(after.strength)))
        found += chain.steps
    return found


def reader(stages: Sequence[Stage]) -> Denoiser:
    """The denoiser whose text encoder reads the prompts: the last one with an encoder, or else the last stage."""
    return next((s.denoiser for s in reversed(stages) if s.denoiser.text is not None), stages[-1].denoiser)


def _own(denoiser: Denoiser, cond: Cond | None) -> Cond:
    """The conditions of a stage; an unCLIP decoder without a text encoder does not get the text."""
    given = dict(cond or {})
    if unclip.embedding_size(denoiser) is not None and denoiser.text is None:
        given.pop("text", None)
    return given


def _as_learned(x: Tensor, stage: Stage, after: Stage) -> Tensor:
    """The sample of a stage, in the form in which the next stage saw it in training."""
    if after.denoiser.low is None:
        return unclip.on_sphere(x)
    return _on_the_path(x, stage.denoiser, after.strength) if after.truncated else rounded(x)


def _conditions(stage: Stage, x: Tensor, seed: int, first: int) -> Cond:
    if stage.denoiser.low is None:
        return {unclip.CONDITION: x}
    strength = torch.full((len(x),), stage.strength, dtype=torch.float64)
    x = x.cpu()
    if stage.truncated:
        return stage.denoiser.low.enlarged(x, strength)
    eps = rng.normal(seed, range(first, first + len(x)), 0, tuple(x.shape[1:]), rng.Stream.LOW_NOISE)
    return stage.denoiser.low.condition(x, strength, eps)


def _log_snr(strength: float) -> float:
    """log(cos^2/sin^2) for the angle of the augmentation."""
    return -2 * math.log(math.tan(strength * math.pi / 2))


def _on_the_path(x: Tensor, denoiser: Denoiser, strength: float) -> Tensor:
    """A state of the schedule, rescaled to the augmentation's state with the same signal-to-noise ratio."""
    alpha = denoiser.schedule.at(_log_snr(strength)).alpha.item()
    return x * (math.cos(strength * math.pi / 2) / alpha)


def _seed(seed: int, stage: int) -> int:
    """The seed of a stage: `seed` itself for the first, and independent seeds for the others."""
    return seed if stage == 0 else rng.integer(seed, stage, 0, rng.Stream.STAGE)
