"""Few-step students: learning where the whole path leads."""

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
    """Where n sampler steps from the level `start` to the data take x, [N]."""
    import torch

    from fromnoise.samplers.base import walk

    path = schedule("edm")
    bottom = path.chain[-2].log_snr
    rungs = torch.linspace(float(start.log_snr), float(bottom), n + 1, dtype=torch.float64)[:n]
    chain = fn.Chain(path.at(torch.cat([rungs, torch.full((1,), torch.inf, dtype=torch.float64)])))
    return walk(truth.denoiser(path), x[:, None], chain, fn.samplers.build(sampler), lambda: x[:, None])[:, 0]


def exact(truth: "fn.oracle.GaussianMixture", x: Any, t: "fn.Level") -> Any:
    """F_0^-1(F_t(x)), the end of the path through each x, [N]."""
    return quantiles(truth, schedule("edm").level(0.0), shares(truth, t, x), 4.0)


@lru_cache(maxsize=256)
def error(sampler: str, n: int, noise: float) -> float:
    """Largest error of the n-step map from noise level `noise`, for N(0, 0.5^2), whose exact map is known."""

    t, x = at(noise), line(-2.0, 2.0, 5)
    end = 0.5 / (0.25 + t.sigma**2).sqrt() * x
    return (mapped(gaussian(0.5), x, t, n, sampler) - end).abs().max().item()


def at(noise: float) -> "fn.Level":
    """The level with this sigma in a schedule with alpha = 1."""
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
    summary="A student learns where its teacher's path ends, so one or a few network calls replace fifty.",
    paragraphs=(
        "At high noise a denoiser predicts the mean of all possible images, so one step with it cannot produce a "
        "sample. But the flow leads from each noise to one image, and a student network can learn this map.",
        "Progressive distillation halves the number of steps again and again: each step of the student replaces two of "
        "its teacher. A consistency model learns to map every point of a path to its end, by agreeing with its own "
        "prediction at slightly less noise. Mean flow learns the mean velocity between any two times.",
        "See the first chart. The mean is a smooth curve between the peaks, while the exact map is steep where they "
        "separate. A distilled student inherits the error of its teacher's solver, which the second chart shows.",
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
            "In closed form, for $N(m, s^2)$ and for any data in one dimension.",
            "arXiv 2303.01469, section 3; arXiv 2011.13456, eq. 13",
            ("fn.distill.ConsistencyDistillation", "fn.distill.ConsistencyTraining"),
        ),
        Equation(
            r"\tilde{x} = \frac{z'' - (\sigma''/\sigma_t)\,z}{\alpha'' - (\sigma''/\sigma_t)\,\alpha_t}",
            "Progressive distillation: with this $\\hat x_0$, one step reaches $z''$, as the teacher's two steps do.",
            "arXiv 2202.00512, algorithm 2",
            ("fn.distill.Progressive",),
        ),
        Equation(
            r"\sqrt{\left|e\right|^2 + c^2} - c",
            "The pseudo-Huber distance, which is less sensitive to outliers than the square.",
            "arXiv 2310.14189, eq. 7",
            ("fn.distill.ConsistencyTraining", "fn.distill.EasyConsistency"),
        ),
        Equation(
            r"u = v - (\tau_t - \tau_s)\,\frac{du}{d\tau}, \qquad y_s = y_t - (\tau_t - \tau_s)\,u(y_t, s, t)",
            "Mean flow: the identity it is trained with, and its sampling step.",
            "arXiv 2505.13447, eq. 6 and 12",
            ("fn.distill.MeanFlow", "fn.samplers.MeanFlow"),
        ),
    ),
    figure=Figure(
        "Above: where $x_t$ is mapped to. The exact map is the student's target; the mean is the denoiser's "
        "prediction in one call. Below: the error of a teacher with $n$ steps for Gaussian data, which the student "
        "inherits.",
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
