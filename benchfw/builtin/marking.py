"""ONNX models with intermediate tensors among their outputs. Runs in a worker with `onnx` installed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from benchfw.errors import BuildFailed
from benchfw.spec.artifact import Artifact, Step
from benchfw.spec.onnx_files import external_files, external_tensors, read
from benchfw.spec.tensors import Profile, TensorSpec

_TYPES = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.BOOL,
    }
)
"""Types of outputs that backends can give: those of `benchfw.spec.tensors.DTYPES`."""

_FIXED = frozenset({"Constant"})
"""Operators whose outputs are weights rather than results."""


class MarkedOnnx(Step):
    """Makes outputs of the tensors that its option `tensors` names; each is computed as before.

    The artifact's `meta` describes the graph: `nodes`, in the order in which they run, each with `op`, `name`, `inputs`
    and `outputs` (nodes in subgraphs are part of the one that holds them); `outputs`, those that the graph had before;
    `tensors`, the names of what can become one, in the order of the nodes.
    """

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        source = Path(artifact.path)
        model = read(source)
        own = [value.name for value in model.graph.output]
        locations = _locations(model, source)
        known = _intermediates(model)
        for name in self.options["tensors"]:
            if name not in known:
                raise BuildFailed(f"{source.name} has no tensor {name!r} that could become an output")
            model.graph.output.append(known[name])
        onnx.save_model(model, str(destination))
        for location in locations:  # copied: onnx takes a file with two names for an attack
            (destination.parent / location).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.parent / location, destination.parent / location)
        nodes = [
            {"op": node.op_type, "name": node.name, "inputs": list(node.input), "outputs": list(node.output)}
            for node in model.graph.node
        ]
        return {"nodes": nodes, "tensors": list(known), "outputs": own}


def _intermediates(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return what nodes compute and no output shows yet, by name, in the order of the nodes.

    Types and shapes are inferred anew, since those in a file may be of before it was converted; where that leads to
    nothing (operators of other domains), those in the file are taken. Tensors without a known type and number of
    dimensions are left out.
    """
    noted = {value.name: value for value in model.graph.value_info}
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    with contextlib.suppress(Exception):  # of weights in other files, of unknown operators: raises many kinds
        bare = onnx.shape_inference.infer_shapes(bare)
    noted.update((value.name, value) for value in bare.graph.value_info if _usable(value))
    shown = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node if node.op_type not in _FIXED for name in node.output]
    return {name: noted[name] for name in names if name not in shown and name in noted and _usable(noted[name])}


def _locations(model: onnx.ModelProto, source: Path) -> set[str]:
    """Return the names of the files beside a model that hold its weights, once they are known to be safe to read."""
    for _ in external_files(model, source):
        pass
    tensors = external_tensors(model)
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}


def _usable(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return tensor.elem_type in _TYPES and tensor.HasField("shape")
