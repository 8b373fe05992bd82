"""A mean-flow model: the average velocity between two levels."""

from dataclasses import dataclass

from fromnoise.parameterizations.students.base import Student
from fromnoise.registry import register


@register("mean-flow")
@dataclass(frozen=True)
class MeanFlow(Student):
    """eps - x0hat = u(y, s, t), the mean velocity of a path; y = x / (alpha + sigma), tau = sigma / (alpha + sigma).

    The mean is taken between the levels s and t if the network is given the condition span = tau_t - tau_s. Without it,
    u is the velocity at t itself, and x0hat is E[x_0 | x_t].

    Source: Geng et al. 2025 (arXiv 2505.13447), eq. 3-6.
    """

    sampler = "mean-flow"
    is_denoiser = True
