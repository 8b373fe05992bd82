"""The probability-flow ODE: deterministic samplers, and the likelihood."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import quantiles, schedule, two_peaks

TOP, BOTTOM = -7.0, 3.0
"""Log-SNR at the ends of the measured paths; both ends are noisy, so every step has the sampler's full order."""

SAMPLERS = {"ddim": 1, "heun": 2, "dpm-solver": 2, "unipc": 3}


@lru_cache(maxsize=512)
def error(sampler: str, steps: int, std: float) -> float:
    """Largest error of the flow of N(0, C), C = std^2 diag(1/4, 1, 4), against the exact C_s^(1/2) C_t^(-1/2) x."""
    import torch

    path, like = schedule("cosine"), {"dtype": torch.float64}
    levels = path.at(torch.linspace(TOP, BOTTOM, steps + 1, **like))
    variances = std**2 * torch.tensor([0.25, 1.0, 4.0], **like)
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 3), torch.diag(variances)[None])
    denoiser, start = truth.denoiser(path), torch.tensor([[2.0, 2.0, 2.0]], **like)
    made, x = fn.samplers.build(sampler), start
    state = made.init(x)
    for i in range(steps):
        x, state = made.step(denoiser, x, levels[i], levels[i + 1], state, lambda: start, None)
    spread = levels.alpha[:, None] ** 2 * variances + levels.sigma[:, None] ** 2
    return (x - (spread[-1] / spread[0]).sqrt() * start).abs().max().item()


def _draw(values: Mapping[str, Any]) -> Drawn:
    import math

    import torch

    from fromnoise.samplers.base import walk

    path, truth, shares = schedule("cosine"), two_peaks(), torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    chain, states = path.steps(values["steps"], "log-snr"), []
    start = quantiles(truth, chain[0], shares)[:, None]
    states.append(start[:, 0])
    walk(truth.denoiser(path), start, chain, fn.samplers.build(values["sampler"]), lambda: start, None,
         lambda i, x: states.append(x[:, 0]))  # fmt: skip
    times, walked = chain.levels.time, torch.stack(states)
    some = path.level(torch.linspace(0, float(times[0]), 11, dtype=torch.float64))
    true = torch.stack([quantiles(truth, some[i], shares) for i in range(len(some.alpha))])
    paths = [Series(f"{100 * share:.0f}%", times, walked[:, i]) for i, share in enumerate(shares.tolist())]
    paths += [Series("exact quantiles", some.time.repeat(len(shares)), true.T.flatten(), "points")]

    counts = [4, 8, 16, 32, 64]
    found = {name: [error(name, n, values["std"]) for n in counts] for name in SAMPLERS}
    against = torch.tensor(counts, dtype=torch.float64)
    errors = [Series(f"{name}, order {order}", against, torch.tensor(found[name]).clamp_min(1e-15))
              for name, order in SAMPLERS.items()]  # fmt: skip
    facts = {f"slope of {name}": math.log2(max(one[-2], 1e-300) / max(one[-1], 1e-300)) for name, one in found.items()}
    return Drawn([paths, errors], facts)


chapter = Chapter(
    place=10,
    title="The probability-flow ODE",
    summary="A differential equation carries noise to data with the same marginals; samplers are its solvers.",
    paragraphs=(
        "For every diffusion process there is a deterministic flow that has the same density at every time. Its "
        "velocity is computed from the score, so the same network provides it. Sampling means solving a differential "
        "equation.",
        "This makes a century of numerical mathematics available. The error of a solver of order $p$ falls like "
        "$n^{-p}$ with $n$ steps. DDIM has order 1; Heun, DPM-Solver++ and UniPC have higher orders and reach the same "
        "error with far fewer network calls.",
        "The flow can run in both directions. Running it from data to noise turns an image into a code, and the change "
        "of volume along the path gives the likelihood of the image itself, not only a bound.",
    ),
    equations=(
        Equation(
            r"\frac{dx}{dt} = f(t)\,x - \frac{1}{2}\,g(t)^2\,\nabla_x \log\,q_t(x)",
            "The flow of a diffusion $dx = f x\\,dt + g\\,dw$.",
            "arXiv 2011.13456, eq. 13; Sedykh fig 4.1",
            ("fn.flow.solve",),
        ),
        Equation(
            r"\frac{du}{d\varphi} = \cos\varphi\;\hat\varepsilon - \sin\varphi\;\hat{x}_0, \qquad \tan\varphi = "
            r"\frac{\sigma}{\alpha}, \quad u = \frac{x}{\sqrt{\alpha^2+\sigma^2}}",
            "The same equation in terms of an angle, as the library solves it; the schedule drops out.",
            "arXiv 2202.00512, appendix D; arXiv 2010.02502, eq. 14",
            ("fn.flow.velocity",),
        ),
        Equation(
            r"x_s = \frac{\sigma_s}{\sigma_t}\,x_t - \alpha_s\left(e^{-h} - 1\right) D, \qquad h = "
            r"\frac{1}{2}(\lambda_s - \lambda_t)",
            "A step that solves the linear part exactly. $D = \\hat x_0$ gives DDIM, an extrapolated $D$ order 2.",
            "arXiv 2211.01095, algorithm 2; arXiv 2302.04867, algorithms 7-8",
            ("fn.samplers.DPMSolver", "fn.samplers.UniPC"),
        ),
        Equation(
            r"\log\,q(x_t) = \log\,q(x_s) + \int \nabla \cdot u'\,d\varphi + "
            r"D\,\log\,\frac{\text{scale}_s}{\text{scale}_t}",
            "The likelihood, from the divergence along the path.",
            "arXiv 2011.13456, eq. 39; Sedykh fig 4.1",
            ("fn.likelihood.ode",),
        ),
        Equation(
            r"x_s = F_s^{-1}\left(F_t(x_t)\right), \qquad x_s = \alpha_s m + C_s^{1/2}\,C_t^{-1/2}\,(x_t - \alpha_t m)",
            "The exact flow: in one dimension it preserves quantiles; for $N(m, C)$ it is linear.",
            "arXiv 2011.13456, eq. 13",
            ("fn.samplers.Heun", "fn.samplers.DDIM"),
        ),
    ),
    figure=Figure(
        "Above: a sampler's paths, which start at quantiles of the noise, and the exact quantiles at each time. With "
        "few steps they diverge. Below: the error for Gaussian data with standard deviations $s/2$, $s$ and $2s$, "
        "against the number of steps. With order $p$ it falls by a factor of $2^p$ whenever the steps double.",
        (
            Choice("sampler", "Sampler of the paths", ("ddim", "heun", "dpm-solver", "unipc")),
            Slider("steps", "Steps of the paths", 3, 40, 1, 12),
            Slider("std", "Standard deviation $s$ of the Gaussian data", 0.1, 2, 0.1, 0.5),
        ),
        (
            Chart("Paths and exact quantiles", "t", "x_t", legend=False),
            Chart("Error of the flow", "steps", "error", log_x=True, log_y=True),
        ),
        _draw,
    ),
    rows=("flow", "mixture: div score", "ddim: DDIM in 3700 small steps"),
)
