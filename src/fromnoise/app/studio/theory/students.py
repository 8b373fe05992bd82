"""Few-step students: learning the whole path at once."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import (
    gaussian,
    line,
    quantiles,
    schedule,
    shares,
    two_peaks,
)


def mapped(truth: "fn.oracle.GaussianMixture", x: Any, start: "fn.Level", n: int, sampler: str = "ddim") -> Any:
    """Where n steps of a sampler take x, [N], from a level to the data."""
    import torch

    from fromnoise.samplers.base import walk

    path = schedule("edm")
    bottom = path.chain[-2].log_snr
    rungs = torch.linspace(float(start.log_snr), float(bottom), n + 1, dtype=torch.float64)[:n]
    chain = fn.Chain(path.at(torch.cat([rungs, torch.full((1,), torch.inf, dtype=torch.float64)])))
    return walk(truth.denoiser(path), x[:, None], chain, fn.samplers.build(sampler), lambda: x[:, None])[:, 0]


def exact(truth: "fn.oracle.GaussianMixture", x: Any, t: "fn.Level") -> Any:
    """F_0^-1(F_t(x)): the end of the path through each x, [N]."""
    return quantiles(truth, schedule("edm").level(0.0), shares(truth, t, x), 4.0)


@lru_cache(maxsize=256)
def error(sampler: str, n: int, noise: float) -> float:
    """Largest error of a map of n steps from that noise for N(0, 0.5^2), whose exact map is known."""

    t, x = at(noise), line(-2.0, 2.0, 5)
    end = 0.5 / (0.25 + t.sigma**2).sqrt() * x
    return (mapped(gaussian(0.5), x, t, n, sampler) - end).abs().max().item()


def at(noise: float) -> "fn.Level":
    """The level of a schedule that keeps the signal, by its noise."""
    import torch

    return schedule("edm").at(-2 * torch.log(torch.tensor(noise, dtype=torch.float64)))


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    path, truth, noise = schedule("edm"), two_peaks(), values["noise"]
    t = at(noise)
    reach = 2.2 * (1 + noise**2) ** 0.5
    x = line(-reach, reach, 161)
    mean = truth.denoiser(path)(x[:, None], t).x0[:, 0]
    steps, sampler = values["steps"], values["sampler"]
    maps = [
        Series("f(x_t), exact", x, exact(truth, x, t)),
        Series("E[x_0 | x_t], one step", x, mean),
        Series(f"{steps} steps of {sampler}", x, mapped(truth, x, t, steps, sampler)),
    ]
    counts, errors = (2, 4, 8, 16, 32, 64), []
    for name in ("ddim", "heun"):
        off = torch.tensor([error(name, n, noise) for n in counts])
        errors.append(Series(f"teacher with {name}", torch.tensor(counts), off))
    facts = {"largest error of one step": (mean - maps[0].y).abs().max().item(),
             f"of {steps} steps": (maps[2].y - maps[0].y).abs().max().item()}  # fmt: skip
    return Drawn([maps, errors], facts)


chapter = Chapter(
    place=14,
    title="Few-step students",
    summary="A student learns where its teacher's path ends, so that one or a few calls replace fifty.",
    paragraphs=(
        "A denoiser's answer at high noise is a mean over all images that are possible. One step cannot draw with it. "
        "But the flow leads from each noise to one image, and that map can be learned: by a student.",
        "Progressive distillation halves the steps again and again: one of the student's steps is two of its "
        "teacher's. A consistency model learns the end of the path from every point on it, by agreeing with itself a "
        "little further down. Mean flow learns the mean velocity between any two times.",
        "Watch the first chart. The mean is a soft curve between the peaks; the exact map is steep where they part. "
        "No student can be better than the solver that it learns from, and the second chart shows that solver's error.",
    ),
    equations=(
        Equation(
            r"f(x_t, t) = x_0 \text{ at the end of the path through } x_t, \qquad f(x_0, 0) = x_0",
            "A consistency function.",
            "arXiv 2303.01469, section 3 and algorithm 1",
            ("fn.students.Consistency", "fn.samplers.Consistency"),
        ),
        Equation(
            r"f(x, t) = m + \frac{s}{\sqrt{\alpha_t^2 s^2 + \sigma_t^2}}\,(x - \alpha_t m), \qquad f = F_0^{-1} \circ "
            r"F_t",
            "In closed form, for $N(m, s^2)$ and on a line.",
            "arXiv 2303.01469, section 3; arXiv 2011.13456, eq. 13",
            ("fn.distill.ConsistencyDistillation", "fn.distill.ConsistencyTraining"),
        ),
        Equation(
            r"\tilde{x} = \frac{z'' - (\sigma''/\sigma_t)\,z}{\alpha'' - (\sigma''/\sigma_t)\,\alpha_t}",
            "Progressive distillation: the $\\hat x_0$ with which one step goes where the teacher's two go, to $z''$.",
            "arXiv 2202.00512, algorithm 2",
            ("fn.distill.Progressive",),
        ),
        Equation(
            r"\sqrt{\left|e\right|^2 + c^2} - c",
            "The pseudo-Huber distance, less swayed by outliers than the square.",
            "arXiv 2310.14189, eq. 7",
            ("fn.distill.ConsistencyTraining", "fn.distill.EasyConsistency"),
        ),
        Equation(
            r"u = v - (\tau_t - \tau_s)\,\frac{du}{d\tau}, \qquad y_s = y_t - (\tau_t - \tau_s)\,u(y_t, s, t)",
            "Mean flow: the identity that it is trained on, and its step.",
            "arXiv 2505.13447, eq. 6 and 12",
            ("fn.distill.MeanFlow", "fn.samplers.MeanFlow"),
        ),
    ),
    figure=Figure(
        "Above: where $x_t$ goes. The exact map is a student's goal; the mean is what a denoiser answers at once. "
        "Below: the error of a teacher's map of $n$ steps for Gaussian data, which a student inherits.",
        (
            Slider("noise", "Noise $\\sigma$ of $x_t$", 0.2, 20, 0.2, 2),
            Slider("steps", "Steps of the teacher", 1, 32, 1, 4),
            Choice("sampler", "Teacher's sampler", ("ddim", "heun")),
        ),
        (
            Chart("The map from x_t to x_0", "x_t", "x_0"),
            Chart("Error of the teacher", "steps", "error", log_x=True, log_y=True),
        ),
        _draw,
    ),
    rows=("consistency", "progressive", "mean_flow"),
)
