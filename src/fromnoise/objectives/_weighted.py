"""Base class of objectives that weight the squared error of x0hat by a function of the level."""

from abc import abstractmethod

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.objectives.base import Objective
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.schedules.base import Chain


class Weighted(Objective):
    """L = w(t) |x_0 - x0hat|^2 / D, D elements; the minimiser does not depend on the weights (Sedykh eq. 4.17).

    The error of x0hat is the error of the network's output times a factor that depends on the level. This factor and w
    are multiplied in float64, so that no precision is lost for any parameterisation and level.
    """

    @abstractmethod
    def weight(self, p: Prediction, t: Level, denoiser: Denoiser, chain: Chain) -> Tensor:
        """w(t) for the level of each example: [B], float64."""

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        p = denoiser(diffuse(x0, noise, t), t, cond)
        target = p.kind.target(x0, noise, t, p.schedule)
        factor = p.x0_per_output**2 * self.weight(p, t, denoiser, chain or denoiser.schedule.chain)
        square = (p.output - target).square().flatten(1).mean(1)
        return {"loss": like(factor, square) * square}
