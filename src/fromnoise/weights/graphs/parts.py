"""The modules to write as graphs: network, denoiser and sampler, each taking one dictionary of inputs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fromnoise.denoise import Cond, Denoiser
from fromnoise.samplers.base import Sampler
from fromnoise.schedules.base import Chain
from fromnoise.weights.graphs.tracing import Numbers

Given = Mapping[str, Tensor]

DOMAIN = "fromnoise"
"""The domain of calls of networks, which stand in the other two graphs until the network's own graph is inserted."""


@dataclass(frozen=True)
class Walk:
    """A sampler and the levels that it visits."""

    denoiser: Denoiser
    sampler: Sampler
    chain: Chain

    def __call__(self, x: Tensor, noise: Callable[[], Tensor], cond: Cond | None) -> Tensor:
        """x at chain[0] -> what `sample` returns, without the check that it is finite, which a graph cannot do."""
        state = self.sampler.init(x)
        for t, s in self.chain.pairs():
            x, state = self.sampler.step(self.denoiser, x, t, s, state, noise, cond)
        return self.denoiser.decoded(x)


class NetworkGraph(nn.Module):
    """{x, time, conditions} -> F(x, time), in the type of its weights."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, given: Given) -> tuple[Tensor]:
        cond = {name: value for name, value in given.items() if name not in ("x", "time")}
        with Numbers():
            return (self.network(given["x"], given["time"], **cond),)


class DenoiserGraph(nn.Module):
    """{x_t, t, conditions} -> x0, eps."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self._held = (denoiser,)  # in a tuple it is no submodule, so a learned schedule's parameters become numbers

    def forward(self, given: Given) -> tuple[Tensor, Tensor]:
        cond = {name: value for name, value in given.items() if name not in ("x_t", "t")}
        with Numbers():
            p = self._held[0](given["x_t"], given["t"], cond or None)
            return p.x0, p.eps


class SamplerGraph(nn.Module):
    """{x_T, noise, conditions} -> samples, where noise is [draws, N, ...] if the sampler draws any."""

    def __init__(self, walk: Walk):
        super().__init__()
        self._held = (walk,)
        self.decoder = nn.ModuleList(parts_of(walk.denoiser.codec))

    def forward(self, given: Given) -> tuple[Tensor]:
        cond = {name: value for name, value in given.items() if name not in ("x_T", "noise")}
        draws = iter(range(2**62))
        with Numbers():
            return (self._held[0](given["x_T"], lambda: given["noise"][next(draws)], cond or None),)


def parts_of(thing: object) -> list[nn.Module]:
    """The object itself if it is a module, else the modules that it holds, such as those of a codec."""
    if isinstance(thing, nn.Module):
        return [thing]
    held = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    modules = [value for value in held if isinstance(value, nn.Module)]
    inner = [
        part for value in held if type(value).__module__.startswith("fromnoise.compose") for part in parts_of(value)
    ]
    return modules + inner


def networks_of(denoiser: Denoiser) -> dict[str, tuple[nn.Module, int]]:
    """The networks that a guided denoiser calls, of which autoguidance has two.

    Returns:
        {name in the graphs: (network, ratio of its output channels to its input channels)}.
    """
    found: dict[int, tuple[nn.Module, int]] = {}
    for part in denoiser.modules():
        if isinstance(part, Denoiser):
            found.setdefault(id(part.network), (part.network, part.variance.outputs))
    return {f"network{i}": entry for i, entry in enumerate(found.values())}


@contextmanager
def called(networks: Mapping[str, tuple[nn.Module, int]]) -> Iterator[set[str]]:
    """Inside the block, a traced network becomes one call by name; yields the set of names called so far.

    So a sampler of fifty steps is traced in seconds, and its graph holds the network once.
    """
    names: set[str] = set()

    def stub(name: str, outputs: int) -> Callable[..., Tensor]:
        def forward(x: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
            names.add(name)
            shape = (x.shape[0], x.shape[1] * outputs, *x.shape[2:])
            inputs = (x, time, *(cond[key] for key in sorted(cond)))
            return torch.onnx.ops.symbolic(f"{DOMAIN}::{name}", inputs, dtype=x.dtype, shape=shape, version=1)

        return forward

    try:
        for name, (network, outputs) in networks.items():
            network.forward = stub(name, outputs)
        yield names
    finally:
        for network, _ in networks.values():
            del network.forward
