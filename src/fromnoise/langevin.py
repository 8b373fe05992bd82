"""Langevin dynamics: sampling a density of which only the score is known."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level

Score = Callable[[Tensor], Tensor]
Noise = Callable[[], Tensor]


def langevin(score: Score, x: Tensor, step: float, n: int, noise: Noise) -> Tensor:
    """x <- x + step/2 score(x) + sqrt(step) z, n times.

    On N(0, s^2) its stationary variance is s^2 / (1 - step/(4 s^2)), and it diverges from step = 4 s^2 on: the bias
    vanishes with the step. Between modes that are far apart it does not move, and their weights stay those of the
    start. Source: Sedykh eq. 3.14-3.15; Weng eq. 13.

    Args:
        score: [B, ...] -> [B, ...].
        x: where it starts, [B, ...].
        step: its size, the epsilon of the texts.
        n: how many.
        noise: each call gives standard normal numbers of the shape of x.
    """
    for _ in range(n):
        x = x + step / 2 * score(x) + step**0.5 * noise()
    return x


def annealed(
    score: Callable[[Tensor, Level], Tensor],
    x: Tensor,
    levels: Sequence[Level],
    n: int,
    step: float,
    noise: Noise,
    convention: Literal["written", "code"] = "written",
) -> Tensor:
    """Langevin dynamics level by level, sigma falling, with steps a_i = step sigma_i^2 / sigma_L^2.

    Source: Sedykh Algorithm 3, whose ladder must fall and not rise.

    Args:
        score: of q(x_t) at a level.
        x: where it starts, [B, ...].
        levels: from the noisiest to the last, alpha = 1 (a variance-exploding schedule's).
        n: Langevin steps at each level.
        step: at the last level.
        noise: each call gives standard normal numbers of the shape of x.
        convention: "written" is a/2 score + sqrt(a) z; "code" is what NCSN's code does, a score + sqrt(2 a) z:
            twice the written step.

    Raises:
        FromNoiseError: the noise does not fall from level to level.
    """
    sigmas = torch.stack([level.sigma for level in levels])
    if not bool((sigmas[1:] < sigmas[:-1]).all()):
        raise FromNoiseError("annealed Langevin dynamics needs levels whose sigma falls")
    factor = {"written": 1.0, "code": 2.0}[convention]
    for level in levels:
        size = factor * step * (level.sigma / sigmas[-1]).item() ** 2
        x = langevin(lambda y, at=level: score(y, at), x, size, n, noise)
    return x


def largest_distance(x0: Tensor) -> float:
    """max |x_i - x_j|: a good largest noise, at which Langevin dynamics gets from any datum to any other.

    Source: Song and Ermon 2020, technique 1.

    Args:
        x0: data, [N, ...]; some thousands are enough.
    """
    flat = x0.flatten(1).float()
    return max(torch.cdist(part, flat).max().item() for part in flat.split(1000))


def ladder_ratio(dimensions: int, overlap: float = 0.5) -> float:
    """g with Phi(r (g - 1) + 3 g) - Phi(r (g - 1) - 3 g) = overlap, r = sqrt(2 D): sigma_{i-1} / sigma_i of a ladder.

    That much of the shell in which noise of sigma_i lies is within three deviations of that of sigma_{i-1}, so that
    where the chain of one level ends, the score of the next was learned. A ladder from sigma_max to sigma_min has
    1 + log(sigma_max / sigma_min) / log(g) levels; 1.67 is the factor of the first version. In four dimensions or
    fewer every ladder overlaps, and g is infinite. Source: Song and Ermon 2020, technique 2.

    Args:
        dimensions: D of a datum.
        overlap: in (0, 1).
    """
    root = (2 * dimensions) ** 0.5

    def enough(g: float) -> bool:
        near, far = (torch.tensor(root * (g - 1) + side * g, dtype=torch.float64) for side in (-3, 3))
        return bool(torch.special.ndtr(far) - torch.special.ndtr(near) > overlap)

    low, high = 1.0, 1e6
    if enough(high):
        return math.inf
    while high - low > 1e-12 * high:  # the overlap falls from 0.997 at g = 1
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def best_size(ratio: float, n: int) -> float:
    """The e that brings (1 - e)^(2n) (g^2 - c) + c, c = 2 e / (1 - (1 - e)^2), nearest to 1.

    It is the variance after n steps x <- x + e sigma^2 score + sqrt(2 e) sigma z at a level sigma, of a chain that came
    from g sigma, on one datum, in units of sigma^2: what is left of the last level's noise, and what the finite steps
    add. Source: Song and Ermon 2020, technique 4.

    Args:
        ratio: g, of one level's noise to the next.
        n: steps at each level.
    """
    e = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
    added = 2 * e / (1 - (1 - e) ** 2)
    variance = (1 - e) ** (2 * n) * (ratio**2 - added) + added
    return e[(variance - 1).abs().argmin()].item()
