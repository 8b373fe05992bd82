"""DDIM: a family of samplers for one trained network."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import density, histogram, line, normals, schedule, two_peaks

_STARTS = ("each its own noise", "one noise for all")


def walked(x: Any, eta: float, steps: int, seed: int = 1) -> tuple[Any, Any]:
    """(times, states [steps + 1, N]) of DDIM with that eta, starting from x at t = T, for two-peak data."""
    import torch

    from fromnoise.samplers.base import walk

    path, generator = schedule("linear"), torch.Generator().manual_seed(seed)
    chain, states = path.steps(steps), [x[:, 0]]

    def noise() -> Any:
        return torch.randn(x.shape, dtype=x.dtype, generator=generator)

    walk(two_peaks().denoiser(path), x, chain, fn.samplers.DDIM(eta=eta), noise, None,
         lambda i, now: states.append(now[:, 0]))  # fmt: skip
    return chain.levels.time, torch.stack(states)


def _draw(values: Mapping[str, Any]) -> Drawn:
    one = values["start"] == _STARTS[1]
    x, n = normals(3000), 24
    if one:
        x[:n] = -0.3
    times, states = walked(x, values["eta"], values["steps"])
    paths = [Series(f"path {i + 1}", times, states[:, i]) for i in range(n)]
    grid, truth = line(-3.0, 3.0), two_peaks()
    ends = [
        Series("data, exact", grid, density(truth, grid, schedule("linear").level(0.0))),
        Series("samples", *histogram(states[-1, n:], -3.0, 3.0), "points"),
    ]
    facts = {"standard deviation of the end points of these paths": states[-1, :n].std().item(),
             "samples right of 0": (states[-1, n:] > 0).double().mean().item(), "exact": 0.65}  # fmt: skip
    return Drawn([paths, ends], facts)


chapter = Chapter(
    place=8,
    title="DDIM and its family",
    summary="The training loss depends only on the marginals, so one network serves a whole family of samplers.",
    paragraphs=(
        "$L_{\\text{simple}}$ depends only on the marginals $q(x_t \\mid x_0)$, not on the joint distribution of "
        "the $x_t$. So many processes share the same loss. DDIM describes a family of them, with a free variance for "
        "each step; all have DDPM's marginals.",
        "The parameter $\\eta$ scales that variance. At 1 the step is DDPM's. At 0 no noise is added, and a sample is "
        "a deterministic function of the initial noise. Images can then be encoded, interpolated, and drawn in few "
        "steps.",
        "Choose the same noise for all paths and move $\\eta$. At 0 all paths coincide. At 1 they separate and reach "
        "both peaks.",
    ),
    equations=(
        Equation(
            r"q_v(x_s \mid x_t, x_0) = \mathcal{N}\left(x_s;\ \alpha_s x_0 + \sqrt{\sigma_s^2 - v}\;"
            r"\frac{x_t - \alpha_t x_0}{\sigma_t},\ v\,I\right)",
            "The family: every $v$ from 0 to $\\sigma_s^2$ has the same marginals.",
            "arXiv 2010.02502, eq. 7; Sedykh eq. 4.7-4.10",
            ("fn.gaussian.family", "fn.gaussian.family_forward"),
            "In Sedykh's eq. 4.8-4.19 $\\alpha$ is the cumulative product, as in the DDIM paper. Eq. 4.11 and 4.14 mix "
            "it with $\\bar\\alpha$.",
        ),
        Equation(
            r"x_s = \alpha_s \hat{x}_0 + \sqrt{\sigma_s^2 - v}\;\hat\varepsilon + \sqrt{v}\,z",
            "The sampler's step.",
            "arXiv 2010.02502, eq. 12; Sedykh eq. 4.13-4.14; Notes eq. 17",
            ("fn.samplers.DDIM",),
            "The Notes take DDPM's step without noise for DDIM's. They differ: DDIM keeps all of $\\hat\\varepsilon$.",
        ),
        Equation(
            r"v = \eta^2\,\tilde\beta, \qquad \tilde\beta = \frac{1-\bar\alpha_s}{1-\bar\alpha_t}"
            r"\left(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\right)",
            "The variance, which is also valid on a subsequence of the chain.",
            "arXiv 2010.02502, eq. 16; Sedykh eq. 4.19",
            ("fn.samplers.DDIM", "fn.gaussian.step"),
            "The larger variance $\\hat\\sigma^2 = 1 - \\bar\\alpha_t/\\bar\\alpha_s$ does not fit into eq. 4.14: "
            "the radicand would be negative. It belongs to DDPM's mean.",
        ),
        Equation(
            r"J_\sigma = \sum_t \gamma_t\,\mathbb{E}\,\left|\varepsilon - \hat\varepsilon\right|^2 + \text{const}",
            "The bound of every member of the family has the form of the loss that the network was trained with.",
            "arXiv 2010.02502, theorem 1; Sedykh eq. 4.15-4.18",
            ("fn.bound.family_terms",),
        ),
    ),
    figure=Figure(
        "Above: 24 paths from noise (right) to data (left). Below: the distribution of 3,000 end points.",
        (
            Slider("eta", "$\\eta$", 0, 1, 0.05, 0),
            Slider("steps", "Steps", 2, 60, 1, 30),
            Choice("start", "Start", _STARTS),
        ),
        (Chart("Paths", "t", "x_t", legend=False), Chart("Density of the samples", "x_0", "density")),
        _draw,
    ),
    rows=("ddim", "samplers: DDIM's step keeps eps whole"),
)
