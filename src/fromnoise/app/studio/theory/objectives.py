"""Objectives: what the network is trained to minimize."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import DATA, data, normals, schedule
from fromnoise.app.studio.theory.variances import spreads


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    path, truth = schedule("cosine"), data(values["data"], 0.5)
    times = torch.arange(20, 1000, 20, dtype=torch.float64)
    levels, denoiser = path.level(times), truth.denoiser(path)
    n = 400
    x0, eps = truth.sample(n, torch.Generator().manual_seed(2)), normals(n, 3)
    measured = [fn.objectives.Simple()(denoiser, x0, t.expand(n), eps)["loss"].mean() for t in levels_of(levels)]
    ratio = levels.alpha**2 / levels.sigma**2
    floor = [
        Series("x̂₀, exact", times, spreads(truth, levels)),
        Series(f"x̂₀, measured on {n} examples", times, torch.stack(measured), "points"),
        Series("ε̂, exact", times, ratio * spreads(truth, levels)),
    ]
    facts = {"simple loss of a perfect network": (ratio * spreads(truth, levels)).mean().item()}
    return Drawn([floor, _weights(path, denoiser, levels, values["gamma"])], facts)


def levels_of(levels: "fn.Level") -> list["fn.Level"]:
    """Split a batch of levels into single levels."""
    return [levels[i] for i in range(len(levels.alpha))]


def _weights(path: "fn.schedules.Schedule", denoiser: "fn.Denoiser", levels: "fn.Level", gamma: float) -> list[Series]:
    """The weight of |x_0 - x0hat|^2 in each objective, normalised to 1 at log-SNR 0."""
    import torch

    zero = torch.zeros(len(levels.alpha), 1, dtype=torch.float64)
    p = denoiser(zero, levels)
    rows = denoiser.schedule.chain
    denoiser.variance = fn.variances.FixedSmall()
    found = {"the bound": fn.objectives.WeightedTerm().weight(p, levels, denoiser, rows),
             "min-SNR": fn.objectives.MinSNR(gamma).weight(p, levels, denoiser, rows)}  # fmt: skip
    for name, kind in (("ε, simple", "eps"), ("v", "v"), ("x₀", "x0"), ("flow", "flow")):
        output = fn.Prediction(zero, levels, zero, fn.parameterizations.build(kind), path)
        found[name] = 1 / output.x0_per_output**2 + 0 * levels.alpha
    middle = int(levels.log_snr.abs().argmin())
    return [Series(name, levels.log_snr, weight / weight[middle]) for name, weight in found.items()]


chapter = Chapter(
    place=7,
    title="Objectives and their weights",
    summary="Every objective is a squared error with a weight for each level; the weights decide what is learned well.",
    paragraphs=(
        "Each term of the bound is $|x_0 - \\hat x_0|^2$ times a weight. DDPM found that samples look better if the "
        "error of the noise is averaged without a weight: $L_{\\text{simple}}$. In terms of $x_0$ this is a weight, "
        "too: the SNR.",
        "For any positive weights the minimum is the same perfect network. The weights matter because no network is "
        "perfect. The bound's own weight spends capacity on invisible details. Min-SNR limits the weight of the clean "
        "levels.",
        "Even a perfect network has a loss above 0, since $x_t$ does not determine $x_0$. The first chart shows this "
        "floor. Compare a training loss with it, not with 0.",
    ),
    equations=(
        Equation(
            r"L_{\text{simple}} = \mathbb{E}_{t,\,x_0,\,\varepsilon}\,\left|\varepsilon - "
            r"\hat\varepsilon\left(\alpha_t x_0 + \sigma_t\varepsilon,\ t\right)\right|^2",
            "DDPM's training loss.",
            "arXiv 2006.11239, eq. 14; Sedykh eq. 2.98 and Algorithm 1; Weng eq. 31-32; Notes eq. 6; Shorts eq. 2",
            ("fn.objectives.Simple",),
            "Sedykh's algorithm 1 has $\\alpha_t$ under the roots. It must be $\\bar\\alpha_t$, or training never "
            "shows the network the noisy states of sampling. Weng's $L_t^{\\text{simple}}$ is an average over $t$.",
        ),
        Equation(
            r"L_{t-1} = \frac{\beta_t^2}{2\,v\,(1-\beta_t)(1-\bar\alpha_t)}\,\left|\varepsilon - "
            r"\hat\varepsilon\right|^2 + \text{const}",
            "A term of the bound, in terms of the noise.",
            "arXiv 2006.11239, eq. 12; Sedykh eq. 2.93 and 4.17; Weng eq. 30; Friedman eq. 33",
            ("fn.objectives.WeightedTerm",),
            "Weng divides by $|\\Sigma|^2$; it must be the variance $v$, not its square.",
        ),
        Equation(
            r"w_t = \min(\mathrm{SNR}_t,\ \gamma)",
            "Min-SNR's weight of $|x_0 - \\hat x_0|^2$.",
            "arXiv 2303.09556, eq. 8",
            ("fn.objectives.MinSNR",),
        ),
        Equation(
            r"L_{\text{hybrid}} = L_{\text{simple}} + 0.001\,L_{\text{vlb}}",
            "For a learned variance: the bound trains only the variance, and the mean is held fixed.",
            "arXiv 2102.09672, eq. 16; Sedykh eq. 4.2",
            ("fn.objectives.Hybrid",),
            "Sedykh does not mention that no gradient of $L_{\\text{vlb}}$ may reach the mean.",
        ),
        Equation(
            r"p_t \propto \sqrt{\mathbb{E}\,L_t^2}",
            "Importance sampling of times, which lowers the variance of the bound's loss.",
            "arXiv 2102.09672, eq. 18; Sedykh eq. 4.3",
            ("fn.times.Importance",),
        ),
        Equation(
            r"\mathbb{E}\left[\log\,q(x_t \mid x_{t-1}) - \log\,p_\theta(x_t \mid x_{t+1})\right] = \mathbb{E}\,L_t + "
            r"\frac{D}{2}\,\log\,\frac{\tilde\beta_{t+1}}{\beta_t}",
            "Another estimate of the same bound, from three adjacent states of a path.",
            "Friedman eq. 15-18",
            ("fn.bound.path_terms", "fn.objectives.TwoDraw"),
            "Friedman splits this into divergences as if $x_t$ and $x_{t+1}$ were independent. They are not: the "
            "minimum of the printed form leaves $N(0, 1)$ with a variance of 0.333.",
        ),
    ),
    figure=Figure(
        "Above: the loss of a perfect network over time, exact and measured. Below: the weight that each objective "
        "gives to the error of $\\hat x_0$, normalised to 1 at log-SNR 0.",
        (Choice("data", "Data", DATA), Slider("gamma", "$\\gamma$ of min-SNR", 0.5, 20, 0.5, 5)),
        (Chart("Loss of a perfect network", "t", "squared error"), Chart("Weight", "log-SNR", "weight", log_y=True)),
        _draw,
    ),
    rows=("objectives", "bound: with sigma_t^2 = beta_t"),
)
