"""Base class of the consistency losses."""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.base import Distillation, pseudo_huber
from fromnoise.distill.levels import ratio
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.parameterizations.students.consistency import Consistency


@dataclass(frozen=True, eq=False)
class Pairs(Distillation):
    """L = w d(f(x_t, t), stop-gradient f(x_s, s)), s next to t: it makes f constant along every path.

    The target uses the current weights, not averaged ones, and the same dropout, as in improved consistency training
    (arXiv 2310.14189, section 3.2). At s = 0 the target is the state itself and not the network's output.
    """

    huber: float = field(default=0.00054, kw_only=True)
    top: float = field(default=80.0, kw_only=True)
    bottom: float = field(default=0.002, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.huber < 0:
            raise FromNoiseError(f"huber must be at least 0, got {self.huber:g}")
        self.student  # noqa: B018  this checks its levels

    @cached_property
    def student(self) -> Consistency:  # pyrefly: ignore[bad-override]
        return Consistency(self.top, self.bottom)

    def check(self, denoiser: Denoiser) -> None:
        super().check(denoiser)
        insist_on_boundary(denoiser)
        if denoiser.student is not None and not denoiser.student.is_denoiser and denoiser.student != self.student:
            raise FromNoiseError(f"model: {denoiser.student.what}, with other levels than this distillation's")

    @abstractmethod
    def pair(self, denoiser: Denoiser, t: Level, step: int) -> tuple[Level, Level, Tensor]:
        """The two levels, noisier first, and the weight, each [B]."""

    def neighbour(self, x0: Tensor, noise: Tensor, x_t: Tensor, t: Level, s: Level, cond: Cond | None) -> Tensor:
        """x_s = alpha_s x_0 + sigma_s eps with the eps of x_t; its mean given x_t is an Euler step along the path."""
        return diffuse(x0, noise, s)

    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        t, s, weight = self.pair(denoiser, self.student.bounded(t, denoiser.schedule), step)
        x_t = diffuse(x0, noise, t)
        with torch.no_grad():
            x_s = self.neighbour(x0, noise, x_t, t, s, cond)
            devices = [x_t.device] if x_t.is_cuda else []
            with torch.random.fork_rng(devices=devices):  # so that the student's dropout below is the same
                ahead = denoiser(x_s, s, cond).x0
            clean = (s.sigma == 0).view(-1, *[1] * (x0.dim() - 1)).to(x_s.device)
            target = torch.where(clean, x_s / like(s.alpha, x_s), ahead)
        distance = pseudo_huber(denoiser(x_t, t, cond).x0 - target, self.huber * (x0[0].numel() ** 0.5))
        return like(weight, distance) * distance


def gap(t: Level, s: Level) -> Tensor:
    """1 / (r_t - r_s), r = sigma / alpha: the weight of improved consistency training (arXiv 2310.14189, table 1)."""
    return 1 / (ratio(t) - ratio(s))


def insist_on_boundary(denoiser: Denoiser) -> None:
    """Check that x0hat(x, 0) = x / alpha for any network output.

    x0hat = (fe x - sigma k F) / (alpha fe - sigma f0) must not depend on F at sigma = 0.

    Raises:
        FromNoiseError: it does depend on F, as with the parameterisation "x0".
    """
    kind, clean = denoiser.parameterization, denoiser.schedule.chain[-1]
    k, f0, fe = kind.equation(clean, denoiser.schedule)
    determinant = clean.alpha * fe - clean.sigma * f0
    of_x, of_output = fe / determinant * clean.alpha, clean.sigma * k / determinant
    if not (bool((of_x - 1).abs() <= 1e-12) and bool(of_output.abs() <= 1e-12)):
        raise FromNoiseError(f"parameterization {kind.name}: at the clean level x_0 depends on the network, but a "
                             "consistency model must return the state: use eps, v, flow or edm")  # fmt: skip
