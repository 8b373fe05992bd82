"""Write graphs as torch.export files, which PyTorch alone can run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputSpec, TensorArgument

from fromnoise.errors import FromNoiseError
from fromnoise.weights.graphs.scripts import TORCH as SCRIPT
from fromnoise.weights.graphs.tracing import quiet

SUFFIX = ".pt2"
__all__ = ["SCRIPT", "SUFFIX", "composed", "converted", "insist", "run", "write"]


def insist() -> None:
    """Check that the packages are installed: nothing but PyTorch is needed."""


def converted(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> ExportedProgram:
    """Return the graph unchanged: it is already PyTorch's."""
    return program


def composed(outer: ExportedProgram, networks: Mapping[str, ExportedProgram]) -> ExportedProgram:
    """Replace every call of a network by its operations; the graph holds each network's weights once.

    Raises:
        FromNoiseError: if a network's graph contains graphs.
    """
    graph, signature = outer.graph, outer.graph_signature
    state, constants = dict(outer.state_dict), dict(outer.constants)
    specs: list[InputSpec] = []
    given = set(signature.user_inputs)
    first = next(node for node in graph.nodes if node.name in given)
    mode = first.meta["val"].fake_mode
    for name, inner in networks.items():
        weights: dict[fx.Node, Any] = {}
        described = {spec.arg.name: spec for spec in inner.graph_signature.input_specs if spec.target is not None}
        for node in inner.graph.nodes:
            if node.op != "placeholder" or node.name not in described:
                continue
            spec = described[node.name]
            key = str(spec.target)
            kept = state if key in inner.state_dict else constants
            kept[f"{name}.{key}"] = value = (inner.state_dict if kept is state else inner.constants)[key]
            with graph.inserting_before(first):
                own = weights[node] = graph.placeholder(f"{name}_{node.name}")
            own.meta["val"] = mode.from_tensor(value, static_shapes=True)
            specs.append(InputSpec(spec.kind, TensorArgument(own.name), f"{name}.{key}", spec.persistent))
        known: dict[str, list[Any]] = {}
        for call in [node for node in graph.nodes if _called(node) == name]:
            _inline(graph, call, inner, weights, mode, known)
    for node in graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}  # no notes about the source code
    lifted = [spec for spec in signature.input_specs if spec.target is not None]
    inputs = [spec for spec in signature.input_specs if spec.target is None]
    return ExportedProgram(
        outer.graph_module,
        graph,
        ExportGraphSignature([*lifted, *specs, *inputs], signature.output_specs),
        state,
        outer.range_constraints,
        outer.module_call_graph,
        outer.example_inputs,
        constants,
        verifiers=outer.verifiers,
    )


def _called(node: fx.Node) -> Any:
    """The network that a node calls; None if it calls none."""
    return node.args[1] if node.target is torch.ops.onnx_symbolic._symbolic.default else None


def _inline(
    graph: fx.Graph,
    call: fx.Node,
    inner: ExportedProgram,
    weights: Mapping[fx.Node, Any],
    mode: Any,
    known: dict[str, list[Any]],
) -> None:
    """Inline a network: its operations replace the call.

    Output shapes are computed once for each batch size, which is 2 N instead of N in a guided call.
    """
    told: Any = call.args[0]
    inputs, env = iter(told), dict(weights)
    shapes = known.setdefault(str(told[0].meta["val"].shape), [])
    fresh, at = not shapes, 0
    for node in inner.graph.nodes:
        if node.op == "placeholder":
            if node not in env:
                env[node] = next(inputs)
        elif node.op == "output":
            (result,) = node.args[0]
            call.replace_all_uses_with(env[result])
            graph.erase_node(call)
        elif node.op == "call_function":
            with graph.inserting_before(call):
                own = env[node] = graph.node_copy(node, lambda n: env[n])
            if fresh:
                args, kwargs = fx.map_arg((own.args, own.kwargs), lambda n: n.meta["val"])
                with mode, enable_python_dispatcher(), torch.no_grad():
                    shapes.append(node.target(*args, **kwargs))
            own.meta["val"] = shapes[at]
            at += 1
        else:
            raise FromNoiseError("this network's graph contains graphs, which cannot be written as torch-export: "
                                 "use onnx")  # fmt: skip


def write(program: ExportedProgram, path: Path) -> None:
    """Write a program to a file."""
    with quiet():
        torch.export.save(program, path)


def run(path: Path, given: Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of a file that PyTorch computes."""
    with quiet():
        return list(torch.export.load(path).module()(dict(given)))
