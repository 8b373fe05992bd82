"""L_simple: the mean squared error of the network's output."""

from dataclasses import dataclass

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, diffuse
from fromnoise.objectives.base import Objective
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("simple")
@dataclass(frozen=True)
class Simple(Objective):
    """L = E |F(x_t, t) - target|^2, averaged over an example's elements, x_t = alpha x_0 + sigma eps.

    With parameterization "eps" the target is the noise: Sedykh eq. 2.94, 2.98 and Sedykh Algorithm 1 (alpha_bar under
    the roots), DDPM eq. 14, Weng eq. 31-32, Notes eq. 6 and 14, Shorts eq. 2; on latents Sedykh eq. 5.3. With another
    parameterisation the target is different; this weights the levels differently, but the minimiser is always the exact
    denoiser.
    """

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        output = denoiser(diffuse(x0, noise, t), t, cond).output
        target = denoiser.parameterization.target(x0, noise, t, denoiser.schedule)
        return {"loss": (output - target).square().flatten(1).mean(1)}
