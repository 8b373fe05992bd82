"""The posterior and the reverse step."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import line, schedule, two_peaks


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    path, truth = schedule("linear"), two_peaks()
    time = values["t"]
    t, s = path.level(float(time)), path.level(float(max(1, time - values["step"])))
    one = torch.ones(1, 1, dtype=torch.float64)
    x0, x_t = one * values["x0"], one * values["x_t"]
    x = line(-4.0, 4.0, 401)

    def normalised(log_density: Any) -> Any:
        found = torch.exp(log_density - log_density.max())
        return found / torch.trapezoid(found, x)

    exact = fn.gaussian.posterior(x0, x_t, t, s)
    ahead = fn.gaussian.forward(x[:, None], s, t).log_prob(x_t)[:, 0]
    bayes = normalised(ahead + fn.gaussian.marginal(x0, s).log_prob(x[:, None])[:, 0])
    known = [
        Series("q(x_s | x_t, x_0), formula", x, torch.exp(exact.log_prob(x[:, None]))[:, 0]),
        Series("Bayes' rule on a grid", x[::8], bayes[::8], "points"),
    ]
    denoiser = truth.denoiser(path)
    p = denoiser(x_t, t)
    model = fn.reverse(p, t, s, fn.variances.FixedLarge())
    small = fn.reverse(p, t, s, fn.variances.FixedSmall())
    unknown = [
        Series("q(x_s | x_t), exact", x, normalised(ahead + truth.log_prob(x[:, None], s))),
        Series("model, variance b", x, torch.exp(model.log_prob(x[:, None]))[:, 0]),
        Series("model, variance β̃", x, torch.exp(small.log_prob(x[:, None]))[:, 0], "dashed"),
    ]
    k = fn.gaussian.step(t, s)
    facts = {"$s$": s.time.item(), "$b$": k.b.item(), "$\\tilde\\beta$": k.variance.item(),
             "$\\mathbb{E}[x_0 \\mid x_t]$": p.x0.item()}  # fmt: skip
    return Drawn([known, unknown], facts)


chapter = Chapter(
    place=3,
    title="The posterior and the reverse step",
    summary="Given the clean example, the reverse step is a known Gaussian; the model uses its prediction instead.",
    paragraphs=(
        "Sampling runs the process backwards. The distribution of a step from $x_t$ to a cleaner $x_s$ is unknown in "
        "general. But if $x_0$ is given, it is a Gaussian, by Bayes' rule and completing the square.",
        "The model does not know $x_0$, so it puts its prediction $\\hat x_0$ into the same formula. This is the "
        "reverse step of DDPM: everything except $\\hat x_0$ and the variance is fixed by the schedule.",
        "A Gaussian is accurate only while the step is short. Watch the second chart as the step grows: the exact "
        "distribution of $x_s$ splits into two peaks, which no single Gaussian can follow.",
    ),
    equations=(
        Equation(
            r"q(x_{t-1} \mid x_t, x_0) = \mathcal{N}\left(x_{t-1};\ \tilde\mu_t,\ \tilde\beta_t I\right), \qquad "
            r"\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0 + "
            r"\frac{\sqrt{1-\beta_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t",
            "The posterior of a step.",
            "arXiv 2006.11239, eq. 6-7; Sedykh eq. 2.42-2.69; Weng eq. 16-19; Friedman eq. 22-31",
            ("fn.gaussian.posterior",),
            "Sedykh's eq. 2.53-2.67 have $1-\\bar\\alpha_{t-1}$ instead of $1-\\bar\\alpha_t$, and in 2.62-2.66 "
            "$x_0$ has the factor $1-\\bar\\alpha_t$ instead of $1-\\alpha_t$. The result, eq. 2.68, is correct.",
        ),
        Equation(
            r"\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t",
            "Its variance, which is smaller than $\\beta_t$ because $x_0$ is known.",
            "arXiv 2006.11239, eq. 7; Sedykh eq. 2.69; Weng eq. 18; Notes eq. 12",
            ("fn.gaussian.step", "fn.variances.FixedSmall"),
            "Below eq. 2.12 Sedykh gives the quotient alone, without $\\beta_t$. Friedman's $\\kappa_t^2$ as printed "
            "is negative for $t$ from 2 to 56.",
        ),
        Equation(
            r"p_\theta(x_s \mid x_t) = \mathcal{N}\left(x_s;\ \frac{a\,\sigma_s^2}{\sigma_t^2}\,x_t + "
            r"\frac{\alpha_s b}{\sigma_t^2}\,\hat{x}_0(x_t, t),\ v\,I\right)",
            "The model's step between any two levels; the variance $v$ is a free choice.",
            "arXiv 2006.11239, section 3.2; Sedykh eq. 2.11-2.12; Weng eq. 14-15; Friedman eq. 34",
            ("fn.reverse", "fn.samplers.Ancestral"),
            "Friedman's sampler has the variance $\\sigma_{t-1}^2$ and runs over $0 \\le t \\le T-1$. It must be "
            "$\\sigma_t^2$ or $\\kappa_t^2$, for $t = T, \\ldots, 1$.",
        ),
        Equation(
            r"x_{t-1} = \frac{1}{\sqrt{1-\beta_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,"
            r"\hat\varepsilon(x_t, t)\right) + \sqrt{v_t}\,z, \qquad z = 0 \text{ at } t = 1",
            "The same step in the form of DDPM's algorithm 2.",
            "arXiv 2006.11239, algorithm 2; Sedykh Algorithm 2; Notes eq. 16; Weng eq. 28; Shorts eq. 4",
            ("fn.samplers.Ancestral",),
            "Sedykh's algorithm 2 has $\\sqrt{1-\\alpha_t}$ under $\\hat\\varepsilon$: samples of $N(0, 0.25)$ then "
            "have variance 0.03. In the Notes $\\alpha_t$ is the cumulative product, and with it the leading root "
            "makes the sampler diverge. The code in the paper shorts adds noise to $\\hat x_0$ and never computes the "
            "mean.",
        ),
    ),
    figure=Figure(
        "Above: $x_0$ is known, and the formula agrees with Bayes' rule computed on a grid. Below: $x_0$ is unknown. "
        "The exact step is compared with the model's Gaussian, whose $\\hat x_0$ is exact.",
        (
            Slider("t", "Time $t$", 20, 1000, 10, 400),
            Slider("step", "Length of the step, $t - s$", 1, 999, 1, 250),
            Slider("x_t", "State $x_t$", -3, 3, 0.1, 0.2),
            Slider("x0", "Clean value $x_0$", -2, 2, 0.1, 1.0),
        ),
        (
            Chart("The reverse step when x_0 is known", "x_s", "density"),
            Chart("The reverse step when x_0 is unknown", "x_s", "density"),
        ),
        _draw,
    ),
    rows=(
        "levels: q(x_s | x_t, x_0) q(x_t | x_0)",
        "levels: 1/beta-tilde = ",
        "levels: beta-tilde_t = ",
        "levels: mean^2/btilde = ",
        "levels: mean = (sqrt(alpha_t)",
        "levels: a_t = gammabar",
        "levels: kappa_t^2 is positive",
        "levels: Cov(x_{t-1}, x_t | x_0)",
        "levels: prod q(x_t | x_{t-1}) = ",
        "levels: posterior mean and noisy state in float32",
        "mixture: E[x_s | x_t] and Var",
        "samplers: ancestral steps with v*",
        "samplers: Algorithm 2 on N(0, 0.25)",
        "samplers: with the cumulative product",
        "samplers: x0hat plus noise instead",
        "samplers: z = 0 at t = 1",
    ),
)
