"""Heun's method on the probability-flow ODE: second order with two network calls per step."""

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, family, like
from fromnoise.registry import insist_on_numbers, register
from fromnoise.samplers.base import Noise, Sampler


@register("heun")
@dataclass(frozen=True)
class Heun(Sampler):
    """x' = alpha_s x0hat_t + sigma_s eps_t, DDIM's step, then a correction with the mean of the slopes at both ends:

        x_s = x' + (sigma_s - sigma_t) (eps_s' - eps_t) / 2      if the signal is kept, alpha = 1,
        x_s = x' + alpha_s (1 - e^(-h)) (x0hat_s' - x0hat_t) / 2  if it fades, h = lambda_s - lambda_t.

    Primed predictions are those at x' and s, and lambda = log(alpha / sigma). The first form is Karras et al. 2022,
    algorithm 1. Written in x / alpha it would hold for any schedule, but sigma / alpha is unbounded where the signal
    vanishes. The second form is the same rule in lambda, with the part that is linear in x solved exactly; its factor
    is at most 1. The step to the clean level is DDIM's and saves one call.

    Args:
        churn: noise added before each step, and removed by it, relative to r = sigma / alpha: r_t is raised to
            (1 + churn) r_t, but not above the schedule's last level (gamma in algorithm 2); 0 is deterministic.
        churn_min, churn_max: the smallest and the largest r_t at which noise is added (S_tmin and S_tmax there);
            default: no limit.
        churn_noise: standard deviation of the added noise, relative to what the raised level needs (S_noise there).
            These three have no effect while churn is 0.

    Raises:
        FromNoiseError: a number is not finite, churn or a limit is negative, churn_max is below churn_min, or
            churn_noise is not positive.
    """

    order: ClassVar[int | None] = 2
    later: ClassVar[tuple[str, ...]] = ("churn_min", "churn_max", "churn_noise")
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float | None = None
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        insist_on_numbers(asdict(self), "sampler")
        for name in ("churn", "churn_min"):
            if getattr(self, name) < 0:
                raise FromNoiseError(f"sampler.{name} must not be negative, got {getattr(self, name)}")
        if self.churn_max is not None and self.churn_max < self.churn_min:
            least = f"churn_min, {self.churn_min}"
            raise FromNoiseError(f"sampler.churn_max must be at least {least}, got {self.churn_max}")
        if self.churn_noise <= 0:
            raise FromNoiseError(f"sampler.churn_noise must be above 0, got {self.churn_noise}")

    def nfe(self, steps: int) -> int:
        return 2 * steps - 1

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        most = math.inf if self.churn_max is None else self.churn_max
        if self.churn and self.churn_min <= t.sigma / t.alpha <= most:
            x, t = self._raised(denoiser, x, t, noise)
        p = denoiser(x, t, cond)
        ahead = family(p.x0, p.eps, s, torch.zeros_like(s.sigma)).mean
        if s.is_clean:
            return ahead, state
        q = denoiser(ahead, s, cond)
        if bool(s.alpha == t.alpha):
            return ahead + like((s.sigma - t.sigma) / 2, x) * (q.eps - p.eps), state
        gap = -s.alpha * torch.expm1((t.log_snr - s.log_snr) / 2)
        return ahead + like(gap / 2, x) * (q.x0 - p.x0), state

    def _raised(self, denoiser: Denoiser, x: Tensor, t: Level, noise: Noise) -> tuple[Tensor, Level]:
        """x after a forward step to a noisier level within the schedule, and that level."""
        top = denoiser.schedule.chain[0].log_snr
        wanted = (t.log_snr - 2 * torch.log1p(torch.tensor(self.churn, dtype=torch.float64))).clamp_min(top)
        if bool(wanted >= t.log_snr):
            return x, t
        higher = denoiser.schedule.at(wanted)
        added = torch.sqrt((higher.sigma / higher.alpha) ** 2 - (t.sigma / t.alpha) ** 2)
        y = x / like(t.alpha, x) + like(self.churn_noise * added, x) * noise()
        return like(higher.alpha, x) * y, higher
