"""What score matching objectives share: the score network at a noisy state, and derivatives of it."""

from collections.abc import Callable

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, diffuse
from fromnoise.nn.twice import twice_differentiable


def energy_score(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """-grad f(x), the score of p(x) = exp(-f(x)) / Z: the constant Z falls out (Sedykh eq. 3.1-3.7).

    For energies that one has: Langevin dynamics samples them by it.

    Args:
        energy: f, [B, ...] -> [B].
        x: [B, ...].
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]


def score_at(denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None) -> tuple[Tensor, Tensor]:
    """(x_t, s(x_t)), both [B, D], x_t being what the score can be differentiated by."""
    x = diffuse(x0, noise, t).detach().requires_grad_()
    with twice_differentiable():
        return x, denoiser(x, t, cond).score.flatten(1)


def gradient(value: Tensor, x: Tensor) -> Tensor:
    """d sum(value) / d x, itself differentiable: [B, D]."""
    return torch.autograd.grad(value.sum(), x, create_graph=True)[0].flatten(1)
