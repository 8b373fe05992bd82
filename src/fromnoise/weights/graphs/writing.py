"""`fn.export`: write a denoiser and its sampler as files for other programs."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

import fromnoise
from fromnoise.denoise import Denoiser, Given
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.guidance.classifier import Classifier
from fromnoise.samplers.base import Sampler, plan
from fromnoise.schedules.spacings.base import Spacing
from fromnoise.system import checks
from fromnoise.system.disk import files, storage
from fromnoise.system.disk.room import insist_on_room
from fromnoise.weights.graphs import as_onnx, as_torch
from fromnoise.weights.graphs.examples import Examples, about, axis
from fromnoise.weights.graphs.parts import (
    DenoiserGraph,
    NetworkGraph,
    SamplerGraph,
    Walk,
    called,
    networks_of,
    parts_of,
)
from fromnoise.weights.graphs.tracing import settle, traced

Format = Literal["onnx", "torch-export"]
FORMATS: dict[str, Any] = {"onnx": as_onnx, "torch-export": as_torch}
ABOUT = "export.json"
STARTS = ("x_T", "noise")
"""Inputs of the sampler that run.py draws."""
TOLD = (".npy", ".pt")
"""Endings of the files from which run.py reads conditions, one file per condition."""
FAR = 1e-2
"""An error beyond this share of the largest value means that a float32 graph computes another function."""


class Error(NamedTuple):
    """Difference between a written graph's output and the model's in float32, whose largest value is `scale`."""

    largest: float
    mean: float
    scale: float


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        folder: the folder that was written.
        errors: the errors of the outputs "x0", "eps" and "samples".
    """

    folder: Path
    errors: dict[str, Error]


@torch.no_grad()
def export(
    denoiser: Denoiser,
    out: str | Path,
    *,
    to: Format = "onnx",
    sampler: Sampler | str | None = None,
    steps: int | None = None,
    spacing: str | Spacing | None = None,
    cond: Given | None = None,
    half: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the denoiser, (x_t, t, conditions) -> x0, eps, and the whole sampler as graphs for any number of examples.

    The folder receives denoiser and sampler as .onnx or .pt2 files, a program `run.py` that draws samples with them
    without this library, and `export.json` with the inputs, alpha and sigma of the schedule, and the measured errors of
    the graphs. t is the paper's, fractional or not, as in `schedule.level(t)`. x_T is drawn from the prior; a sampler
    that draws noise takes all of it as the input "noise", [draws, N, ...]. A latent model's sampler decodes.
    To export guidance or clipping, wrap the denoiser: `guidance.steer(denoiser, scale=2, clip=True)`.

    Args:
        denoiser: a denoiser with a shape.
        out: the folder. An older export there is replaced once the new one is complete; files with conditions that you
            put beside its run.py are kept.
        to: "onnx", for onnxruntime and other programs, or "torch-export", for PyTorch alone.
        sampler, steps, spacing: see `sample`.
        cond: examples of the conditions, each [M, ...], for a network that takes others than a label, an image and its
            strength; only their names, shapes and types matter.
        half: whether to store the weights in half precision (float16); x_t, noise, coefficients and outputs keep their
            type.
        notes: JSON values to add to `export.json`.

    Raises:
        FromNoiseError: if the model cannot be written as a graph, the sampler has no fixed number of steps, a package
            is missing, a file of yours in `out` would be lost, or the graph does not compute what the model does.
    """
    checks.instance("denoiser", denoiser, Denoiser, "fn.Denoiser(network, schedule)")
    if to not in get_args(Format):
        raise unknown("format", to, get_args(Format))
    kind = FORMATS[to]
    kind.insist()
    try:
        json.dumps(dict(notes or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FromNoiseError(f"notes must be JSON values ({files.one_line(error)})") from None
    found, chain = plan(denoiser, sampler, steps, spacing)
    _insist_on_a_graph(denoiser, found, chain.steps)
    target, kept = _place(out)
    whole = _settled(denoiser, torch.float32 if denoiser.state_dtype == torch.float32 else None)
    way = Walk(whole, found, chain)
    examples = Examples.of(way, cond)
    written = way if not half else Walk(_settled(denoiser, torch.float16), found, chain)
    graphs = _graphs(written, examples, kind)
    errors: dict[str, Error] = {}
    try:
        with storage.making(target, kept=kept) as writing:
            for name, graph in graphs.items():
                kind.write(graph, writing / f"{name}{kind.SUFFIX}")
                outputs = kind.run(writing / f"{name}{kind.SUFFIX}", getattr(examples, name))
                errors |= _errors(outputs, examples.truth[name], half, lambda: examples.differ(Examples.of(way, cond)))
            files.write_text(writing / "run.py", kind.SCRIPT)
            said = {"fromnoise": fromnoise.__version__, "format": to, "weights": "float16" if half else "float32"}
            said |= about(way, examples) | {"errors": {name: error._asdict() for name, error in errors.items()}}
            files.write_json(writing / ABOUT, said | {"notes": dict(notes or {})})
            kept[:] = _place(out)[1]  # the user may have put files there while the graphs were made
    except OSError as error:
        raise FromNoiseError(f"{out}: cannot be written ({error.strerror or error})") from None
    return Exported(target, errors)


def _insist_on_a_graph(denoiser: Denoiser, sampler: Sampler, steps: int) -> None:
    """Check what is known before anything is traced."""
    if denoiser.shape is None:
        raise FromNoiseError("this denoiser has no shape, which a graph needs: fn.Denoiser(..., shape=)")
    if sampler.nfe(steps) is None:
        name = vars(type(sampler)).get("registered_name", type(sampler).__name__)
        raise FromNoiseError(f"sampler {name} chooses its number of steps while it runs, but a graph has a fixed "
                             "number: use another, such as unipc, heun or ddim")  # fmt: skip
    if any(isinstance(part, Classifier) for part in denoiser.modules()):
        raise FromNoiseError("classifier guidance takes a gradient at every step, which a graph cannot: leave it "
                             "out, or guide without a classifier")  # fmt: skip


def _place(out: str | Path) -> tuple[Path, list[str]]:
    """(the folder, which replaces nothing but an export; the files with conditions to keep in it)."""
    there = files.expanded(out)
    written = storage.manifest(there) | {storage.MANIFEST}
    kept = [name for name in _told(there) if name not in written] if ABOUT in written else []
    return insist_on_room(out, {*written, *kept}, lambda place: ABOUT in written, "an export"), kept


def _told(folder: Path) -> list[str]:
    """The files from which run.py of an export reads the user's conditions."""
    try:
        names = list(files.read_json(folder / ABOUT)["sampler"]["inputs"])
    except (files.Unreadable, LookupError, TypeError):
        return []
    return [f"{name}{suffix}" for name in names if name not in STARTS and Path(name).name == name for suffix in TOLD]


def _settled(denoiser: Denoiser, dtype: torch.dtype | None) -> Denoiser:
    """A copy that is ready for tracing, with its weights and those of its codec in this type."""
    try:
        made = copy.deepcopy(denoiser)
    except Exception as error:
        raise FromNoiseError(f"this denoiser cannot be copied ({files.one_line(error)})") from error
    for part in (made, *parts_of(made.codec)):
        if dtype is not None:
            part.to(dtype)
        settle(part)
    return made


def _graphs(way: Walk, examples: Examples, kind: Any) -> dict[str, Any]:
    """Denoiser and sampler in a format, with the networks that they call."""
    networks, given = networks_of(way.denoiser), {"denoiser": examples.denoiser, "sampler": examples.sampler}
    with called(networks) as names:
        programs = {
            "denoiser": _traced(DenoiserGraph(way.denoiser), given["denoiser"]),
            "sampler": _traced(SamplerGraph(way), given["sampler"]),
        }
    inner = {}
    for name, (network, _) in networks.items():
        if name not in names:  # such as the placeholder of an exact denoiser
            continue
        weight = next(network.parameters(), None)
        dtype = examples.denoiser["x_t"].dtype if weight is None else weight.dtype
        told = examples.network(way.denoiser, dtype)
        inner[name] = kind.converted(_traced(NetworkGraph(network), told), list(told), ["output"])
    return {
        name: kind.composed(kind.converted(program, list(given[name]), list(examples.truth[name])), inner)
        for name, program in programs.items()
    }


def _traced(module: torch.nn.Module, given: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    return traced(module, given, {name: axis(name) for name in given})


def _errors(
    outputs: Sequence[Tensor], truth: Mapping[str, Tensor], half: bool, random: Callable[[], bool]
) -> dict[str, Error]:
    """The error of each output.

    Args:
        outputs: the graph's outputs.
        truth: the model's outputs by name.
        half: whether the weights are in half precision.
        random: whether the model's outputs vary from call to call; called only if graph and model differ.

    Raises:
        FromNoiseError: if an output is not finite, or in float32 is that of another function.
    """
    found = {}
    for (name, right), own in zip(truth.items(), outputs, strict=True):
        apart = (own - right).abs()
        error = Error(apart.max().item(), apart.mean().item(), right.abs().max().item())
        if not bool(torch.isfinite(own).all()):
            way_out = "its values are too large for half precision: leave half out" if half else "please report it"
            raise FromNoiseError(f"the graph's {name} is not finite: {way_out}")
        if not half and error.largest > FAR * max(1.0, error.scale):
            if random():
                raise FromNoiseError("this network's output varies from call to call, so it cannot be compared with a "
                                     "graph: remove its randomness")  # fmt: skip
            raise FromNoiseError(f"the graph's {name} is off by {error.largest:.2g}, where the largest value is "
                                 f"{error.scale:.2g}: nothing is written; please report it")  # fmt: skip
        found[name] = error
    return found
