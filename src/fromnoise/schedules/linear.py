"""DDPM's schedule: beta rises linearly from 1e-4 to 0.02."""

import torch

from fromnoise.registry import register
from fromnoise.schedules.base import MOST_ROWS, Discrete
from fromnoise.system import checks


@register("linear")
class Linear(Discrete):
    """beta_t = beta_start + (beta_end - beta_start) (t - 1) / (T - 1), t = 1..T.

    Source: Ho et al. 2020, arXiv 2006.11239, section 4; Sedykh 2.1; Weng eq. 3; Notes eq. 21.

    Args:
        T: number of steps.
        beta_start, beta_end: beta_1 and beta_T, in (0, 1).
    """

    def __init__(self, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02):
        T = checks.whole("T", T, 1, MOST_ROWS)
        # Set both ends as numpy.linspace does, so that the float64 rows round as in the reference code.
        beta = beta_start + torch.arange(T, dtype=torch.float64, device="cpu") * (
            (beta_end - beta_start) / max(T - 1, 1)
        )
        beta[-1] = beta_end if T > 1 else beta_start
        super().__init__(*self.betas(beta))
