"""A wrapper that makes any torch optimiser an `Optimizer` of the trainer."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.train.distributed import is_of_a_peer
from fromnoise.train.optimizers.base import Optimizer

_NUMBER, _GROUP = "#", "#"


class Wrapped(Optimizer):
    """A torch.optim.Optimizer whose state is saved as tensors: what it keeps for a parameter is called "KEY.NAME".

    A number is saved as a 0-dimensional tensor "#KEY.NAME". Values of parameter groups that changed since the optimiser
    was made are saved under the names "#0", "#1", ...; options that never change are not saved.
    Each group's learning rate is lr times the ratio of its own initial one to `base_lr`, so that groups keep their
    proportions; torch's own schedulers have no effect.

    Args:
        optimizer: an optimiser of some or all of the parameters; it may also hold tensors that require no gradient.
        parameters: the trained parameters by name.
        base_lr: the learning rate at which every group has its own initial one.

    Raises:
        FromNoiseError: the optimiser holds a tensor that is not among the parameters, or its step needs a closure.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], base_lr: float):
        self.torch, self.base_lr = optimizer, base_lr
        name_of = {id(p): name for name, p in parameters.items()}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if strange := [tuple(p.shape) for p in held if id(p) not in name_of and p.requires_grad]:
            raise FromNoiseError(f"{self._kind} holds a tensor of shape {strange[0]} that is not trained here: "
                                 "make it from the parameters of the network that is trained")  # fmt: skip
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise FromNoiseError(f"{self._kind} needs a closure that computes the loss again, which the trainer does "
                                 "not support: choose another optimizer")  # fmt: skip
        self.parameters: dict[str, nn.Parameter] = {name_of[id(p)]: p for p in held if id(p) in name_of}
        self._numbers = {name_of[id(p)]: i for i, p in enumerate(held) if id(p) in name_of}  # torch's numbering
        self._first = [copy.deepcopy(_options(group)) for group in optimizer.param_groups]
        self._lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.scale = self._lrs[0] / base_lr
        self._checked = False

    @property
    def _kind(self) -> str:
        return f"optimizer {type(self.torch).__name__}"

    def step(self, lr: float) -> None:
        for group, own in zip(self.torch.param_groups, self._lrs, strict=True):
            now = own * (lr / self.base_lr)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(now)
            else:
                group["lr"] = now
        if self._checked:
            self.torch.step()
            return
        try:
            self.torch.step()
        except RuntimeError as error:
            sharded = any(hasattr(p, "to_local") for p in self.parameters.values())
            if not sharded or isinstance(error, torch.OutOfMemoryError) or is_of_a_peer(error):
                raise
            raise FromNoiseError(f"{self._kind} cannot step weights that are sharded: leave train.shard at none, or "
                                 "choose another optimizer") from error  # fmt: skip
        self.state()  # a state that cannot be saved ends a run at its first step, not at a checkpoint
        self._checked = True

    def state(self) -> dict[str, Tensor]:
        """All that the optimiser keeps, as named tensors.

        Raises:
            FromNoiseError: the optimiser keeps something that is neither a tensor nor a number.
        """
        return {name: value for key, owner, kept in self._kept() for name, value in [self._named(key, owner, kept)]}

    def _kept(self) -> Iterator[tuple[Any, str, Any]]:
        """The triples (key, owner's name, value) of all that the optimiser keeps."""
        own = {id(p) for p in self.parameters.values()}
        for other in self.torch.state:
            if id(other) not in own and self.torch.state[other]:
                raise FromNoiseError(f"{self._kind} keeps state for {other!r}, which a checkpoint cannot hold")
        for name, p in self.parameters.items():
            yield from ((key, name, value) for key, value in self.torch.state.get(p, {}).items() if value is not None)
        for i, (group, first) in enumerate(zip(self.torch.param_groups, self._first, strict=True)):
            changed = {k: v for k, v in _options(group).items() if k not in first or not _same(v, first[k])}
            yield from ((key, f"{_GROUP}{i}", value) for key, value in changed.items())

    def _named(self, key: Any, owner: str, value: Any) -> tuple[str, Tensor]:
        if isinstance(key, str) and key and "." not in key and not key.startswith(_NUMBER):
            if isinstance(value, Tensor):
                return f"{key}.{owner}", value
            if isinstance(value, bool | int | float):
                whole = torch.bool if isinstance(value, bool) else torch.int64
                dtype = torch.float64 if isinstance(value, float) else whole
                return f"{_NUMBER}{key}.{owner}", torch.tensor(value, dtype=dtype)
        raise FromNoiseError(f"{self._kind} keeps {key!r} of {owner}, a {type(value).__name__}; "
                             "a checkpoint can only hold tensors and numbers")  # fmt: skip

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a `state`.

        Raises:
            FromNoiseError: it has values for a parameter or a group that does not exist.
        """
        by_owner: dict[str, dict[str, Any]] = {}
        for name, value in state.items():
            key, _, owner = name.partition(".")
            number = key.startswith(_NUMBER)
            by_owner.setdefault(owner, {})[key.removeprefix(_NUMBER)] = value.item() if number else value
        whole = self.torch.state_dict()  # torch decides which values go to which device
        groups = {f"{_GROUP}{i}": group for i, group in enumerate(whole["param_groups"])}
        if unknown := by_owner.keys() - self.parameters.keys() - groups.keys():
            raise FromNoiseError(f"this state is of another network or optimizer: {self._kind} has no {min(unknown)}")
        for owner, group in groups.items():
            group.update({k: v.clone() if isinstance(v, Tensor) else v for k, v in by_owner.get(owner, {}).items()})
        own = ((self._numbers[name], p, by_owner.get(name)) for name, p in self.parameters.items())
        whole["state"] = {i: {k: _placed(v, p) for k, v in kept.items()} for i, p, kept in own if kept}
        self.torch.load_state_dict(whole)


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in group.items() if k not in ("params", "param_names", "lr")}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    return type(a) is type(b) and a == b


def _placed(value: Any, p: Tensor) -> Any:
    """A copy of a value, in p's memory layout, on which the order of summation and so the last bit depend."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_like(p, dtype=value.dtype).copy_(value) if value.shape == p.shape else value.clone()
