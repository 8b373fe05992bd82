"""Build an optimiser from a name, a class, a function or an object."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fromnoise.errors import FromNoiseError
from fromnoise.train import optimizers
from fromnoise.train.config import TrainConfig
from fromnoise.train.optimizers.base import Optimizer
from fromnoise.train.optimizers.wrapped import Wrapped

Choice = str | Optimizer | torch.optim.Optimizer | type[torch.optim.Optimizer] | Callable[[list[nn.Parameter]], Any]


def build(optimizer: Choice, parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> Optimizer:
    """Build the optimiser of these parameters.

    Args:
        optimizer: a registered name; a class of `torch.optim` or a similar one, which gets those of the configuration's
            `lr`, `betas` and `weight_decay` that it takes; a function from the list of parameters to a torch optimiser;
            or a torch optimiser of some or all of these parameters. The last two keep their own options, and their
            own learning rates correspond to `config.lr`: warm-up and schedule scale them.
        parameters: the parameters by name.
        config: the configuration of the run.

    Raises:
        FromNoiseError: the name is unknown, or the result is not an optimiser of these parameters.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return optimizers.get(optimizer)(dict(parameters), config)
    if isinstance(optimizer, torch.optim.Optimizer):
        return Wrapped(optimizer, parameters, config.lr)
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer(dict(parameters), config)  # pyrefly: ignore[bad-instantiation, bad-argument-count]
    if not callable(optimizer):
        raise FromNoiseError(f"optimizer must be a name ({', '.join(optimizers.names())}), a class or object of "
                             f"torch.optim, or a function that makes one; got {optimizer!r}")  # fmt: skip
    options: dict[str, Any] = {}
    if isinstance(optimizer, type):
        has = inspect.signature(optimizer).parameters
        options = {k: getattr(config, k) for k in ("lr", "betas", "weight_decay") if k in has}
    try:
        made = optimizer(list(parameters.values()), **options)
    except (TypeError, ValueError) as error:
        raise FromNoiseError(f"optimizer {_name(optimizer)} cannot be made of these parameters: {error}") from error
    if isinstance(made, torch.optim.Optimizer):
        return Wrapped(made, parameters, config.lr)
    if isinstance(made, Optimizer):
        return made
    raise FromNoiseError(f"{_name(optimizer)} returned a {type(made).__name__}, not a torch.optim.Optimizer")


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", type(thing).__name__)
