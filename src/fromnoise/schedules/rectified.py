"""The straight path of flow matching: a mixture of data and noise that is linear in time."""

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.schedules.continuous import Continuous


@register("rectified")
class Rectified(Continuous):
    """alpha = 1 - s, sigma = s, s = m u / (1 + (m - 1) u), u = t/T in [0, 1].

    No data is left at t = T, so the network must predict "flow", "v" or "x0". Its time argument is 1000 s.

    Source: Liu et al. 2023 (arXiv 2209.03003); the shift m for large images: Esser et al. 2024 (arXiv 2403.03206),
    section 5.3.2.

    Args:
        T: number of rows of the chain that the bound sums over.
        shift: m, positive: the square root of the ratio of this model's pixels to those of the model for which m = 1 is
            right. Larger values spend more steps at high noise.
    """

    first = 0.0

    def __init__(self, T: int = 1000, shift: float = 1.0):
        if shift <= 0:
            raise FromNoiseError(f"shift must be positive, got {shift}")
        self.shift = shift
        super().__init__(T)

    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        u = time / T
        whole = 1 + (self.shift - 1) * u
        return (1 - u) / whole, self.shift * u / whole

    def time(self, log_snr: Tensor) -> Tensor:
        sigma = torch.sigmoid(-log_snr / 2)
        return self.T * sigma / (self.shift - (self.shift - 1) * sigma)

    def network_time(self, t: Level) -> Tensor:
        """1000 sigma."""
        return (1000 * t.sigma).float()
