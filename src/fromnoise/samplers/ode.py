"""The probability-flow ODE by an adaptive solver, to a given tolerance."""

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

    The solver is torchdiffeq's Dormand-Prince 5(4) pair. `steps` only sets the levels at which it stops; between them
    it makes as many network calls as the tolerances need. The step to the clean level returns x0hat. A sample may
    depend on the rest of its batch, within the tolerance, because all examples of a batch share the step size. Source:
    Song et al. 2021, eq. 13; Song et al. 2021 (DDIM), eq. 14.

    Args:
        rtol, atol: relative and absolute tolerance of a step, positive.

    Raises:
        FromNoiseError: a tolerance is not positive, or, on first use, torchdiffeq is not installed.
    """

    order: ClassVar[int | None] = None
    needs: ClassVar[str] = "torchdiffeq, which the extra ode installs"
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
