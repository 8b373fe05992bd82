"""Watches sampling for the page: after every step x_t, x0hat, eps, the score's size, and the effect of guidance."""

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fromnoise.app.studio.works.base import Send
from fromnoise.app.studio.works.seen import LARGEST, Watched, images, numbers, root_mean_square, spread
from fromnoise.compose import cascade
from fromnoise.data.images import to_uint8
from fromnoise.denoise import Denoiser
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.samplers.base import Moment

if TYPE_CHECKING:
    from fromnoise.app.runs.model import Model
    from fromnoise.app.runs.plan import SamplingPlan

BUDGET = 256 * 2**20
"""The most bytes for the frames of one job; with more steps, only every k-th is shown."""
_EPS = 3.0
"""Standard deviations of eps that fill the gray scale."""
_NUMBERS = itertools.count(1)


class Watch:
    """Wraps a model's stages and sends a frame after every step.

    A frame shows the first prediction of its step, so x_t is the state before the step. The last frame has the
    samples themselves.

    Args:
        model: the model to sample from.
        plan: how to sample it, including guidance.
        n: number of samples.
        send: takes the frames.
    """

    def __init__(self, model: "Model", plan: "SamplingPlan", n: int, send: Send):
        self.send, self.number = send, next(_NUMBERS)
        self.plain: list[Watched] = []
        model = _watched(model, self.plain)
        self.stages = [replace(stage, denoiser=Watched(stage.denoiser)) for stage in model.stages(plan)]
        steps = [cascade.steps([stage]) for stage in self.stages]
        size = sum(count * _size(stage.denoiser, n) for count, stage in zip(steps, self.stages, strict=True))
        self.every = max(1, -(-size // BUDGET))
        self.total = -(-cascade.steps(self.stages) // self.every)
        self.stage, self.step = -1, 0
        self.latents: dict[int, tuple[Any, Tensor, Tensor]] = {}

    def after(self, moment: Moment) -> None:
        """Send the frame of the step just done."""
        self.stage += moment.index == 1
        guided, plain = self.stages[self.stage].denoiser, self.plain[self.stage]
        assert isinstance(guided, Watched)
        p, unguided = guided.taken(), plain.taken()
        index, self.step = self.step, self.step + 1
        if index % self.every:
            self.send({"kind": "passed", "index": index})  # so that the job can be stopped here, too
            return
        if p is None:  # a step without a network call
            return
        header: dict[str, Any] = {"kind": "step", "index": index, "stage": self.stage, "time": _number(p.t.time),
                                  "log_snr": _number(p.t.log_snr), "alpha": _number(p.t.alpha),
                                  "sigma": _number(p.t.sigma), "network_seconds": self.seconds}  # fmt: skip
        self.send(header, self._arrays(index, p, unguided, guided))

    def end(self, x: Tensor) -> None:
        """Send the samples, [N, ...]; images have their full size."""
        shown = to_uint8(x).numpy() if x.dim() == 4 else numbers(x)
        self.send({"kind": "end", "index": self.step, "network_seconds": self.seconds, "calls": self.calls},
                  {"x": shown})  # fmt: skip

    @property
    def seconds(self) -> float:
        """Seconds spent in the networks."""
        return sum(w.seconds for w in self.plain)

    @property
    def calls(self) -> int:
        """Network calls for the batch; guidance doubles the batch of a call, not the number of calls."""
        return sum(w.calls for w in self.plain)

    def _arrays(self, index: int, p: Prediction, unguided: Prediction | None, own: Watched) -> dict[str, np.ndarray]:
        n = len(p.x_t)
        found = {"score": root_mean_square(p.score)}
        change = None if unguided is None else p.x0 - unguided.plain_x0[:n].to(p.x0)
        if p.x_t.dim() != 4:
            return found | {"x": numbers(p.x_t), "x0": numbers(p.x0), "eps": numbers(p.eps)}
        if own.codec is not None:
            self.latents[index] = (own.codec, p.x_t, p.x0)
        scale = _EPS if own.codec is not None else 1.0
        found |= {"x": images(p.x_t, scale if scale > 1 else spread(p.t)), "x0": images(p.x0, scale),
                  "eps": images(p.eps, _EPS)}  # fmt: skip
        if change is not None and bool(change.abs().amax() > 1e-6):
            found |= {"change": images(change, scale), "change_size": root_mean_square(change)}
        return found


def _watched(model: "Model", plain: list[Watched]) -> "Model":
    """Wrap every stage's network below its guidance, and append the wrappers to `plain`, the first stage first."""
    before = _watched(model.before, plain) if model.before is not None else None
    plain.append(Watched(model.denoiser))
    return replace(model, denoiser=plain[-1], before=before)


def _size(denoiser: Denoiser, n: int) -> int:
    """Approximate size of a frame in bytes: three or four states (one byte per pixel of an image), and latents."""
    shape = denoiser.image_shape or ()
    if len(shape) != 3:
        return 12 * n * math.prod(shape)
    kept = 8 * math.prod(denoiser.shape or ()) if denoiser.codec is not None else 0
    shown = [min(side, LARGEST) for side in (denoiser.shape or shape)[1:]]
    return n * (4 * min(shape[0], 3) * math.prod(shown) + kept)


def _number(x: Tensor) -> float | None:
    """The number that all examples share; None if it is infinite, which JSON lacks."""
    value = float(x.flatten()[0])
    return value if np.isfinite(value) else None
