"""Mean flow: learns the average velocity between two levels, so that one call can cover any distance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.base import Distillation
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.nn import twice_differentiable
from fromnoise.nn.conditioning import Conditioned, learn_times
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.students import mean_flow as mean
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule

_STEP = 1e-5
_TURNS = 10.0
"""Largest phase, in radians, of the fastest sinusoid of the time embedding between data and noise.

Beyond it the time derivative of a network is mostly noise, which the loss feeds back."""


@register("mean-flow")
@dataclass(frozen=True, eq=False)
class MeanFlow(Distillation):
    """L = w |u - stop-gradient (v - (tau_t - tau_s) du/dtau)|^2, the identity of u = (y_t - y_s) / (tau_t - tau_s).

    In y = x / (alpha + sigma) and tau = sigma / (alpha + sigma) the path of every schedule is straight. v is eps - x_0
    of the example, or the teacher's velocity. du/dtau = v du/dy + du/dtau_t is one Jacobian-vector product.
    w = 1 / (|.|^2 + 1e-3)^power keeps rare large errors from dominating, but shifts the minimum where v is noisy.
    Source: Geng et al. 2025 (arXiv 2505.13447), eq. 6-11 and 22, with s uniform below t.

    Args:
        teacher: the model, guided or not, whose velocity is followed; None for the velocity of the examples.
        share: fraction of the examples with s < t; the others have s = t, where u is the velocity.
        power: exponent in w; 0 is the plain squared error.

    Raises:
        FromNoiseError: share is outside [0, 1], or power is negative.
    """

    uniforms: ClassVar[int] = 2
    numbers: ClassVar[tuple[str, ...]] = ("span",)
    needs_teacher: ClassVar[bool] = False
    teacher: Denoiser | None = None
    share: float = 0.75
    power: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1 or self.power < 0:
            raise FromNoiseError(f"share must lie in [0, 1] and power be at least 0, got {self.share:g} and "
                                 f"{self.power:g}")  # fmt: skip

    @property
    def student(self) -> mean.MeanFlow:  # pyrefly: ignore[bad-override]
        return mean.MeanFlow()

    @classmethod
    def options(cls, spec: Mapping[str, Any], schedule: Schedule) -> dict[str, Any]:
        own, most = spec.get("time_scale", 1.0), _TURNS / max(_range(schedule), 1e-9)
        return super().options(spec, schedule) | ({"time_scale": most} if own > 2 * most else {})

    def check(self, denoiser: Denoiser) -> None:
        super().check(denoiser)
        scale = getattr(denoiser.network, "time_scale", None)
        if scale is not None and scale * _range(denoiser.schedule) > 4 * _TURNS:
            raise FromNoiseError(f"distillation mean-flow learns from a derivative, and the times of this network turn "
                                 f"its sinusoids by {scale * _range(denoiser.schedule):.0f} radians: make it with "
                                 f"time_scale={_TURNS / _range(denoiser.schedule):g}")  # fmt: skip

    def _network_of(self, network: nn.Module, schedule: Schedule) -> nn.Module:
        made = super()._network_of(network, schedule)
        if isinstance(made, Conditioned) and made.time_scale != cast(Conditioned, network).time_scale:
            told = schedule.network_time(schedule.chain.levels).to(next(made.parameters()))
            learn_times(made, cast(Conditioned, network), told)
        return made

    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        first, second = u.T
        span = torch.where(second < self.share, (1 - first) * place(t), 0.0)
        x_t = diffuse(x0, noise, t)
        v = noise - x0 if self.teacher is None else velocity(self.taught(x_t, t, cond))
        given = (cond or {}) | {"span": span.to(x_t)}
        with torch.no_grad():
            target = v - like(span, v) * slope(denoiser, x_t, t, v, given)
        square = (velocity(denoiser(x_t, t, given)) - target).square().flatten(1).sum(1)
        weight = (square.detach() + 1e-3) ** -self.power if self.power else 1 / x0[0].numel()
        return weight * square


def _range(schedule: Schedule) -> float:
    """The range of the network's time argument over the schedule."""
    told = schedule.network_time(schedule.chain.levels)
    return (told.max() - told.min()).item()


def place(t: Level) -> Tensor:
    """tau = sigma / (alpha + sigma), in [0, 1]."""
    return t.sigma / (t.alpha + t.sigma)


def velocity(p: Prediction) -> Tensor:
    """dy/dtau = eps - x0hat, y = x / (alpha + sigma)."""
    return p.eps - p.x0


def slope(denoiser: Denoiser, x_t: Tensor, t: Level, v: Tensor, given: Cond) -> Tensor:
    """d velocity / dtau along dy = v dtau at a fixed s, so that span = tau - tau_s grows with tau: [B, ...].

    The derivative of the level is a central difference in float64, which works for every schedule; that of the network
    is exact.
    """
    total = t.alpha + t.sigma
    by_tau = _derivative(denoiser.schedule, t)
    with forward_ad.dual_level(), twice_differentiable():  # kernels that lack second derivatives lack forward ones
        growth = like((by_tau.alpha + by_tau.sigma) / total, x_t)
        x = forward_ad.make_dual(x_t, growth * x_t + like(total, v) * v)
        level = Level(*(forward_ad.make_dual(own.contiguous(), d) for own, d in zip(_of(t), _of(by_tau), strict=True)))
        span = forward_ad.make_dual(given["span"], torch.ones_like(given["span"]))
        moved = forward_ad.unpack_dual(velocity(denoiser(x, level, given | {"span": span}))).tangent
    return torch.zeros_like(x_t) if moved is None else moved


def _derivative(schedule: Schedule, t: Level) -> Level:
    """d (time, alpha, sigma) / dtau, [B] each, float64; one-sided at the schedule's last level."""
    tau = place(t)
    ends = place(schedule.chain.levels)
    h = _STEP * (tau * (1 - tau)).clamp_min(1e-3)
    high, low = (tau + h).clamp_max(ends[0]), (tau - h).clamp_min(ends[-2] / 2)
    after, before = (schedule.at(2 * (torch.log1p(-x) - torch.log(x))) for x in (high, low))
    return Level(*((a - b) / (high - low) for a, b in zip(_of(after), _of(before), strict=True)))


def _of(level: Level) -> tuple[Tensor, Tensor, Tensor]:
    return level.time, level.alpha, level.sigma
