"""Reverse variances: how much noise a reverse step should add."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import DATA, data, line, schedule


def spreads(truth: "fn.oracle.GaussianMixture", levels: "fn.Level", n: int = 161) -> Any:
    """E Cov[x_0 | x_t] at each level, by averaging the exact covariance over x_t."""
    import torch

    found = []
    for i in range(len(levels.alpha)):
        t = levels[i]
        x = line(-6.0, 6.0, n) * float(torch.hypot(t.alpha, t.sigma))
        weight = truth.log_prob(x[:, None], t).softmax(0)
        found.append((weight * truth.moments(x[:, None], t)[1][:, 0, 0]).sum())
    return torch.stack(found)


def variances(name: str, std: float, steps: int) -> tuple["fn.Level", dict[str, Any], Any]:
    """(levels of the chain without the last two, log of each variance, E Cov[x_0 | x_t])."""
    import torch

    path, truth = schedule("cosine"), data(name, std)
    chain = path.steps(steps)
    t, s = chain.levels[:-2], chain.levels[1:-1]
    k, spread = fn.gaussian.step(t, s), spreads(truth, t)
    zero = torch.zeros(len(t.alpha), 1, dtype=torch.float64)
    p = truth.denoiser(path)(zero, t)
    kinds = {"β̃, small": fn.variances.FixedSmall(), "β, large": fn.variances.FixedLarge(),
             "v*, optimal": fn.variances.Optimal(lambda level: spread)}  # fmt: skip
    return t, {kind: one.log_var(p, k, torch.log(k.variance)) for kind, one in kinds.items()}, spread


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    t, found, spread = variances(values["data"], values["std"], values["steps"])
    small, large, best = found.values()
    fraction = (best - small) / (large - small)
    limit = spread / t.sigma**2
    lines = [
        Series("v*, optimal", t.time, fraction, "line" if len(t.alpha) > 12 else "points"),
        Series("limit of short steps", t.time, limit, "dashed"),
        Series("β", t.time, torch.ones_like(limit), "faint"),
        Series("β̃", t.time, torch.zeros_like(limit), "faint"),
    ]
    sizes = [Series(kind, t.time, torch.exp(log_var)) for kind, log_var in found.items()]
    facts = {"fraction at high noise": fraction[0].item(), "fraction near the data": fraction[-1].item()}
    return Drawn([lines, sizes], facts)


chapter = Chapter(
    place=6,
    title="The variance of the reverse step",
    summary="For most data the best variance lies between two fixed choices; a network can learn where.",
    paragraphs=(
        "The mean of the reverse step comes from the network. The variance is a choice. DDPM considers two: "
        "$\\beta_t$, right if the data are $N(0, I)$, and $\\tilde\\beta_t$, right if they are a single point. With a "
        "thousand steps the two are nearly equal and give similar samples. But the variance matters for the "
        "likelihood and for sampling in few steps.",
        "The best variance adds to $\\tilde\\beta$ the remaining uncertainty about $x_0$. It can be learned: the "
        "network of improved DDPM outputs, for every value, a position between the two on a logarithmic scale.",
        "The best value need not lie in between. For data with a variance above 1 it lies beyond $\\beta_t$. Raise "
        "$s$ above 1 and watch the curve cross the line.",
    ),
    equations=(
        Equation(
            r"v = \exp\left(f\,\log\,\beta_t + (1-f)\,\log\,\tilde\beta_t\right)",
            "The learned range; the network's output $o$ gives $f = (o+1)/2$.",
            "arXiv 2102.09672, eq. 15; Sedykh eq. 4.1",
            ("fn.variances.LearnedRange",),
            "Sedykh calls $\\tilde\\beta_t$ learned; it is fixed, and $f$ is learned. $\\tilde\\beta_1 = 0$ has no "
            "logarithm, so that of $\\tilde\\beta_2$ is used instead.",
        ),
        Equation(
            r"v^{*} = \tilde\beta + \frac{c^2}{D}\,\mathbb{E}\,\operatorname{tr}\,\operatorname{Cov}[x_0 \mid x_t], "
            r"\qquad c = \frac{\alpha_s b}{\sigma_t^2}",
            "The best variance that is a single number: it minimises $L_{t-1}$.",
            "arXiv 2201.06503, theorem 1; Friedman eq. 37",
            ("fn.variances.Optimal", "fn.bound.optimal_variance"),
        ),
        Equation(
            r"\mathbb{E}\,\operatorname{tr}\,\operatorname{Cov}[x_0 \mid x_t] = \frac{\sigma_t^2}{\alpha_t^2}"
            r"\left(D - \sigma_t^2\,\mathbb{E}\,\left|\nabla \log\, q(x_t)\right|^2\right)",
            "The uncertainty about $x_0$, from the score alone.",
            "arXiv 2201.06503, theorem 1",
            ("fn.oracle.GaussianMixture.moments",),
        ),
        Equation(
            r"f^{*} \to \frac{S}{\alpha_t^2 S + \sigma_t^2}",
            "The best fraction for $N(0, S)$ and short steps: 1 near the data, $S$ near pure noise.",
            "Sedykh eq. 4.1; checked by verify",
            ("fn.variances.Optimal",),
        ),
    ),
    figure=Figure(
        "Above: the best variance as a fraction of the way from $\\tilde\\beta$ (0) to $\\beta$ (1). Below: the three "
        "variances themselves. The slider for $s$ applies to the single Gaussian.",
        (
            Choice("data", "Data", tuple(reversed(DATA))),
            Slider("std", "Standard deviation $s$", 0.05, 2, 0.05, 0.5),
            Slider("steps", "Steps of the chain", 4, 100, 1, 50),
        ),
        (
            Chart("Fraction between β̃ and β", "t", "fraction"),
            Chart("Variance of a step", "t", "variance", log_y=True),
        ),
        _draw,
    ),
    rows=(
        "samplers: fixed small is beta-tilde_t",
        "samplers: learned range: btilde",
        "samplers: the best variance is",
        "samplers: for N(0, S) the best fraction",
        "samplers: d E[L_{t-1}]/d log v",
        "mixture: Cov[x_0 | x_t], by quadrature",
        "mixture: E tr Cov[x_0 | x_t]",
        "mixture: d x0hat/d x_t",
        "bound: for data N(0, S) with v*",
    ),
)
