"""Langevin dynamics: sampling from a density when only its score is known."""

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
    """x <- x + step/2 score(x) + sqrt(step) z, repeated n times.

    On N(0, s^2) the stationary variance is s^2 / (1 - step/(4 s^2)): the bias vanishes with the step, and for step >= 4
    s^2 the iteration diverges. The chain does not cross between distant modes, so their weights stay those of the
    starting points. Source: Song and Ermon 2019, arXiv 1907.05600, eq. 4; Sedykh eq. 3.14-3.15; Weng eq. 13.

    Args:
        score: the score, [B, ...] -> [B, ...].
        x: the starting points, [B, ...].
        step: the step size, called epsilon in the texts.
        n: number of steps.
        noise: each call returns standard normal noise of the shape of x.
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
    """Langevin dynamics level by level, with falling sigma and step sizes a_i = step sigma_i^2 / sigma_L^2.

    Source: Song and Ermon 2019, arXiv 1907.05600, Algorithm 1; Sedykh Algorithm 3, except that the ladder must fall,
    not rise.

    Args:
        score: the score of q(x_t): (x_t, level) -> [B, ...].
        x: the starting points, [B, ...].
        levels: from the noisiest to the least noisy, all with alpha = 1 (a variance-exploding schedule).
        n: Langevin steps at each level.
        step: step size at the last level.
        noise: each call returns standard normal noise of the shape of x.
        convention: "written" is a/2 score + sqrt(a) z. "code" is what NCSN's code does, a score + sqrt(2 a) z, which is
            twice the written step size.

    Raises:
        FromNoiseError: sigma does not fall from level to level.
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
    """max |x_i - x_j|: a good largest sigma, at which Langevin dynamics can move between any two examples.

    Source: Song and Ermon 2020, technique 1.

    Args:
        x0: data, [N, ...]; a few thousand examples are enough.
    """
    flat = x0.flatten(1).float()
    return max(torch.cdist(part, flat).max().item() for part in flat.split(1000))


def ladder_ratio(dimensions: int, overlap: float = 0.5) -> float:
    """g with Phi(r (g - 1) + 3 g) - Phi(r (g - 1) - 3 g) = overlap, r = sqrt(2 D): sigma_{i-1} / sigma_i of a ladder.

    Noise of one sigma lies in a thin shell. The overlap is the fraction of the shell of sigma_i that lies within
    three standard deviations of the shell of sigma_{i-1}, so that a chain ends one level where the score of the next
    was learned. A ladder from sigma_max to sigma_min has 1 + log(sigma_max / sigma_min) / log(g) levels; the first
    version of NCSN used a factor of 1.67. In four dimensions or fewer every ladder overlaps, and g is infinite. Source:
    Song and Ermon 2020, technique 2.

    Args:
        dimensions: D, the numbers in one example.
        overlap: the fraction, in (0, 1).
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
    """The e in (0, 1) for which (1 - e)^(2n) (g^2 - c) + c, c = 2 e / (1 - (1 - e)^2), is closest to 1.

    The expression is the variance, in units of sigma^2, after n steps x <- x + e sigma^2 score + sqrt(2 e) sigma z at
    the level sigma, for a chain that comes from the level g sigma and data of a single point. It consists of what is
    left of the previous level's noise and of what the finite steps add. Source: Song and Ermon 2020, technique 4.

    Args:
        ratio: g, the ratio of one level's sigma to the next.
        n: steps at each level.
    """
    e = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
    added = 2 * e / (1 - (1 - e) ** 2)
    variance = (1 - e) ** (2 * n) * (ratio**2 - added) + added
    return e[(variance - 1).abs().argmin()].item()
