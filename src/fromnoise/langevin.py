"""Langevin dynamics: sampling a density of which only the score is known."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

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
        ValueError: the noise does not fall from level to level.
    """
    sigmas = torch.stack([level.sigma for level in levels])
    if not bool((sigmas[1:] < sigmas[:-1]).all()):
        raise ValueError("annealed Langevin dynamics needs levels whose sigma falls")
    factor = {"written": 1.0, "code": 2.0}[convention]
    for level in levels:
        size = factor * step * (level.sigma / sigmas[-1]).item() ** 2
        x = langevin(lambda y, at=level: score(y, at), x, size, n, noise)
    return x
