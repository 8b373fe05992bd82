"""The Newton-Schulz iteration, which approximates nearest orthogonal matrices using only matrix products."""

import torch
from torch import Tensor


def orthogonal(matrices: Tensor) -> Tensor:
    """U S V' -> approximately U V', by five times X <- (a + b A + c A^2) X, A = X X': [N, r, c] -> [N, r, c]."""
    on_cpu = matrices.device.type == "cpu"
    x = matrices if on_cpu else matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    x = by_gram(x) if on_cpu else by_steps(x)
    return x.mT if tall else x


A, B, C = 3.4445, -4.7750, 2.0315


def by_steps(x: Tensor) -> Tensor:
    """The iteration in its direct form, which works in half precision."""
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


def by_gram(x: Tensor) -> Tensor:
    """The iteration on r x r matrices only, P = a + b A + c A^2 and A <- P A P: 2.5 times less work for c = 9 r.

    It is the same because polynomials of one symmetric matrix commute. It needs float32.
    """
    gram, product = x @ x.mT, None
    for _ in range(5):
        p = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        p.diagonal(dim1=1, dim2=2).add_(A)
        product = p if product is None else product @ p
        gram = p @ gram @ p
    assert product is not None
    return product @ x
