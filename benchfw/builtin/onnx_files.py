"""ONNX files as models (`onnx:PATH`), and static copies of dynamic ones. Runs in a worker with `onnx` installed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_tensor

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
        digest = hashlib.sha256()
        for file in (path, *sorted(set(external_files(model, path)))):
            with file.open("rb") as content:
                while part := content.read(1 << 20):
                    digest.update(part)
        outputs = tuple(_spec(value) for value in model.graph.output)
        return (
            Artifact(format="onnx", path=str(path), sha256=digest.hexdigest(), precision=graph_precision(model)),
            IoSpec(inputs=graph_inputs(model), outputs=outputs),
        )

    def describe(self, path: Path) -> Mapping[str, Any]:
        from benchfw.builtin.onnx_description import describe

        return describe(path)

    def copy(self, path: Path, destination: Path) -> Mapping[str, Any]:
        from benchfw.builtin.onnx_copies import copy

        return copy(path, destination)


class FixedBatchOnnx(Step):
    """Writes the sizes of a static profile into the axes of the graph's inputs."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        model = _read(Path(artifact.path))
        _load_external(model, Path(artifact.path))
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
    """Yield the file of every tensor with external data.

    Raises:
        BuildFailed: One lies elsewhere than beside the model or below, or is no file that holds the tensor.
    """
    for tensor in _external_tensors(model):
        yield _external_file(tensor, path)


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Take all external data into the model; onnx itself leaves out sparse tensors and training graphs."""
    for tensor in _external_tensors(model):
        _external_file(tensor, path)
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor with external data, wherever in the model: weights, attributes, subgraphs, functions."""
    messages: list[Any] = [model]
    while messages:
        message = messages.pop()
        if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages += [value] if hasattr(value, "ListFields") else value


def _external_file(tensor: onnx.TensorProto, path: Path) -> Path:
    """Return the file of a tensor's data, once it is known to be safe to read; see `external_files`."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"external data {location!r} of {path.name}"
    if len(entries) != len(tensor.external_data):
        raise BuildFailed(f"{what}: a key is given twice")  # of which readers take the one or the other
    parts = PureWindowsPath(location)  # takes both separators
    try:
        file = (path.parent / location).resolve()
        inside = not parts.anchor and ".." not in parts.parts and file.is_relative_to(path.parent.resolve())
        if not inside or "\\" in location:
            raise BuildFailed(f"{what} lies outside of the model's folder", hint="put it beside the model or below")
        if not location or not file.is_file():
            raise BuildFailed(f"{what} " + ("is no file" if file.exists() else "does not exist"))
        size = file.stat().st_size
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a null byte
        raise BuildFailed(f"{what} cannot be read: {error}") from error
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError as error:
        raise BuildFailed(f"{what}: offset and length must be whole numbers") from error
    if min(offset, length) < 0 or offset + length > size:
        raise BuildFailed(f"{what} has {size} bytes; the tensor {tensor.name!r} is said to end at {offset + length}")
    return file


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
