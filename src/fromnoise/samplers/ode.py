"""The probability-flow ODE by an adaptive solver: as exact as it is asked to be."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.flow import solve, solver
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("ode")
@dataclass(frozen=True)
class ODE(Sampler):
    """du/dphi = cos(phi) eps - sin(phi) x0hat, tan(phi) = sigma / alpha, u = x / sqrt(alpha^2 + sigma^2), adaptively.

    By Dormand and Prince's pair of orders 5 and 4 (torchdiffeq). The steps asked for only say where the solver stops on
    the way; between them it takes as many network calls as the tolerances need.
    The step to the clean level is x0hat. Samples depend on their batch within the tolerance, since its error is
    measured over the batch. Source: Song et al. 2021, eq. 13; Song et al. 2021 (DDIM), eq. 14.

    Args:
        rtol, atol: relative and absolute tolerance of a step, positive.

    Raises:
        FromNoiseError: torchdiffeq is not installed (when it is first used), or a tolerance is not positive.
    """

    order: ClassVar[int | None] = None
    needs: ClassVar[str] = "the extra ode"
    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.rtol, self.atol) <= 0:
            raise FromNoiseError(f"sampler.rtol and sampler.atol must be positive, got {self.rtol} and {self.atol}")

    def nfe(self, steps: int) -> None:
        return None

    def check(self, denoiser: Denoiser) -> None:
        solver()

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        if s.is_clean:
            return denoiser(x, t, cond).x0, state
        return solve(denoiser, x, t, s, cond, rtol=self.rtol, atol=self.atol), state
