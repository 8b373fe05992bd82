"""Cascades and autoguidance, exact for Gaussians."""

import torch
from torch import Tensor

from fromnoise.augmentations.noise import Noise
from fromnoise.guidance.auto import Auto
from fromnoise.oracle import GaussianMixture
from fromnoise.samplers.base import walk
from fromnoise.samplers.unipc import UniPC
from fromnoise.schedules.cosine import Cosine
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import LINEAR, POINTS, line, plane

COSINE = Cosine(T=1000)
CHAIN = COSINE.steps(80, "log-snr")

# The data are pairs x = (u, v), and the small image is their mean: z = A x.
SIGMA = torch.tensor([[1.0, 0.6], [0.6, 0.7]], dtype=torch.float64)
A = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
ERROR = torch.tensor([[0.4]], dtype=torch.float64)  # the error of the base's variance


def _path(strength: float) -> tuple[float, float]:
    """(signal, noise) factors of the augmentation: its output for 1 without noise, and for noise without a signal."""
    s, one, none = torch.tensor([strength]).double(), torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    return Noise(1.0).apply(one, s, none).item(), Noise(1.0).apply(none, s, one).item()


def _stage(z: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """The sampler of p(x | z'), a linear map: its response to z' without noise, and to noise without z'."""
    signal, noise = _path(strength)
    seen = signal * A
    gain = SIGMA @ seen.T / (seen @ SIGMA @ seen.T + noise**2)
    rest = SIGMA - gain @ seen @ SIGMA
    draws = torch.zeros(3, 2, dtype=torch.float64)
    draws[1:] = torch.eye(2, dtype=torch.float64)
    columns = []
    for eps, mean in zip(draws, [gain[:, 0] * z, 0 * gain[:, 0], 0 * gain[:, 0]], strict=True):
        truth = GaussianMixture(torch.ones(1), mean[None], rest[None]).denoiser(COSINE)
        columns.append(walk(truth, eps[None], CHAIN, UniPC(), lambda: torch.zeros(1, 2))[0])
    return columns[0], torch.stack(columns[1:], 1)


def _composites(strength: float, *errors: Tensor) -> list[Tensor]:
    """The covariance of the cascade's samples for each error, where the base has covariance A Sigma A' + error."""
    signal, noise = _path(strength)
    given, own = _stage(torch.ones((), dtype=torch.float64), strength)
    bases = [signal**2 * (A @ SIGMA @ A.T + error) + noise**2 for error in errors]
    return [given[:, None] @ base @ given[None] + own @ own.T for base in bases]


@check("Sedykh 5.1; math: cascade", 1e-3)
def exact_stages_compose_to_the_data() -> Sides:
    """sampling p(z) and then p(x | z') gives the covariance Sigma at every strength of the augmentation"""
    found = [_composites(s, 0 * ERROR)[0] for s in (0.05, 0.3, 0.7)]
    return SIGMA.expand(3, 2, 2), torch.stack(found)


@check("Sedykh 5.1; math: cascade", 1e-3)
def augmentation_shrinks_the_bases_error() -> Sides:
    """an error E of the base's covariance becomes K E K' in the result, which shrinks as augmentation grows"""
    theory, practice = [], []
    for strength in (0.05, 0.3, 0.7):
        signal, noise = _path(strength)
        seen = signal * A
        gain = SIGMA @ seen.T / (seen @ SIGMA @ seen.T + noise**2)
        theory.append(signal**2 * gain @ ERROR @ gain.T)
        wrong, right = _composites(strength, ERROR, 0 * ERROR)
        practice.append(wrong - right)
    sizes = [float(t.trace()) for t in theory]
    assert sizes == sorted(sizes, reverse=True)
    return torch.stack(theory), torch.stack(practice)


@check("Karras et al. 2024, eq. 3")
def autoguidance_is_the_line_through_two_scores() -> Sides:
    """the guided score is score_weak + g (score - score_weak), and at g = 1 the better model's own"""
    x, t, weak = (
        POINTS[:, None],
        LINEAR.level(300),
        GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1)),
    )
    scores = line().score(x, t), weak.score(x, t)
    scales = (1.0, 2.0, 3.5)
    theory = torch.stack([scores[1] + g * (scores[0] - scores[1]) for g in scales])
    found = [Auto(line().denoiser(LINEAR), weak.denoiser(LINEAR), g)(x, t).score for g in scales]
    return theory, torch.stack(found)


@check("Kynkaanniemi et al. 2024, eq. 5; Lin et al. 2024, eq. 15-16")
def guidance_in_an_interval_and_rescaled() -> Sides:
    """outside low < sigma/alpha <= high there is no guidance; with full rescaling x_0 has the unguided deviation"""
    truth, weak = plane(), GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    x = torch.tensor([[0.3, -1.1], [1.4, 0.2]], dtype=torch.float64)
    theory, practice = [], []
    for time in (100, 700):
        t = LINEAR.level(time)
        plain = truth.denoiser(LINEAR)(x, t).x0
        ratio = (t.sigma / t.alpha).item()
        off = Auto(truth.denoiser(LINEAR), weak.denoiser(LINEAR), 3.0, interval=(ratio, 2 * ratio))
        on = Auto(truth.denoiser(LINEAR), weak.denoiser(LINEAR), 3.0, interval=(ratio / 2, ratio))
        moved = 3 * truth.score(x, t) - 2 * weak.score(x, t)
        same = Auto(truth.denoiser(LINEAR), weak.denoiser(LINEAR), 3.0, rescale=1.0)
        theory += [plain, moved, plain.std(1, keepdim=True).expand(2, 2)]
        practice += [off(x, t).x0, on(x, t).score, same(x, t).x0.std(1, keepdim=True).expand(2, 2)]
    return torch.stack(theory), torch.stack(practice)
