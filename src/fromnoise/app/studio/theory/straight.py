"""Straight paths: flow matching."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import DATA, data, density, histogram, line, normals, schedule
from fromnoise.app.studio.theory.variances import spreads


def floor(truth: "fn.oracle.GaussianMixture", levels: "fn.Level") -> Any:
    """E|eps - x_0 - v|^2 at each level: eps - x_0 is (x_t - x_0)/sigma there, x_0 alone unknown."""
    return spreads(truth, levels) * ((levels.alpha + levels.sigma) / levels.sigma) ** 2


def measured(truth: "fn.oracle.GaussianMixture", levels: "fn.Level", n: int = 1500) -> Any:
    """The same from n pairs of data and noise, with the shipped velocity."""
    import torch

    path, x0, eps = schedule("rectified"), truth.sample(n, torch.Generator().manual_seed(6)), normals(n, 7)
    denoiser, found = truth.denoiser(path), []
    for i in range(len(levels.alpha)):
        p = denoiser(fn.gaussian.diffuse(x0, eps, levels[i]), levels[i])
        found.append((eps - x0 - (p.eps - p.x0)).square().mean())
    return torch.stack(found)


def _draw(values: Mapping[str, Any]) -> Drawn:
    import math

    import torch

    from fromnoise.samplers.base import walk

    truth, path, std = data(values["data"], values["std"]), schedule("rectified"), values["std"]
    denoiser = truth.denoiser(path)
    flow = fn.paths.measure(denoiser, 96, "heun", 24, batch_size=96, shown=12)
    taus = torch.cat([flow.taus, torch.zeros(1, dtype=flow.taus.dtype)])
    curves = [Series(f"path {i + 1}", taus, flow.paths[:, i].flatten()) for i in range(flow.paths.shape[1])]

    n, grid = 2000, line(-3.0, 3.0)
    start = normals(n, 8)
    ends = walk(denoiser, start, path.steps(values["steps"]), fn.samplers.DDIM(), lambda: start)
    drawn = [
        Series("data, exact", grid, density(truth, grid, path.level(0.0))),
        Series(f"{values['steps']} Euler steps", *histogram(ends, -3.0, 3.0), "points"),
    ]
    levels = path.level(torch.arange(40, 1000, 60, dtype=torch.float64))
    fine = path.level(torch.arange(20, 1000, 20, dtype=torch.float64))
    crossing = [
        Series("exact", fine.sigma, floor(truth, fine)),
        Series("measured", levels.sigma, measured(truth, levels), "points"),
    ]
    facts = {"straightness $S$": flow.straightness, "curvature": flow.curvature}
    if values["data"] == DATA[1]:
        facts["$S$ in closed form"] = std * (2 - math.pi / 2)
        facts["mean of the floor, $\\pi s/2$"] = math.pi * std / 2
    return Drawn([curves, drawn, crossing], facts)


chapter = Chapter(
    place=13,
    title="Straight paths",
    summary="Flow matching learns the velocity of a straight line from noise to data; straight flows need few steps.",
    paragraphs=(
        "Take the simplest path there is: $x_t = (1-t)\\,x_0 + t\\,\\varepsilon$, and let the network predict its "
        "velocity $\\varepsilon - x_0$. That is flow matching. It is a diffusion like any other, with $\\alpha = 1-t$ "
        "and $\\sigma = t$; divided by $\\sqrt{\\alpha^2+\\sigma^2}$ it is the variance-preserving one of the same "
        "log-SNR.",
        "The paths of the pairs are straight, yet the flow is not. Pairs cross, and at a crossing the network can "
        "only learn the mean of their velocities. That mean turns, so the paths of samples bend. The loss that "
        "remains is a measure of the crossings.",
        "Better pairs cross less. Pairing by least cost in a batch helps a little. Reflow trains again on pairs that "
        "the model itself made, which never cross, and one Euler step is then nearly enough.",
    ),
    equations=(
        Equation(
            r"x_t = (1-t)\,x_0 + t\,\varepsilon, \qquad v(x, t) = \mathbb{E}[\varepsilon - x_0 \mid x_t = x]",
            "The path, and what the network learns.",
            "arXiv 2210.02747, eq. 20-23; arXiv 2209.03003, eq. 1; time runs the other way there",
            ("fn.schedules.Rectified", "fn.parameterizations.Flow"),
        ),
        Equation(
            r"v(x, t) = -m + \frac{t - (1-t)\,s^2}{(1-t)^2 s^2 + t^2}\left(x - (1-t)\,m\right)",
            "The velocity for $N(m, s^2)$.",
            "arXiv 2210.02747, theorem 1",
            ("fn.parameterizations.Flow", "fn.oracle.GaussianMixture"),
        ),
        Equation(
            r"\mathbb{E}\,\left|\varepsilon - x_0 - v\right|^2 = \frac{s^2}{(1-t)^2 s^2 + t^2}, \qquad \int_0^1 "
            r"\cdots\,dt = \frac{\pi s}{2}",
            "The floor of the loss with independent pairs; 0 for pairs $x_0 = m + s\\,\\varepsilon$.",
            "arXiv 2209.03003, theorem 3.6",
            ("fn.objectives.Simple", "fn.couplings.OptimalTransport"),
        ),
        Equation(
            r"S = \int_0^1 \mathbb{E}\,\left|(y_1 - y_0) - v(y_\tau, \tau)\right|^2\,d\tau, \qquad S = s\left(2 - "
            r"\frac{\pi}{2}\right) \text{ for } N(m, s^2)",
            "How far from straight the paths of samples are.",
            "arXiv 2209.03003, eq. 5",
            ("fn.paths.measure", "fn.distill.Reflow"),
        ),
        Equation(
            r"\lambda_t = 2\,\log\,\frac{1-t}{t}, \qquad t' = \frac{m\,t}{1 + (m-1)\,t}",
            "Its log-SNR, and the shift for larger images, which lowers the log-SNR by $2\\log m$.",
            "arXiv 2403.03206, section 5.3.2",
            ("fn.schedules.Rectified", "fn.times.Mode"),
        ),
    ),
    figure=Figure(
        "Above: paths of the exact flow, from noise at the right to data at the left. Middle: what a few Euler steps "
        "along them make of noise. Below: the loss that no network can beat, which measures how much the pairs cross.",
        (
            Choice("data", "Data", DATA),
            Slider("steps", "Euler steps", 1, 20, 1, 3),
            Slider("std", "Standard deviation of the Gaussian", 0.1, 1.5, 0.1, 0.5),
        ),
        (
            Chart("Paths of the flow", "τ", "y", legend=False),
            Chart("Density of the samples", "x_0", "density"),
            Chart("Floor of the loss", "t", "squared error"),
        ),
        _draw,
    ),
    rows=("straight",),
)
