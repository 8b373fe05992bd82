"""The variational bound: a lower bound of a diffusion model's likelihood."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import gaussian, nodes, schedule

_KINDS = ("β̃, small", "β, large", "v*, optimal")
_LEAST = 1e-5
"""Smaller values are drawn at this one, since a logarithmic axis has no 0."""


def terms(std: float, steps: int) -> tuple[dict[str, Any], Any, float]:
    """(E L_t in nats for each variance, noisiest step first; times; L_T), exact by quadrature."""
    import torch

    path, truth = schedule("linear"), gaussian(std)
    chain, (at, weight) = path.steps(steps), nodes(2)  # every term is quadratic in x_0 and eps
    z, eps = (part.reshape(-1, 1) for part in torch.meshgrid(at, at, indexing="ij"))
    both = (weight[:, None] * weight).flatten()
    n = chain.steps
    t, s = (_repeated(level, len(both)) for level in (chain.levels[:-1], chain.levels[1:]))
    x0 = (std * z).repeat(n, 1)
    x_t = fn.gaussian.diffuse(x0, eps.repeat(n, 1), t)
    found = {}
    for kind, variance in zip(_KINDS, (fn.variances.FixedSmall(), fn.variances.FixedLarge(), best(std)), strict=True):
        denoiser = truth.denoiser(path)
        denoiser.variance = variance
        nats = fn.bound.step_terms(denoiser, denoiser(x_t, t), x0, t, s, chain, fn.Gaussian.log_prob)
        found[kind] = (nats.view(n, -1) * both).sum(1)
    prior = fn.bound.prior_kl(truth.denoiser(path), std * at[:, None], chain[0])
    return found, chain.levels.time[:-1], (weight * prior).sum().item()


def best(std: float) -> "fn.variances.Optimal":
    """The optimal variance of N(0, std^2)."""
    truth = gaussian(std)

    def spread(t: "fn.Level") -> Any:
        level = t if t.alpha.dim() else t.expand(1)
        found = truth.moments(level.alpha[:, None] * 0, level)[1][:, 0, 0]  # for a Gaussian it is the same at every x_t
        return found if t.alpha.dim() else found[0]

    return fn.variances.Optimal(spread)


def _repeated(level: "fn.Level", n: int) -> "fn.Level":
    return fn.Level(*(part.repeat_interleave(n) for part in (level.time, level.alpha, level.sigma)))


def _draw(values: Mapping[str, Any]) -> Drawn:
    import math

    import torch

    std = values["std"]
    found, times, prior = terms(std, values["steps"])
    entropy = math.log(std) + math.log(2 * math.pi * math.e) / 2
    least = found[_KINDS[2]]
    per_step = [Series(f"{kind}: excess over v*", times[:-1], (nats - least)[:-1].clamp_min(_LEAST))
                for kind, nats in found.items() if nats is not least]  # fmt: skip
    per_step += [Series(f"{_KINDS[2]}: total", times[:-1], least[:-1].clamp_min(_LEAST), "dashed")]
    counts = [4, 8, 16, 32, 64, 128, 256]
    totals: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for n in counts:
        each, _, end = terms(std, n)
        for kind, nats in each.items():
            totals[kind].append(nats.sum().item() + end - entropy)
    against = torch.tensor(counts, dtype=torch.float64)
    gaps = [Series(kind, against, torch.tensor(one).clamp_min(_LEAST), "points") for kind, one in totals.items()]
    facts = {"entropy of the data, nats": entropy, "$L_T$": prior}
    facts |= {f"bound with {kind.split(',')[0]}": nats.sum().item() + prior for kind, nats in found.items()}
    return Drawn([per_step, gaps], facts)


chapter = Chapter(
    place=5,
    title="The bound and its terms",
    summary="The likelihood is bounded by a sum with one term per step, and every term is known in closed form.",
    paragraphs=(
        "Diffusion models are latent-variable models, and like all of these they have a bound on the likelihood. Here "
        "the bound is a sum: one term for the end of the path, one for each step, and one for the last step to the "
        "data.",
        "Each middle term is the KL divergence between two Gaussians, the posterior and the model's step. With a fixed "
        "variance it is a weighted squared error of $\\hat x_0$. This is where the training loss comes from.",
        "For 8-bit images the last term is the probability of a bin, not a density. Divided by the number of values "
        "and by $\\log 2$, the sum is what papers report as bits per dimension.",
    ),
    equations=(
        Equation(
            r"-\log\, p_\theta(x_0) \le \mathbb{E}_q\left[L_T + \sum_{t=2}^{T} L_{t-1} + L_0\right]",
            "The variational bound.",
            "arXiv 2006.11239, eq. 5; Sedykh eq. 2.23-2.38; Weng eq. 22-23; Friedman eq. 6 and 21; Notes eq. 5",
            ("fn.likelihood.vlb",),
            "Friedman's log-likelihood must be the logarithm of an integral, not the expectation of a logarithm. The "
            "bound is tight only if the steps are exact and also $p(x_T) = q(x_T)$.",
        ),
        Equation(
            r"L_T = D_{\text{KL}}\left(q(x_T \mid x_0)\,\Vert\,p(x_T)\right) = "
            r"\frac{1}{2}\left(\alpha_T^2 \left|x_0\right|^2 + D\,(\sigma_T^2 - 1 - \log\,\sigma_T^2)\right)",
            "The end of the path, which does not depend on the network.",
            "arXiv 2006.11239, section 3.1; Sedykh eq. 2.39; Weng eq. 24",
            ("fn.bound.prior_kl",),
            "Sedykh's eq. 2.81 drops $L_T$ and still writes an equality. With $\\sigma_t^2 = \\beta_t$ the dropped "
            "constants amount to 0.486 bits per dimension.",
        ),
        Equation(
            r"L_{t-1} = \frac{D}{2}\left(\frac{\tilde\beta}{v} - 1 - \log\,\frac{\tilde\beta}{v}\right) + "
            r"\frac{c^2}{2v}\,\left|x_0 - \hat{x}_0\right|^2, \qquad c = \frac{\alpha_s b}{\sigma_t^2}",
            "The term of a step, for a reverse variance $v$.",
            "arXiv 2006.11239, eq. 8; Sedykh eq. 2.40 and 2.82-2.89; Weng eq. 25; Friedman eq. 32-33",
            ("fn.bound.step_terms", "fn.Gaussian.kl"),
            "Friedman's weights lack the factor $1/2$ and have $1/\\sigma$ for $1/\\sigma^2$.",
        ),
        Equation(
            r"L_{t-1} = \frac{\mathrm{SNR}_s - \mathrm{SNR}_t}{2}\,\left|x_0 - \hat{x}_0\right|^2",
            "The same term for $v = \\tilde\\beta$: the weight is half the change of the SNR.",
            "arXiv 2107.00630, section 4; Friedman eq. 35",
            ("fn.bound.step_terms",),
        ),
        Equation(
            r"L_0 = -\log \int_{x_0 - 1/255}^{x_0 + 1/255} \mathcal{N}\left(x;\ \mu_\theta(x_1, 1),\ v_1\right) dx",
            "The last step, for 8-bit values scaled to $[-1, 1]$; the first and the last bin extend to infinity.",
            "arXiv 2006.11239, eq. 13; Sedykh eq. 2.95-2.97; Weng eq. 26",
            ("fn.Gaussian.log_bin",),
        ),
    ),
    figure=Figure(
        "The data are $N(0, s^2)$ and the denoiser is exact, so every term is known. Above: the term of each step, for "
        "three variances. Below: how far the whole bound lies above the entropy, against the number of steps. Only "
        "$v^*$ reaches the floor, $D_{\\text{KL}}(q(x_T)\\,\\Vert\\,p(x_T))$, with any number of steps. Values "
        "below $10^{-5}$ are drawn at $10^{-5}$.",
        (
            Slider("std", "Standard deviation $s$ of the data", 0.1, 2, 0.05, 0.5),
            Slider("steps", "Steps $T$", 2, 200, 1, 50),
        ),
        (
            Chart("Each step", "t", "nats", log_y=True),
            Chart("Bound above the entropy", "steps", "nats", log_x=True, log_y=True),
        ),
        _draw,
    ),
    rows=("bound", "levels: KL(p | q) = "),
)
