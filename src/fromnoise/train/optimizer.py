"""The optimisers of the recipes: torch's own, fed with what each of them wants."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fromnoise.train.config import TrainConfig


class Optimizer(ABC):
    """Descends the gradients of a network; its state is tensors with names, so that a checkpoint can hold it."""

    @abstractmethod
    def step(self, lr: float) -> None:
        """One step with this learning rate."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, by name."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""


class AdamW(Optimizer):
    """theta <- theta - lr (m / (sqrt(v) + 1e-8) + weight_decay theta), m and v the corrected moments of the gradient.

    Args:
        parameters: by name.
        config: `betas` and `weight_decay`.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], config: TrainConfig):
        self.parameters = parameters
        fused = next(iter(parameters.values())).device.type in ("cpu", "cuda")
        self.torch = torch.optim.AdamW(
            parameters.values(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=fused
        )

    def step(self, lr: float) -> None:
        for group in self.torch.param_groups:
            group["lr"] = lr
        self.torch.step()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{key}.{name}": value
            for name, p in self.parameters.items()
            for key, value in self.torch.state.get(p, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        for name, p in self.parameters.items():
            own = {key: state[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in state}
            if own:
                on_device = {k: v.to(p.device) for k, v in own.items()}
                # The layout decides the order of summation, and with it the last bit.
                self.torch.state[p] = {
                    k: v if k == "step" else torch.empty_like(p).copy_(v) for k, v in on_device.items()
                }


class Muon(Optimizer):
    """Matrices by Muon, all else by AdamW: M <- 0.95 M + G, theta <- theta - lr (0.2 sqrt(max(r, c)) O + decay theta).

    O is nearly the orthogonal matrix that is nearest to G + 0.95 M, an r x c matrix: singular values 0.5 to 1.2, by
    five steps of Newton-Schulz. The factor gives the step AdamW's size, so that learning rates carry over. Convolutions
    [out, in, h, w] are matrices of `out` rows; biases, norms, embeddings, and the first and the last layer, whose rows
    or columns are the image's channels, stay with AdamW.
    Source: Jordan et al. 2024; the factor from Liu et al. 2025. torch's own computes in bf16 always, which most CPUs
    only emulate: this one computes in float32 on the CPU, and works equal shapes off together.

    Args:
        parameters: by name, in the order of the network.
        config: as AdamW's.
    """

    momentum = 0.95

    def __init__(self, parameters: dict[str, nn.Parameter], config: TrainConfig):
        wide = [name for name, p in parameters.items() if p.dim() > 1 and min(p.shape[0], p[0].numel()) > 1]
        ends = ("stem.", "out.", "label.", "schedule.")
        self.matrices = {name: parameters[name] for name in wide if not name.startswith(ends)}
        self.rest = AdamW({name: p for name, p in parameters.items() if name not in self.matrices}, config)
        self.decay = config.weight_decay
        self.average: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        by_shape: dict[tuple[int, int], list[str]] = {}
        updates: dict[str, Tensor] = {}
        for name, p in self.matrices.items():
            if p.grad is None:
                continue
            grad = _matrix(p.grad, p)
            average = _matrix(self.average.setdefault(name, torch.zeros_like(p)), p)
            average.mul_(self.momentum).add_(grad)
            updates[name] = grad.add(average, alpha=self.momentum)
            by_shape.setdefault((grad.shape[0], grad.shape[1]), []).append(name)
        for shape, names in by_shape.items():
            for name, o in zip(names, orthogonal(torch.stack([updates[n] for n in names])), strict=True):
                matrix = _matrix(self.matrices[name], self.matrices[name])
                matrix.mul_(1 - lr * self.decay).add_(o.to(matrix.dtype), alpha=-lr * 0.2 * max(shape) ** 0.5)
        self.rest.step(lr)

    def state(self) -> dict[str, Tensor]:
        return {f"momentum.{name}": value for name, value in self.average.items()} | self.rest.state()

    def load(self, state: dict[str, Tensor]) -> None:
        self.average = {
            name: torch.empty_like(p).copy_(state[f"momentum.{name}"])
            for name, p in self.matrices.items()
            if f"momentum.{name}" in state
        }
        self.rest.load(state)


def orthogonal(matrices: Tensor) -> Tensor:
    """U S V' -> nearly U V', by X <- (a + b A + c A^2) X, A = X X', five times: [N, r, c] -> the same."""
    on_cpu = matrices.device.type == "cpu"
    x = matrices if on_cpu else matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    x = _by_gram(x) if on_cpu else _by_steps(x)
    return x.mT if tall else x


A, B, C = 3.4445, -4.7750, 2.0315


def _by_steps(x: Tensor) -> Tensor:
    """The iteration as it is written, which half precision bears."""
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


def _by_gram(x: Tensor) -> Tensor:
    """The same from the r x r matrices alone, P = a + b A + c A^2 and A <- P A P: for c = 9 r 2.5 times less work.

    Products of polynomials of one symmetric matrix commute; it needs float32.
    """
    gram, product = x @ x.mT, None
    for _ in range(5):
        p = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        p.diagonal(dim1=1, dim2=2).add_(A)
        product = p if product is None else product @ p
        gram = p @ gram @ p
    assert product is not None
    return product @ x


OPTIMIZERS: dict[str, type[AdamW | Muon]] = {"adamw": AdamW, "muon": Muon}


def optimizer(parameters: dict[str, nn.Parameter], config: TrainConfig) -> Optimizer:
    """The optimiser that the configuration names, for parameters by name."""
    return OPTIMIZERS[config.optimizer](parameters, config)


def _matrix(x: Tensor, p: Tensor) -> Tensor:
    """[out, ...] as [out, rest], in the order in which p lies in memory: for p itself a view."""
    if p.dim() == 4 and not p.is_contiguous():
        x = x.permute(0, 2, 3, 1)
    return x.reshape(x.shape[0], -1)
