"""The optimisers of the recipes: torch's own, fed with what each of them wants."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fromnoise.errors import unknown
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
        _step(self.torch, lr)

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
    """Matrices by Muon (the momentum's nearest orthogonal matrix, scaled to AdamW's size), all else by AdamW.

    A convolution [out, in, h, w] is the matrix [out, h w in]. Biases, norms, and the first and the last layer, whose
    rows are the image's channels, stay with AdamW. A few hundred steps do what some twice as many of AdamW do.
    Source: Jordan et al. 2024; the scale 0.2 sqrt(max(rows, columns)) from Liu et al. 2025.

    Args:
        parameters: by name, in the order of the network.
        config: as AdamW's.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], config: TrainConfig):
        wide = [name for name, p in parameters.items() if p.dim() > 1 and min(p.shape[0], p[0].numel()) > 1]
        ends = ("stem.", "out.", "schedule.")
        self.matrices = {name: parameters[name] for name in wide if not name.startswith(ends)}
        self.rest = AdamW({name: p for name, p in parameters.items() if name not in self.matrices}, config)
        self.views = {name: _matrix(p.detach()) for name, p in self.matrices.items()}
        self.torch = torch.optim.Muon(
            self.views.values(), lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )

    def step(self, lr: float) -> None:
        for name, p in self.matrices.items():
            self.views[name].grad = _matrix(p.grad) if p.grad is not None else None
        _step(self.torch, lr)
        self.rest.step(lr)

    def state(self) -> dict[str, Tensor]:
        momentum = {
            f"momentum.{name}": self.torch.state[view]["momentum_buffer"]
            for name, view in self.views.items()
            if view in self.torch.state
        }
        return momentum | self.rest.state()

    def load(self, state: dict[str, Tensor]) -> None:
        for name, view in self.views.items():
            if f"momentum.{name}" in state:
                self.torch.state[view] = {"momentum_buffer": state[f"momentum.{name}"].to(view.device)}
        self.rest.load(state)


OPTIMIZERS: dict[str, type[AdamW | Muon]] = {"adamw": AdamW, "muon": Muon}


def optimizer(parameters: dict[str, nn.Parameter], config: TrainConfig) -> Optimizer:
    """The optimiser that the configuration names, for parameters by name.

    Raises:
        FromNoiseError: an unknown name.
    """
    if config.optimizer not in OPTIMIZERS:
        raise unknown("train.optimizer", config.optimizer, OPTIMIZERS)
    return OPTIMIZERS[config.optimizer](parameters, config)


def _step(inner: torch.optim.Optimizer, lr: float) -> None:
    for group in inner.param_groups:
        group["lr"] = lr
    inner.step()


def _matrix(p: Tensor) -> Tensor:
    """[out, ...] as [out, rest]: a view in whichever of the two layouts the tensor has."""
    if p.dim() == 4 and not p.is_contiguous():
        p = p.permute(0, 2, 3, 1)
    return p.reshape(p.shape[0], -1)
