"""Write graphs as ONNX files and run them with onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from fromnoise.errors import FromNoiseError
from fromnoise.weights.graphs.parts import DOMAIN
from fromnoise.weights.graphs.scripts import ONNX as SCRIPT
from fromnoise.weights.graphs.tracing import quiet

if TYPE_CHECKING:
    from onnx import ModelProto

SUFFIX = ".onnx"
__all__ = ["SCRIPT", "SUFFIX", "composed", "converted", "insist", "run", "write"]
WHOLE = 1_500_000_000
"""The most bytes of weights to store in the file itself; a protocol buffer holds at most 2 GiB."""


def insist() -> None:
    """Check that the packages are installed.

    Raises:
        FromNoiseError: if one is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise FromNoiseError(f'export to onnx needs onnx, onnxscript and onnxruntime ({error}): pip install '
                             '"fromnoise[export]"') from None  # fmt: skip


def converted(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> "ModelProto":
    """Convert a graph to ONNX operations, without the exporter's notes about the code that it was traced from.

    Raises:
        FromNoiseError: if ONNX has no operation for a part of it.
    """
    with quiet():
        try:
            made = torch.onnx.export(program, input_names=inputs, output_names=outputs, verbose=False, optimize=True)
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FromNoiseError(f"this model cannot be written in ONNX's operations ({said})") from error
    assert made is not None
    model = made.model_proto
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = "N"
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    return model


def composed(outer: "ModelProto", networks: Mapping[str, "ModelProto"]) -> "ModelProto":
    """Add every network that a graph calls as an ONNX function; the graph holds each network's weights once."""
    from onnx import helper

    for name, inner in networks.items():
        weights = [tensor.name for tensor in inner.graph.initializer]
        inputs = [value.name for value in inner.graph.input]
        results = [value.name for value in inner.graph.output]
        outer.functions.append(
            helper.make_function(DOMAIN, name, [*inputs, *weights], results, inner.graph.node, inner.opset_import)
        )
        outer.functions.extend(inner.functions)
        for tensor in inner.graph.initializer:
            kept = outer.graph.initializer.add()
            kept.CopyFrom(tensor)
            kept.name = f"{name}.{tensor.name}"
        for node in outer.graph.node:
            if (node.domain, node.op_type) == (DOMAIN, name):
                node.input.extend(f"{name}.{weight}" for weight in weights)
    return outer


def write(model: "ModelProto", path: Path) -> None:
    """Write a model to a file; weights that are too large for it go to a second file beside it."""
    import onnx

    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > WHOLE
    onnx.save_model(model, path, save_as_external_data=large, location=f"{path.name}.weights")


def run(path: Path, given: Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of a file that onnxruntime computes on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: value.numpy() for name, value in given.items()})
    return [torch.from_numpy(np.asarray(value)) for value in outputs]
