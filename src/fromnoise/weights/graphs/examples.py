"""A few examples of every input, with which graphs are traced and compared with the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fromnoise import registry
from fromnoise.denoise import Cond, Denoiser, Given
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, diffuse
from fromnoise.samplers.base import walk
from fromnoise.system import checks
from fromnoise.system.disk import files
from fromnoise.weights.graphs.parts import Walk

N = 3
"""Number of examples of each input."""
RESERVED = ("x_t", "t", "x_T", "noise", "x", "time", "x0", "eps", "output", "samples")
"""Names of the graphs' inputs and outputs, which a condition must not have."""

_MOST_ROWS = 4000
"""The most rows of a schedule that are written to export.json; a longer schedule is a finely sampled formula."""


@dataclass(frozen=True)
class Examples:
    """Inputs of the denoiser and of the sampler, and the model's own outputs for them.

    Attributes:
        cond: conditions by name, sorted, each [N, ...].
        denoiser, sampler: the inputs by name, in the order in which graphs take them.
        truth: {graph: {output: value}}.
    """

    cond: Cond
    denoiser: dict[str, Tensor]
    sampler: dict[str, Tensor]
    truth: dict[str, dict[str, Tensor]]

    @classmethod
    def of(cls, way: Walk, cond: Given | None) -> "Examples":
        """Draw inputs and compute the outputs; this includes drawing N samples.

        Raises:
            FromNoiseError: if a condition is missing or wrong, or x_t is not finite.
        """
        denoiser, rng = way.denoiser, torch.Generator().manual_seed(0)

        def normal() -> Tensor:
            return torch.randn((N, *(denoiser.shape or ())), generator=rng, dtype=denoiser.state_dtype)

        told = _conditions(denoiser, cond, rng)
        T = denoiser.schedule.T
        t = torch.tensor([T, 1 + 0.37 * (T - 1), 1], dtype=torch.float64)
        x_t = diffuse(0.5 * normal(), normal(), _detached(denoiser.schedule.level(t)))
        p = denoiser(x_t, t, told or None)
        mean, std = prior(way)
        x_T, draws = mean + std * normal(), []

        def noise() -> Tensor:
            draws.append(normal())
            return draws[-1]

        drawn = denoiser.decoded(walk(denoiser, x_T, way.chain, way.sampler, noise, told or None))
        return cls(
            told,
            {"x_t": x_t, "t": t, **told},
            {"x_T": x_T, **({"noise": torch.stack(draws)} if draws else {}), **told},
            {"denoiser": {"x0": p.x0, "eps": p.eps}, "sampler": {"samples": drawn}},
        )

    def differ(self, other: "Examples") -> bool:
        """Whether the model computed different outputs for the same inputs."""
        return any(not torch.equal(value, other.truth[graph][name])
                   for graph, own in self.truth.items() for name, value in own.items())  # fmt: skip

    def network(self, denoiser: Denoiser, dtype: torch.dtype) -> dict[str, Tensor]:
        """Inputs of the network, with x in the type of its weights."""
        time = denoiser.schedule.network_time(_detached(denoiser.schedule.level(self.denoiser["t"])))
        return {"x": self.denoiser["x_t"].to(dtype), "time": time, **self.cond}


def axis(name: str) -> int:
    """The axis of an input that counts the examples: noise is [draws, N, ...], all others are [N, ...]."""
    return 1 if name == "noise" else 0


def prior(way: Walk) -> tuple[float, float]:
    """Mean and standard deviation of x_T."""
    found = way.denoiser.schedule.prior(way.chain[0])
    return found.mean.item(), torch.exp(found.log_var / 2).item()


def _detached(t: Level) -> Level:
    """The level without the gradient of a learned schedule."""
    return Level(t.time.detach(), t.alpha.detach(), t.sigma.detach())


def _conditions(denoiser: Denoiser, cond: Given | None, rng: torch.Generator) -> Cond:
    """Conditions that the network is known to take, and those in `cond`, repeated until there are N examples."""
    found: Cond = {"label": torch.arange(N) % denoiser.classes} if denoiser.classes else {}
    channels = getattr(denoiser.network, "image_channels", 0)
    if channels and denoiser.shape is not None:
        found["image"] = torch.rand((N, channels, *denoiser.shape[1:]), generator=rng) * 2 - 1
        if getattr(denoiser.network, "strength", None) is not None:
            found["strength"] = torch.rand(N, generator=rng) * 1000
    checks.instance("cond", {} if cond is None else cond, Mapping, '{"mean": torch.zeros(1, 2)}')
    for name, value in (cond or {}).items():
        if name in RESERVED:
            raise FromNoiseError(f"a condition cannot be called {name}, since the graphs' own inputs and outputs are "
                                 f"{', '.join(RESERVED)}: rename it in your network")  # fmt: skip
        try:
            rows = torch.as_tensor(value)
        except Exception as error:  # PyTorch raises various errors for other objects
            raise FromNoiseError(f"cond[{name!r}] is no tensor ({files.one_line(error)}): give an example of the "
                                 "condition, [M, ...]") from None  # fmt: skip
        if not rows.dim() or not len(rows):
            raise FromNoiseError(f"cond[{name!r}] must be an example of the condition, [M, ...] with M of at least 1")
        found[name] = rows[torch.arange(N) % len(rows)].cpu()
    return denoiser.given(dict(sorted(found.items())), N) or {}


def about(way: Walk, examples: Examples) -> dict[str, Any]:
    """What a program needs to know about the graphs, as JSON values."""
    denoiser, schedule = way.denoiser, way.denoiser.schedule
    mean, std = prior(way)
    rows: dict[str, Any] = {}
    if schedule.T <= _MOST_ROWS:
        rows = {"rows": _rows(schedule.level(torch.arange(schedule.T + 1, dtype=torch.float64)))}
    return {
        "shape": list(denoiser.shape or ()),
        "classes": denoiser.classes,
        "class_names": list(denoiser.class_names),
        "null_label": denoiser.null_label,
        "denoiser": {
            "inputs": _described(examples.denoiser),
            "outputs": _described(examples.truth["denoiser"]),
            "parameterization": _spec(denoiser.parameterization),
            "guidance_and_clipping": _wrappers(denoiser),
        },
        "sampler": {
            "inputs": _described(examples.sampler),
            "outputs": _described(examples.truth["sampler"]),
            "is": _spec(way.sampler),
            "steps": way.chain.steps,
            "network_calls": way.sampler.nfe(way.chain.steps),
            "levels": _rows(way.chain.levels),
        },
        "prior": {"mean": mean, "std": std},
        "schedule": {"is": _spec(schedule), "T": schedule.T, **rows},
    }


def _described(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """{name: {"shape": with "N" for the number of examples, "type"}}."""
    found = {}
    for name, value in tensors.items():
        shape: list[int | str] = list(value.shape)
        shape[axis(name)] = "N"
        found[name] = {"shape": shape, "type": str(value.dtype).removeprefix("torch.")}
    return found


def _rows(t: Level) -> dict[str, list[float]]:
    return {"t": t.time.tolist(), "alpha": t.alpha.tolist(), "sigma": t.sigma.tolist()}


def _spec(thing: object) -> Any:
    """An object's description; for a class that is not registered, the class's name."""
    return registry.short_spec(thing) if registry.is_entry(type(thing)) else type(thing).__name__


def _wrappers(denoiser: Denoiser) -> list[dict[str, Any]]:
    """The wrappers around the model with their numbers, the outermost first."""
    found, inner = [], getattr(denoiser, "inner", None)
    while isinstance(inner, Denoiser):
        names = ("scale", "interval", "rescale", "channels", "percentile")
        numbers = {name: getattr(denoiser, name) for name in names if getattr(denoiser, name, None) is not None}
        found.append({"name": type(denoiser).__name__, **numbers})
        denoiser, inner = inner, getattr(inner, "inner", None)
    return found
