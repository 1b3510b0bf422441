"""ONNX files as models (`onnx:PATH`), and static copies of dynamic ones. Runs in a worker with `onnx` installed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx

from benchfw.errors import BuildFailed, Unsupported
from benchfw.spec.artifact import Artifact, ModelSource, Step
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec


class OnnxSource(ModelSource):
    """Reads the graph's inputs and outputs; the hash covers external data too."""

    def resolve(
        self, target: str, *, root: Path, destination: Path, seed: int, weights: Path | None
    ) -> tuple[Artifact, IoSpec | None]:
        path = (root / target).resolve()
        if not path.is_file():
            raise BuildFailed(f"no such model: {path}", hint="paths are relative to the scenario file")
        if weights is not None:
            raise BuildFailed("an ONNX model carries its weights", hint="remove model.weights from the scenario")
        model = _read(path)
        digest = hashlib.sha256(path.read_bytes())
        for file in sorted(set(external_files(model, path))):
            digest.update(file.read_bytes())
        outputs = tuple(_spec(value) for value in model.graph.output)
        return (
            Artifact(format="onnx", path=str(path), sha256=digest.hexdigest(), precision=graph_precision(model)),
            IoSpec(inputs=graph_inputs(model), outputs=outputs),
        )


class StaticOnnxFromOnnx(Step):
    """Writes the sizes of a static profile into the axes of the graph's inputs."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, destination: Path
    ) -> Mapping[str, Any]:
        model = _read(Path(artifact.path))
        list(external_files(model, Path(artifact.path)))
        onnx.load_external_data_for_model(model, str(Path(artifact.path).parent))
        sizes = profile.sizes("opt")
        declared = {spec.name: spec for spec in inputs}
        by_axis: dict[str, int] = {}  # by the graph's own names, which the scenario need not use
        for value in model.graph.input:
            spec = declared.get(value.name)
            if spec is None:
                continue
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, spec.concrete(sizes), strict=True):
                if dim.HasField("dim_value") and dim.dim_value != size:
                    raise Unsupported(f"axis of input {value.name!r} is fixed to {dim.dim_value}, {size} was asked for")
                if dim.dim_param:
                    by_axis[dim.dim_param] = size
                dim.dim_value = size
        del model.graph.value_info[:]  # shapes of before; the runtimes infer them anew
        for value in model.graph.output:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param in by_axis:
                    dim.dim_value = by_axis[dim.dim_param]
        onnx.save_model(model, str(destination))
        return {}


def graph_inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the inputs of a graph, less those that only name an initializer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return tuple(_spec(value) for value in model.graph.input if value.name not in weights)


def graph_precision(model: onnx.ModelProto) -> str:
    """Return the precision that a graph asks for: int8 if it quantises, else that of most of its float weights."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    names = {
        onnx.TensorProto.FLOAT: "fp32",
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.BFLOAT16: "bf16",
    }
    elements: dict[str, int] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type in names:
            name = names[tensor.data_type]
            elements[name] = elements.get(name, 0) + math.prod(tensor.dims)
    return max(elements, key=lambda name: elements[name], default="fp32")


def external_files(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """Yield the files of external data.

    Raises:
        BuildFailed: One lies elsewhere than beside the model or below, or does not exist.
    """
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        parts = PurePosixPath(location)
        file = (path.parent / location).resolve()
        if parts.is_absolute() or ".." in parts.parts or not file.is_relative_to(path.parent.resolve()):
            raise BuildFailed(f"external data {location!r} of {path.name} lies outside of the model's folder")
        if not file.is_file():
            raise BuildFailed(f"external data {location!r} of {path.name} does not exist")
        yield file


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises a class of its own per implementation
        raise BuildFailed(f"{path} is not an ONNX model: {error}") from error
    if not model.graph.node and not model.graph.output:
        raise BuildFailed(f"{path} is not an ONNX model: it has no graph")
    return model


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Describe one end of the graph; an axis without name or size is named after its tensor and place."""
    tensor = value.type.tensor_type
    shape: list[int | str] = []
    for place, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            shape.append(dim.dim_value)
        else:
            shape.append(dim.dim_param or f"{value.name}_{place}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(name=value.name, dtype=dtype, shape=tuple(shape))
