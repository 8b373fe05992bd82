"""Progressive and guidance distillation: the students of known data in closed form, and that the losses reach them."""

import torch
from torch import Tensor, nn

from fromnoise import distill
from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.levels import euler, two_steps
from fromnoise.gaussian import Level
from fromnoise.oracle import GaussianMixture
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.students.progressive import every
from fromnoise.parameterizations.x0 import X0
from fromnoise.samplers.base import walk
from fromnoise.samplers.ddim import DDIM
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.verify._check import Sides, check
from fromnoise.verify._linear import (
    SCHEDULES,
    Linear,
    M,
    ddim,
    down,
    fixed,
    gaussian,
    on,
    posterior,
    some,
    states,
)
from fromnoise.verify._truth import COSINE


@check("Salimans and Ho 2022 (arXiv 2202.00512), algorithm 2; math: few steps", 1e-10)
def the_target_of_a_halving_is_the_papers() -> Sides:
    """a halving's target is x~ = (z'' - (sigma''/sigma) z) / (alpha'' - (sigma''/sigma) alpha), on five schedules"""
    theory, practice = [], []
    for schedule in SCHEDULES:
        model, chain = gaussian().denoiser(schedule), schedule.steps(6)
        for t, mid, s in ((chain[1], chain[2], chain[3]), (chain[4], chain[5], chain[6])):
            z = states(t.expand(5))
            first = model(z, t)
            middle = euler(first, mid)
            second = model(middle, mid)
            last, keep = euler(second, s), s.sigma / t.sigma
            theory.append((last - keep * z) / (s.alpha - keep * t.alpha))
            practice.append(two_steps(first, second, t.expand(5), mid.expand(5), s.expand(5)))
    return torch.stack(theory), torch.stack(practice)


def _halved(schedule: Schedule, chain: Chain, slopes: Tensor) -> tuple[Chain, Tensor]:
    """Half as many steps, and the slopes (A A' - k) / (alpha'' - k alpha), k = sigma''/sigma, of the best student."""
    t, mid, s = chain.levels[:-2:2], chain.levels[1:-1:2], chain.levels[2::2]
    both = ddim(t, mid, slopes[:-1:2]) * ddim(mid, s, slopes[1::2])
    keep = s.sigma / t.sigma
    return every(chain, 2), (both - keep) / (s.alpha - keep * t.alpha)


@check("Salimans and Ho 2022 (arXiv 2202.00512), algorithm 2; math: few steps", 1e-8)
def a_halving_ends_at_the_best_student() -> Sides:
    """the gradient of the progressive loss is zero at the best student, at each level of 8 -> 4, on five schedules"""
    found = []
    for schedule in SCHEDULES:
        chain = schedule.steps(8)
        half, slopes = _halved(schedule, chain, posterior(chain.levels[:-1]))
        way = distill.Progressive(gaussian().denoiser(schedule), 4)
        found.append(fixed(way, schedule, on(half, slopes), half.levels[:-1]))
    return torch.zeros(len(found), 4), torch.stack(found)


@check("Salimans and Ho 2022 (arXiv 2202.00512), section 3; math: few steps", 1e-9)
def three_halvings_walk_as_their_teacher() -> Sides:
    """after 8 -> 4 -> 2 -> 1, the student's one DDIM step is the product of the teacher's eight, on five schedules"""
    theory, practice = [], []
    for schedule in SCHEDULES:
        chain = schedule.steps(8)
        factors = down(chain, lambda t, s: ddim(t, s, posterior(t)))
        slopes = posterior(chain.levels[:-1])
        own = chain
        for _ in range(3):
            own, slopes = _halved(schedule, own, slopes)
        model, x = Linear(schedule, on(own, slopes)), states(chain[0].expand(5))
        theory.append(M + factors[0] * (x - chain[0].alpha * M))
        practice.append(walk(model, x, own, DDIM(), lambda x=x: x))
    return torch.stack(theory), torch.stack(practice)


@check("Meng et al. 2023 (arXiv 2210.03142), eq. 3", 1e-12)
def guidance_distillation_ends_at_the_guided_teacher() -> Sides:
    """the student x0_null + g (x0_c - x0_null) has loss zero for g = 1, 2.5 and 4"""
    two = GaussianMixture(torch.ones(2), torch.tensor([[-1.0], [0.7]]), torch.tensor([[[0.2]], [[0.1]]]))
    teacher = two.conditional_denoiser(COSINE, [[0], [1]])
    teacher.null = {"label": torch.tensor(-1)}
    way = distill.Guidance(teacher, 1.0, 4.0)

    class Told(Denoiser):
        state_dtype = torch.float64

        def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
            assert cond is not None
            free = teacher(x_t, t, {"label": torch.full((len(x_t),), -1)}).x0
            plain = teacher(x_t, t, {"label": cond["label"]}).x0
            return Prediction(x_t, t, free + cond["guidance"][:, None] * (plain - free), X0(), COSINE)

    t = some(COSINE)
    u = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    cond = {"label": torch.tensor([0, 1, 0])}
    loss = way(Told(nn.Identity(), COSINE, "x0", shape=(1,)), states(t), t, states(t), cond, u=u)["loss"]
    return torch.zeros(3), loss


@check("Salimans and Ho 2022 (arXiv 2202.00512), section 4", 1e-10)
def a_halvings_weight_is_the_truncated_snr() -> Sides:
    """an error of 0.1 in x0hat costs max(SNR_t, 1) / 100, at each level of 8 -> 4"""
    chain = COSINE.steps(8)
    half, slopes = _halved(COSINE, chain, posterior(chain.levels[:-1]))
    levels = half.levels[:-1]
    way, x0 = distill.Progressive(gaussian().denoiser(COSINE), 4), torch.full((4, 1), M, dtype=torch.float64)
    student = Linear(COSINE, on(half, slopes))
    off = student(x0, levels, None)
    eps = torch.zeros_like(x0)

    class Off(Linear):
        def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
            p = super().forward(x_t, t, cond)
            return p.with_x0(p.x0 + 0.1)

    assert off.x0.shape == x0.shape
    loss = way(Off(COSINE, on(half, slopes)), x0, levels, eps)["loss"]
    return (levels.alpha / levels.sigma).square().clamp_min(1) / 100, loss
