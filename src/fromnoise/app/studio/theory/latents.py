"""Latent diffusion and cascades: two ways to make the problem smaller."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import fromnoise as fn
from fromnoise.app.studio.theory.base import Chapter, Equation
from fromnoise.app.studio.theory.controls import Chart, Drawn, Figure, Series, Slider
from fromnoise.app.studio.theory.truths import line, schedule

_D = 8
_SIGMA = ((1.0, 0.6), (0.6, 0.7))
"""Covariance of the two-number data of the cascade."""


def signals(decay: float, n: int = 400) -> Any:
    """Signals [n, 8] whose k-th direction has standard deviation decay^k, rotated."""
    import torch

    z = torch.randn(n, _D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn, _ = torch.linalg.qr(torch.arange(_D * _D, dtype=torch.float64).view(_D, _D).cos())
    return (z * decay ** torch.arange(_D, dtype=torch.float64)) @ turn + 1


def losses(x: Any) -> tuple[Any, Any, Any]:
    """(squared error, Frechet distance, sum of the dropped eigenvalues) of PCA codecs with 1 to 8 components."""
    import torch

    from fromnoise.metrics.frechet import distance

    errors, distances, dropped = [], [], []
    for k in range(1, _D + 1):
        codec = fn.compose.PCA(x, k)
        again = codec.decode(codec.encode(x))
        errors.append((x - again).square().sum(1).mean())
        covariances = [torch.cov(part.T, correction=0) for part in (x, again)]
        distances.append(distance(x.mean(0), covariances[0], again.mean(0), covariances[1]))
        dropped.append(codec.eigenvalues[: _D - k].sum())
    return torch.stack(errors), torch.stack(distances), torch.stack(dropped)


@lru_cache(maxsize=64)
def cascaded(strength: float) -> float:
    """The excess variance of a cascade's output, per unit of excess variance of its base.

    The data are pairs (u, v), and the low-resolution example is their mean. The exact sampler of the second stage is
    linear in that example, so one path that starts at zero noise determines it.
    """
    import torch

    from fromnoise.samplers.base import walk

    like: dict[str, Any] = {"dtype": torch.float64}
    sigma, mean = torch.tensor(_SIGMA, **like), torch.tensor([[0.5, 0.5]], **like)
    augment, s = fn.augmentations.Noise(1.0), torch.tensor([strength], **like)
    one, none = torch.ones(1, 1, **like), torch.zeros(1, 1, **like)
    signal, noise = augment.apply(one, s, none).item(), augment.apply(none, s, one).item()
    seen = signal * mean
    gain = sigma @ seen.T / (seen @ sigma @ seen.T + noise**2)
    path, start = schedule("cosine"), torch.zeros(1, 2, **like)
    given = fn.oracle.GaussianMixture(torch.ones(1), gain.T, (sigma - gain @ seen @ sigma)[None])
    drawn = walk(given.denoiser(path), start, path.steps(20, "log-snr"), fn.samplers.UniPC(), lambda: start)
    return drawn.square().sum().item() * signal**2


def expected(strengths: Any) -> Any:
    """`cascaded` in closed form: |K|^2, K = Sigma A' / (A Sigma A' + s^2), where s is the ratio of noise to signal."""
    import torch

    both = torch.tensor(_SIGMA, dtype=torch.float64).mean(1)
    ratio = torch.tan(strengths * torch.pi / 2)
    return (both / (both.mean() + ratio[:, None] ** 2)).square().sum(1)


def _draw(values: Mapping[str, Any]) -> Drawn:
    import torch

    x = signals(values["decay"])
    errors, distances, dropped = losses(x)
    sizes = torch.arange(1, _D + 1, dtype=torch.float64)
    codecs = [
        Series("dropped eigenvalues", sizes, dropped.clamp_min(0)),
        Series("squared error", sizes, errors, "points"),
        Series("Fréchet distance", sizes, distances.clamp_min(0), "points"),
    ]
    strengths, fine, off = line(0.02, 0.9, 9), line(0.02, 0.9, 60), values["off"]
    cascade = [
        Series("tr K E Kᵀ", fine, expected(fine) * off),
        Series(
            "drawn by exact stages", strengths, torch.tensor([cascaded(float(s)) for s in strengths]) * off, "points"
        ),
    ]
    k = values["k"]
    scaled = fn.compose.Scaled(fn.compose.PCA(x, k), x)
    facts = {f"share of the variance kept with {k}": 1 - (errors[k - 1] / (errors[0] + _kept(x))).item(),
             "standard deviation of the latents": 1 / scaled.scale,
             "after scaling": scaled.encode(x).std().item()}  # fmt: skip
    return Drawn([codecs, cascade], facts)


def _kept(x: Any) -> Any:
    """The largest eigenvalue: the variance that a codec with one component keeps."""
    return fn.compose.PCA(x, 1).eigenvalues[-1]


chapter = Chapter(
    place=12,
    title="Latents and cascades",
    summary="Diffusion on compressed examples, or on small ones that are then enlarged; the theory stays the same.",
    paragraphs=(
        "Pixels are many and mostly redundant. A latent model first compresses images into latents, learns to generate "
        "latents, and decodes them. Nothing in the theory changes: the latents are the data.",
        "What the codec drops is lost for good. For a linear codec the loss is known exactly: the sum of the dropped "
        "eigenvalues, which is also the Fréchet distance between images and reconstructions. Compare the FID of a "
        "latent model with that of its reconstructions.",
        "A cascade generates a small image and enlarges it with a second model that is conditioned on the small one. "
        "The second model was trained on real small images but receives generated ones. Noise added to the condition "
        "hides the difference, so errors of the base model shrink.",
    ),
    equations=(
        Equation(
            r"z = c\,E(x), \qquad c = \frac{1}{\operatorname{std} E(x)}, \qquad \hat{x} = D(z/c)",
            "Encode, scale to unit variance, decode.",
            "arXiv 2112.10752, section 3.1 and appendix G; Sedykh eq. 5.1-5.3",
            ("fn.compose.Scaled", "fn.compose.PCA"),
            "Sedykh's eq. 5.3 leaves out the scale $c$. Schedules assume data of unit variance; in Stable Diffusion "
            "$c$ is 0.18215.",
        ),
        Equation(
            r"L_{\text{LDM}} = \mathbb{E}\,\left|\varepsilon - \hat\varepsilon(z_t, t)\right|^2, \qquad "
            r"\min = \frac{1}{D}\operatorname{tr}\left(\alpha_t^2 S\,(\alpha_t^2 S + \sigma_t^2 I)^{-1}\right)",
            "The loss on latents, and its minimum for latents $N(0, S)$.",
            "arXiv 2112.10752, eq. 2; Sedykh eq. 5.3",
            ("fn.objectives.Simple",),
        ),
        Equation(
            r"\mathbb{E}\,\left|x - D(E(x))\right|^2 = \sum_{i > k} \lambda_i = \text{FD}",
            "The loss of the best linear codec with $k$ components.",
            "arXiv 1706.08500, eq. 6 for the distance; Shorts table",
            ("fn.compose.PCA", "fn.metrics.Frechet"),
        ),
        Equation(
            r"\text{FD} = \left|m - n\right|^2 + \operatorname{tr}\left(S + R - 2\,(S R)^{1/2}\right)",
            "Fréchet distance of two Gaussians. FID is this distance for Inception features.",
            "arXiv 1706.08500, eq. 6; Shorts table",
            ("fn.metrics.Frechet",),
            "In the table of the paper shorts some figures are in the wrong row: 12.26 is ImageNet at $256^2$, 2.92 "
            "is ImageNet-64, and FID 3.17 and 3.70 bits come from two different models.",
        ),
        Equation(
            r"E \to K E K^{\top}, \qquad K = \Sigma A^{\top}\left(A \Sigma A^{\top} + s^2 I\right)^{-1}",
            "An error $E$ of the base model's covariance after the second stage, with noise $s$ on its condition.",
            "arXiv 2106.15282, section 4.2; Sedykh 5.1",
            ("fn.augmentations.Noise",),
        ),
    ),
    figure=Figure(
        "Above: the loss of codecs with 1 to 8 components for signals of 8 numbers. Three ways to compute it give one "
        "curve. Below: how much of the base model's error survives the second stage, against the strength of the "
        "noise on its condition.",
        (
            Slider("decay", "Decay of the standard deviations", 0.3, 0.95, 0.05, 0.7),
            Slider("k", "Components of the latent", 1, 8, 1, 3),
            Slider("off", "Error of the base model's variance", 0.05, 1, 0.05, 0.4),
        ),
        (
            Chart("Loss of the codec", "components of the latent", "squared error"),
            Chart("Error after the cascade", "strength of the noise", "variance"),
        ),
        _draw,
    ),
    rows=("latents", "cascades"),
)
