"""Parameterizations: what the network predicts."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import line, schedule, two_peaks


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    path = schedule("cosine")
    t, x = path.level(float(values["t"])), line(-3.0, 3.0)
    p = two_peaks().denoiser(path)(x[:, None], t)
    answers = {"x̂₀": p.x0, "ε̂": p.eps, "v̂": p.v, "flow velocity": p.eps - p.x0, "score": p.score}
    curves = [Series(name, x, answer[:, 0]) for name, answer in answers.items()]
    levels = path.level(torch.arange(10, 1000, 10, dtype=torch.float64))
    zero = torch.zeros(len(levels.alpha), 1, dtype=torch.float64)
    factors = []
    for name in ("x0", "eps", "v", "flow", "score", "edm"):
        options = {"data_std": values["std"]} if name == "edm" else {}
        kind = fn.parameterizations.build({"name": name, **options})
        off = fn.Prediction(zero, levels, zero, kind, path).x0_per_output.abs()
        factors.append(Series(name, levels.log_snr, off))
    eps = fn.Prediction(zero[:1], t.expand(1), zero[:1], fn.parameterizations.Eps(), path)
    facts = {"$\\alpha_t$": t.alpha.item(), "$\\sigma_t$": t.sigma.item(), "log-SNR": t.log_snr.item(),
             "error of $\\hat x_0$ per error of $\\hat\\varepsilon$": eps.x0_per_output.abs().item()}  # fmt: skip
    return Drawn([curves, factors], facts)


chapter = Chapter(
    place=4,
    title="What the network predicts",
    summary="Noise, data, velocity or score: each can be computed from any other, but errors have different effects.",
    paragraphs=(
        "A denoising network can predict the noise, the clean example, the score, or a mix of them. Each is a linear "
        "function of $x_t$ and any other, so one prediction gives them all. The reverse step does not depend on which "
        "one is predicted.",
        "What differs is the effect of an error. At high noise an error of $\\hat\\varepsilon$ is divided by a "
        "vanishing $\\alpha_t$: a small error of the network is a large error of the image. At low noise an error of "
        "$\\hat x_0$ appears directly in the image. The velocity $v$ is well behaved at both ends.",
        "EDM goes further. It scales input, output and target so that each has variance 1 at every level, provided the "
        "data have the standard deviation that it assumes.",
    ),
    equations=(
        Equation(
            r"\hat{x}_0 = \frac{x_t - \sigma_t\,\hat\varepsilon}{\alpha_t} = \frac{1}{\sqrt{\bar\alpha_t}}\,x_t - "
            r"\sqrt{\frac{1}{\bar\alpha_t}-1}\,\hat\varepsilon",
            "From the noise to the data.",
            "arXiv 2006.11239, eq. 15; Sedykh eq. 2.70-2.74 and 4.11; Weng eq. 20; Notes eq. 15; Shorts eq. 3",
            ("fn.Prediction.x0", "fn.parameterizations.Eps"),
            "Sedykh's eq. 2.74 has $1/\\sqrt{\\bar\\alpha_t}$ before the mean; it must be $1/\\sqrt{\\alpha_t}$. The "
            "Notes call $\\varepsilon$ the noise of step $t$; it is the total noise added to $x_0$.",
        ),
        Equation(
            r"s(x_t, t) = -\frac{\hat\varepsilon}{\sigma_t} = \frac{\alpha_t \hat{x}_0 - x_t}{\sigma_t^2}",
            "The score.",
            "arXiv 2011.13456, section 3.3; Sedykh eq. 3.22-3.29",
            ("fn.Prediction.score", "fn.parameterizations.Score"),
            "Sedykh loses the minus sign in eq. 3.25-3.27. The expectation of eq. 3.22 is over $q(x_0 \\mid x_t)$.",
        ),
        Equation(
            r"v = \alpha_t \varepsilon - \sigma_t x_0, \qquad \hat{x}_0 = \alpha_t x_t - \sigma_t \hat{v}, \qquad "
            r"\hat\varepsilon = \sigma_t x_t + \alpha_t \hat{v}",
            "The velocity, for $\\alpha_t^2 + \\sigma_t^2 = 1$.",
            "arXiv 2202.00512, section 4 and appendix D",
            ("fn.Prediction.v", "fn.parameterizations.V"),
        ),
        Equation(
            r"\hat{x}_0 = c_{\text{skip}}\,y + c_{\text{out}}\,F(c_{\text{in}}\,y), \qquad y = x_t/\alpha_t, \quad "
            r"r = \sigma_t/\alpha_t, \qquad c_{\text{skip}} = \frac{d^2}{r^2+d^2}, \quad "
            r"c_{\text{out}} = \frac{r\,d}{\sqrt{r^2+d^2}}, \quad c_{\text{in}} = \frac{1}{\sqrt{r^2+d^2}}",
            "EDM, for data with standard deviation $d$.",
            "arXiv 2206.00364, table 1",
            ("fn.parameterizations.EDM",),
        ),
    ),
    figure=Figure(
        "Above: the output of a perfect network for each state, for data with two peaks. At low noise $\\hat x_0$ is "
        "the state itself; at high noise it is almost flat. Below: the error of $\\hat x_0$ if the output has an "
        "error of 1.",
        (
            Slider("t", "Time $t$", 20, 980, 10, 500),
            Slider("std", "EDM's standard deviation $d$ of the data", 0.1, 2, 0.1, 0.5),
        ),
        (
            Chart("Exact outputs", "x_t", "value"),
            Chart("Error of the clean image per error of the output", "log-SNR", "factor", log_y=True),
        ),
        _draw,
    ),
    rows=("parameterizations", "mixture: score = -eps/sigma and v"),
)
