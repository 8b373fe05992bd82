"""The forward process: how data turn into noise."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import density, histogram, line, normals, schedule, two_peaks


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    path, truth = schedule(values["schedule"]), two_peaks()
    t, n, reach = path.level(float(values["t"])), 4000, 4.0
    x, x0 = line(-reach, reach), truth.sample(n, torch.Generator().manual_seed(1))
    x_t = fn.gaussian.diffuse(x0, normals(n), t)
    prior = path.prior()
    noise = torch.exp(fn.Gaussian(prior.mean, prior.log_var).log_prob(x))
    chart = [
        Series("q(x_t), exact", x, density(truth, x, t)),
        Series(f"{n:,} samples", *histogram(x_t, -reach, reach), "points"),
        Series("p(x_T)", x, noise, "dashed"),
    ]
    facts = {"$\\alpha_t$": t.alpha.item(), "$\\sigma_t$": t.sigma.item(), "log-SNR": t.log_snr.item(),
             "variance of the samples": x_t.var().item()}  # fmt: skip
    return Drawn([chart], facts)


chapter = Chapter(
    place=1,
    title="The forward process",
    summary="Noise is added in small steps until nothing of the data is left; any step can be reached in one draw.",
    paragraphs=(
        "Diffusion starts with a process that needs no learning. Each step shrinks the state a little and adds a "
        "little Gaussian noise. After enough steps the state is pure noise, whatever it was at the start.",
        "A sum of independent Gaussians is a Gaussian, so the steps collapse into one: $x_t$ is a mix of the clean "
        "example $x_0$ and a single draw of noise $\\varepsilon$, with weights $\\alpha_t$ and $\\sigma_t$. This "
        "makes training cheap: a batch needs no chain, only a random $t$ for each example.",
        "The library stores $\\alpha_t$ and $\\sigma_t$ in a `Level`. In DDPM's notation these are "
        "$\\alpha_t = \\sqrt{\\bar\\alpha_t}$ and $\\sigma_t = \\sqrt{1-\\bar\\alpha_t}$. Other schedules have "
        "other pairs; everything else stays the same.",
    ),
    equations=(
        Equation(
            r"q(x_t \mid x_{t-1}) = \mathcal{N}\left(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\right)",
            "One step.",
            "arXiv 2006.11239, eq. 2; Sedykh eq. 2.3; Weng eq. 4; Notes eq. 1; Friedman eq. 2",
            ("fn.gaussian.forward",),
        ),
        Equation(
            r"q(x_t \mid x_0) = \mathcal{N}\left(x_t;\ \alpha_t x_0,\ \sigma_t^2 I\right), \qquad "
            r"\bar\alpha_t = \prod_{i=1}^{t} (1-\beta_i)",
            "All steps at once.",
            "arXiv 2006.11239, eq. 4; Sedykh eq. 2.9-2.10; Weng eq. 8; Notes eq. 3; Friedman eq. 10",
            ("fn.gaussian.marginal",),
            "Sedykh starts the product at 0. It must start at $i = 1$, so that $1 - \\bar\\alpha_1 = \\beta_1$.",
        ),
        Equation(
            r"x_t = \alpha_t x_0 + \sigma_t \varepsilon, \qquad \varepsilon \sim \mathcal{N}(0, I)",
            "The same, written as a way to sample $x_t$; training uses this form.",
            "arXiv 2006.11239, section 3.2; Sedykh eq. 2.9; Weng eq. 7; Shorts eq. 1",
            ("fn.gaussian.diffuse",),
            "The code in the paper shorts multiplies a batch of images by a vector of coefficients. They need "
            "the shape $[B, 1, 1, 1]$.",
        ),
        Equation(
            r"a = \frac{\alpha_t}{\alpha_s}, \qquad b = \sigma_t^2 - a^2 \sigma_s^2, \qquad "
            r"q(x_t \mid x_s) = \mathcal{N}(x_t;\ a\,x_s,\ b\,I)",
            "A step between any two levels $s < t$; for adjacent levels $b = \\beta_t$.",
            "arXiv 2107.00630, appendix A; Sedykh eq. 2.6-2.8; Weng eq. 9-11; Friedman eq. 8",
            ("fn.gaussian.step",),
        ),
    ),
    figure=Figure(
        "The line is the exact density of $x_t$ for data with two peaks. The points are a histogram of samples, noised "
        "with one call. Move $t$: the peaks shrink towards 0 and melt into the dashed prior.",
        (
            Slider("t", "Time $t$", 0, 1000, 10, 200),
            Choice("schedule", "Schedule", ("linear", "cosine", "sigmoid", "rectified")),
        ),
        (Chart("Density of the noisy state", "x_t", "density"),),
        _draw,
    ),
    rows=(
        "levels: the density of N(mean, var)",
        "levels: log N(mean + std z)",
        "levels: q(x_t | x_{t-1}) = N",
        "levels: alpha_t^2 = prod",
        "levels: a step s -> t after",
        "levels: a thousand steps from x_0",
        "levels: x_t = alpha_t x_0 + sigma_t eps",
        "levels: the general chain",
        "levels: p_T = N(0",
        "levels: x_T forgets x_0",
        "levels: 1 - abar_1 = beta_1",
        "mixture: log q(x_t) = log int",
    ),
)
