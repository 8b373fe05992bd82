"""Shared by the score matching objectives: the score at a noisy state, and its derivatives."""

from collections.abc import Callable

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, diffuse
from fromnoise.nn.twice import twice_differentiable


def energy_score(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """-grad f(x), the score of p(x) = exp(-f(x)) / Z, in which the constant Z drops out (Sedykh eq. 3.1-3.7).

    With it, Langevin dynamics can sample from a known energy.

    Args:
        energy: f, [B, ...] -> [B].
        x: points, [B, ...].
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]


def score_at(denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None) -> tuple[Tensor, Tensor]:
    """(x_t, s(x_t)): x_t of the shape of x0, and the score, [B, D], which is differentiable with respect to x_t."""
    x = diffuse(x0, noise, t).detach().requires_grad_()
    with twice_differentiable():
        return x, denoiser(x, t, cond).score.flatten(1)


def gradient(value: Tensor, x: Tensor) -> Tensor:
    """d sum(value) / d x, which can be differentiated again: [B, D]."""
    return torch.autograd.grad(value.sum(), x, create_graph=True)[0].flatten(1)
