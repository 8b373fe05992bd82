"""Guidance: sampling one class of data, and strengthening the condition."""

from collections.abc import Mapping
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Choice, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import density, histogram, line, mixture, schedule

_WAYS = ("classifier-free", "classifier")


def data(width: float) -> "fn.oracle.GaussianMixture":
    """Two overlapping classes; the right one is the requested class."""
    return mixture([0.5, 0.5], [-0.8, 0.8], [0.7, width])


def guided(truth: "fn.oracle.GaussianMixture", way: str, scale: float) -> "fn.Denoiser":
    """The exact denoiser, guided to the second class; classifier-free guidance is called with label 0."""
    import torch

    path = schedule("cosine")
    if way == "classifier":
        return fn.guidance.Classifier(truth.denoiser(path), lambda x, t, cond: truth.log_class(x, t, (1,)), scale)
    return fn.guidance.ClassifierFree(truth.conditional_denoiser(path, [[1]]), {"label": torch.tensor(-1)}, scale)


def samples(truth: "fn.oracle.GaussianMixture", way: str, scale: float, n: int = 1500, steps: int = 24) -> Any:
    """x_0 of n guided samples, [n]."""
    cond = {"label": 0} if way == "classifier-free" else None
    model = guided(truth, way, scale)
    return fn.sample(model, n, "dpm-solver", steps, cond=cond, batch_size=n)[:, 0].double()


def tilted(truth: "fn.oracle.GaussianMixture", x: Any, scale: float) -> Any:
    """q(x) q(y | x)^scale on a grid, normalized."""
    import torch

    clean = schedule("cosine").level(0.0)
    found = truth.log_prob(x[:, None], clean) + scale * truth.log_class(x[:, None], clean, (1,))
    found = torch.exp(found - found.max())
    return found / torch.trapezoid(found, x)


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    truth, way, scale, x = data(values["width"]), values["way"], values["scale"], line(-3.0, 3.5)
    drawn = samples(truth, way, scale)
    tilt = tilted(truth, x, scale)
    densities = [
        Series("data", x, density(truth, x, schedule("cosine").level(0.0)), "dashed"),
        Series("class y, scale 1", x, tilted(truth, x, 1.0)),
        Series("q(x) q(y | x)^g", x, tilt),
        Series("guided samples", *histogram(drawn, -3.0, 3.5), "points"),
    ]
    t = schedule("cosine").level(float(values["t"]))
    cond = {"label": torch.zeros(len(x), dtype=torch.int64)} if way == "classifier-free" else None
    scores = [
        Series("unconditional", x, truth.score(x[:, None], t)[:, 0]),
        Series("conditional", x, truth.given((1,)).score(x[:, None], t)[:, 0]),
        Series("guided", x, guided(truth, way, scale)(x[:, None], t, cond).score[:, 0]),
    ]
    mean = torch.trapezoid(tilt * x, x)
    facts = {"variance of the samples": drawn.var().item(),
             "of $q(x)\\,q(y \\mid x)^g$": torch.trapezoid(tilt * (x - mean) ** 2, x).item(),
             "mean of the samples": drawn.mean().item(), "of the density": mean.item()}  # fmt: skip
    return Drawn([densities, scores], facts)


chapter = Chapter(
    place=11,
    title="Guidance",
    summary="Bayes' rule gives conditional samples; a scale above 1 strengthens the condition at the cost of variety.",
    paragraphs=(
        "Bayes' rule splits the score of a conditional model in two: the unconditional score, and the gradient of a "
        "classifier of noisy states. So any model can be steered by a classifier that was trained on noisy data.",
        "Classifier-free guidance needs no classifier. One network is trained mostly with the condition and sometimes "
        "without it; the difference of its two predictions replaces the classifier's gradient. Scale 1 means no "
        "guidance: it is the conditional model.",
        "With a scale $g$ above 1 the scores at each level are those of $q(x_t)\\,q(y \\mid x_t)^g$. It is tempting to "
        "think that the samples have this density at $t = 0$. They do not, because adding noise and taking a power do "
        "not commute. Compare the points with the curve: the samples are narrower.",
    ),
    equations=(
        Equation(
            r"\nabla \log\,q(x_t \mid y) = \nabla \log\,q(x_t) + \nabla \log\,q(y \mid x_t)",
            "Bayes' rule for scores.",
            "arXiv 2105.05233, section 4; Sedykh eq. 4.21-4.24",
            ("fn.guidance.Classifier", "fn.oracle.GaussianMixture.log_class"),
        ),
        Equation(
            r"\hat\varepsilon \leftarrow \hat\varepsilon - g\,\sigma_t\,\nabla_{x_t}\log\,p(y \mid x_t)",
            "Classifier guidance with scale $g$, for samplers that use the predicted noise.",
            "arXiv 2105.05233, algorithm 2; Sedykh eq. 4.25 and Algorithm 4",
            ("fn.guidance.Classifier",),
            "Sedykh's algorithm 4 has the gradient of $p$ instead of $\\log p$, and no scale. It is called training, "
            "but it describes sampling, and only with DDIM. The left side of eq. 4.25 is the gradient of "
            "$\\log q(x)\\,q(y \\mid x)^\\gamma$.",
        ),
        Equation(
            r"p(x_s \mid x_t)\,p(y \mid x_s) \approx \mathcal{N}\left(\mu + v\,g\,\nabla \log\,p(y \mid x_t),\ "
            r"v\,I\right)",
            "The same for the ancestral step: the mean moves by the variance times the gradient.",
            "arXiv 2105.05233, algorithm 1; Sedykh eq. 4.20",
            ("fn.reverse",),
        ),
        Equation(
            r"\hat\varepsilon = \hat\varepsilon(x_t) + g\left(\hat\varepsilon(x_t, y) - \hat\varepsilon(x_t)\right)",
            "Classifier-free guidance.",
            "arXiv 2207.12598, eq. 6; Sedykh eq. 4.26-4.30",
            ("fn.guidance.ClassifierFree",),
            "The paper's $w$ is $g - 1$. Sedykh's section 4.3.2 does not mention that labels are dropped at random in "
            "training; without this there is no unconditional prediction.",
        ),
        Equation(
            r"\operatorname{Var} = c^{2g}\,u^{2(1-g)} \ne \left(\frac{g}{c^2} + \frac{1-g}{u^2}\right)^{-1}",
            "The variance of guided samples, for data $N(0, c^2)$ with the condition and $N(0, u^2)$ without it, and "
            "that of the density. With $c = 0.5$, $u = 1$, $g = 3$ it is 0.0156 against 0.1.",
            "arXiv 2207.12598, section 3; checked by verify",
            ("fn.guidance.ClassifierFree", "fn.flow.solve"),
        ),
    ),
    figure=Figure(
        "Above: the data are two overlapping classes, and the condition is the right one. The points are guided "
        "samples of an exact denoiser. Below: the scores at a time $t$.",
        (
            Slider("scale", "Guidance scale $g$", 0, 8, 0.25, 3),
            Choice("way", "Guidance", _WAYS),
            Slider("width", "Standard deviation of the requested class", 0.2, 1, 0.05, 0.7),
            Slider("t", "Time $t$ of the scores", 20, 980, 20, 400),
        ),
        (Chart("Density", "x_0", "density"), Chart("Scores", "x_t", "gradient of the log-density")),
        _draw,
    ),
    rows=("guidance", "mixture: grad log p(y | x_t)", "cascades: score_weak + g", "cascades: outside low"),
)
