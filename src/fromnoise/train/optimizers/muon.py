"""Muon: orthogonalised steps for matrices, AdamW for everything else."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fromnoise.registry import register
from fromnoise.train.config import TrainConfig
from fromnoise.train.optimizers.adamw import AdamW
from fromnoise.train.optimizers.base import Optimizer
from fromnoise.train.optimizers.newton_schulz import orthogonal
from fromnoise.train.sharding import each, local, parts, rows_of


@register("muon")
class Muon(Optimizer):
    """For matrices: M <- 0.95 M + G, theta <- theta - lr (0.2 sqrt(max(r, c)) O + decay theta); otherwise AdamW.

    O approximates the orthogonal matrix nearest to the r x c matrix G + 0.95 M, with singular values between 0.5 and
    1.2, by five steps of Newton-Schulz. The factor gives the steps AdamW's size, so that learning rates carry over.
    Convolutions [out, in, h, w] count as matrices of `out` rows. Biases, norms, embeddings, and the first and last
    layers, whose rows or columns are the image's channels, are left to AdamW.

    Unlike torch's own Muon, which always computes in bf16, this one computes in float32 on the CPU, because most CPUs
    only emulate bf16. Momentum and steps of all matrices take one operation each, and Newton-Schulz processes matrices
    of the same shape together. Sharded matrices are distributed over the processes, so that Newton-Schulz is computed
    only once for each.
    Source: Jordan et al. 2024; the factor is from Liu et al. 2025 (arXiv 2502.16982).

    Args:
        parameters: the parameters by name, in the order of the network.
        config: uses `lr`, `betas` and `weight_decay`.
    """

    momentum = 0.95

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig):
        wide = [name for name, p in parameters.items() if p.dim() > 1 and min(p.shape[0], _width(p)) > 1]
        ends = ("stem.", "out.", "label.", "schedule.")
        self.matrices = {name: parameters[name] for name in wide if not name.startswith(ends)}
        vectors = {name: p for name, p in parameters.items() if name not in self.matrices}
        self.rest = AdamW(vectors, config) if vectors else None
        self.decay = config.weight_decay
        self.average: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        grads = {name: p.grad for name, p in self.matrices.items() if p.grad is not None}
        if grads:
            self._step(lr, grads)
        if self.rest is not None:
            self.rest.step(lr)

    def _step(self, lr: float, grads: dict[str, Tensor]) -> None:
        own: list[Tensor] = [self.matrices[name] for name in grads]
        for name, p in zip(grads, own, strict=True):
            if name not in self.average:
                self.average[name] = torch.zeros_like(p)
        weights, new = parts(own), parts(grads.values())
        averages = parts(self.average[name] for name in grads)
        each(torch._foreach_mul_, averages, self.momentum)
        each(torch._foreach_add_, averages, new)
        ahead = dict(zip(_filled(grads), each(torch._foreach_add, new, averages, alpha=self.momentum), strict=True))
        if self.decay:
            each(torch._foreach_mul_, weights, 1 - lr * self.decay)
        by_shape: dict[tuple[int, int], list[str]] = {}
        for name, p in zip(grads, own, strict=True):
            by_shape.setdefault((p.shape[0], _width(p)), []).append(name)
        for shape, alike in by_shape.items():
            held = [(name, local(self.matrices[name])) for name in alike]
            matrices = [_matrix(ahead[name], p) if p.numel() else p.reshape(0, shape[1]) for name, p in held]
            o = self._orthogonal(alike[0], matrices)
            filled = [(p, x) for (_, p), x in zip(held, o, strict=True) if p.numel()]
            if filled:
                each(torch._foreach_add_, [p for p, _ in filled], [_as_weight(x, p) for p, x in filled],
                                    alpha=-lr * 0.2 * max(shape) ** 0.5)  # fmt: skip

    def _orthogonal(self, first: str, matrices: list[Tensor]) -> Sequence[Tensor]:
        """The orthogonalised matrices, all of one shape; for sharded ones, this process's rows of them.

        Args:
            first: name of the first matrix; if it is sharded, all are.
            matrices: the matrices, or this process's rows of them.
        """
        whole = self.matrices[first]
        if not hasattr(whole, "to_local"):
            return orthogonal(torch.stack(matrices)).to(matrices[0].dtype).unbind()
        from fromnoise.train.optimizers.exchange import by_owners

        group, rows = rows_of(whole)
        return by_owners(matrices, rows, group, orthogonal)

    def state(self) -> dict[str, Tensor]:
        kept = {f"momentum.{name}": value for name, value in self.average.items()}
        return kept | (self.rest.state() if self.rest is not None else {})

    def load(self, state: dict[str, Tensor]) -> None:
        self.average = {
            name: torch.empty_like(p).copy_(state[f"momentum.{name}"])
            for name, p in self.matrices.items()
            if f"momentum.{name}" in state
        }
        if self.rest is not None:
            self.rest.load({k: v for k, v in state.items() if k.partition(".")[2] not in self.matrices})


def _width(p: Tensor) -> int:
    return p.numel() // p.shape[0]


def _filled(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors of which this process holds a part."""
    return [name for name, tensor in tensors.items() if local(tensor).numel()]


def _is_channels_last(p: Tensor) -> bool:
    return p.dim() > 3 and not p.is_contiguous()


def _matrix(x: Tensor, p: Tensor) -> Tensor:
    """x [out, ...] as a matrix [out, rest], in the memory order of the weight p: a view if x has p's layout."""
    return (x.movedim(1, -1) if _is_channels_last(p) else x).reshape(x.shape[0], -1)


def _as_weight(x: Tensor, p: Tensor) -> Tensor:
    """The inverse of `_matrix`: a view in the layout of p, so that one operation can update many weights."""
    if not _is_channels_last(p):
        return x.view(p.shape)
    return x.view(p.shape[0], *p.shape[2:], p.shape[1]).movedim(-1, 1)
