"""Scores and Langevin dynamics: sampling with the gradient of the log-density."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import density, histogram, line, normals, two_peaks


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    truth, n, generator = two_peaks(), 1500, torch.Generator().manual_seed(4)
    ladder = fn.schedules.VE(T=8, sigma_min=0.05, sigma_max=3.0)
    clean, x = ladder.level(0), line(-3.0, 3.0)
    noise = float(values["sigma"])
    t = ladder.at(torch.tensor(-2.0, dtype=torch.float64) * torch.log(torch.tensor(noise, dtype=torch.float64)))
    scores = [
        Series("score of the data", x, truth.score(x[:, None], clean)[:, 0].clamp(-25, 25)),
        Series("score with noise", x, truth.score(x[:, None], t)[:, 0].clamp(-25, 25)),
    ]

    def draw() -> Any:
        return torch.randn(n, 1, dtype=torch.float64, generator=generator)

    start, steps, size = 1 + 0.3 * normals(n), values["steps"], values["step"]
    plain = fn.langevin.langevin(lambda y: truth.score(y, clean), start, size, steps, draw)
    levels = [ladder.level(k) for k in range(8, 0, -1)]
    annealed = fn.langevin.annealed(truth.score, 3.0 * normals(n, 5), levels, max(1, steps // 8), 0.5 * 0.05**2, draw)
    ends = [
        Series("data, exact", x, density(truth, x, clean)),
        Series("Langevin from the right peak", *histogram(plain, -3.0, 3.0), "points"),
        Series("annealed Langevin", *histogram(annealed, -3.0, 3.0), "points"),
    ]
    facts = {"left of 0, exact": 0.35, "Langevin": (plain < 0).double().mean().item(),
             "annealed": (annealed < 0).double().mean().item()}  # fmt: skip
    return Drawn([scores, ends], facts)


chapter = Chapter(
    place=9,
    title="Scores and Langevin dynamics",
    summary="The gradient of the log-density is enough for sampling if noise is added; the network is the same.",
    paragraphs=(
        "The score is the gradient of the log-density. It needs no normalizing constant. Langevin dynamics moves a "
        "particle along the score and adds a little noise at each step; in the end the particle has this density.",
        "Two things go wrong. Particles do not cross between distant peaks, so the weights of the peaks stay as they "
        "were at the start. And where there are no data, no score can be learned. Noise solves both problems. With "
        "enough noise the peaks merge into one, and the sampler follows as the noise is lowered.",
        "Matching the score of noisy data is the same as predicting the noise. NCSN's loss is DDPM's, term by term, "
        "and its sampler can draw from a DDPM checkpoint.",
    ),
    equations=(
        Equation(
            r"s(x) = \nabla_x \log\,p(x), \qquad p(x) = \frac{e^{-f(x)}}{Z} \Rightarrow s(x) = -\nabla f(x)",
            "The score; the constant $Z$ drops out.",
            "arXiv 1907.05600, section 2; Sedykh eq. 3.1-3.7; Weng eq. 13",
            ("fn.oracle.GaussianMixture.score",),
        ),
        Equation(
            r"\frac{1}{2}\,\mathbb{E}\,\left|s_\theta - s\right|^2 = \mathbb{E}\left[\operatorname{tr}(\nabla_x "
            r"s_\theta) + \frac{1}{2}\left|s_\theta\right|^2\right] + \text{const}",
            "Score matching: a loss that does not need the true score.",
            "arXiv 1905.07088, section 2; Sedykh eq. 3.8-3.13",
            ("fn.objectives.Exact", "fn.objectives.Sliced"),
        ),
        Equation(
            r"\frac{1}{2}\,\mathbb{E}\left|s_\theta(\tilde{x}, \sigma) + \frac{\tilde{x} - x}{\sigma^2}\right|^2",
            "Denoising score matching. With the weight $\\sigma^2$ it is half the squared error of the noise.",
            "arXiv 1907.05600, eq. 2 and 5; Sedykh eq. 3.11 and 3.19-3.20",
            ("fn.objectives.Denoising",),
        ),
        Equation(
            r"x \leftarrow x + \frac{\delta}{2}\,s(x) + \sqrt{\delta}\,z",
            "Langevin dynamics with step size $\\delta$. On $N(0, s^2)$ its stationary variance is "
            "$s^2/(1 - \\delta/(4s^2))$; it is stable for $\\delta < 4s^2$.",
            "arXiv 1907.05600, eq. 4; Sedykh eq. 3.14-3.15; Weng eq. 13",
            ("fn.langevin.langevin",),
        ),
        Equation(
            r"\delta_i = \delta\,\frac{\sigma_i^2}{\sigma_L^2}, \qquad \sigma_1 > \sigma_2 > \cdots > \sigma_L",
            "Annealed Langevin dynamics: level by level, with steps that shrink with the noise.",
            "arXiv 1907.05600, algorithm 1; Sedykh Algorithm 3",
            ("fn.langevin.annealed", "fn.samplers.AnnealedLangevin"),
            "In Sedykh the noise levels rise instead of falling; data of variance 0.25 then come out with 0.086. The "
            "published code takes twice the written step.",
        ),
    ),
    figure=Figure(
        "Above: the score of the data, and the score with noise $\\sigma$ added. Each zero is a peak, or the valley "
        "between two. Below: particles that start in the right peak, and annealed sampling from pure noise with the "
        "same total number of steps.",
        (
            Slider("sigma", "Noise $\\sigma$ of the score", 0.05, 3, 0.05, 0.8),
            Slider("steps", "Steps of each sampler", 8, 400, 8, 200),
            Slider("step", "Step size $\\delta$ of plain Langevin", 0.005, 0.3, 0.005, 0.02),
        ),
        (Chart("Score", "x", "gradient of the log-density"), Chart("Where particles end", "x", "density")),
        _draw,
    ),
    rows=(
        "scores",
        "mixture: score = grad log",
        "mixture: score = (alpha x0hat",
        "mixture: E[-eps/sigma | x_t]",
        "mixture: x0hat = E[x_0 | x_t]",
        "mixture: score of the empirical",
        "mixture: the empirical denoiser",
    ),
)
