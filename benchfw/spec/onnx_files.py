"""ONNX files as every source and step reads and writes them. Needs `onnx`, so that only those import it that do too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.external_data_helper import load_external_data_for_tensor

from benchfw.errors import BuildFailed
from benchfw.spec.tensors import TensorSpec

LARGEST = 2_000_000_000
"""Bytes of weights that a single file may hold: protobuf reads no message of 2 GiB."""
_MOVED = 1024
"""Tensors of fewer bytes stay in the file: they may be shapes, which readers need to infer others."""
_PART = 1 << 22
_OWN = ("", "ai.onnx")
"""Names of ONNX's own domain."""
_WHOLE = "copy or export it again"
_BESIDE = "external data lie where the model was exported; copy them along, or export the model anew"
_MOST_NAMED = 5
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def read(path: Path) -> onnx.ModelProto:
    """Return the model in a file, without its external data.

    Raises:
        BuildFailed: There is no model in it, or not a whole one.
    """
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises a class of its own per implementation
        raise BuildFailed(f"{path} is not an ONNX model: {error}", hint=_WHOLE) from error
    if not model.graph.node and not model.graph.output:
        raise BuildFailed(f"{path} is not an ONNX model: it has no graph", hint=_WHOLE)
    if not model.opset_import:  # it comes last
        raise BuildFailed(f"{path} is not a whole ONNX model: it names no operator set", hint=_WHOLE)
    return model


def load(path: Path) -> onnx.ModelProto:
    """Return the model in a file with all external data in it; onnx leaves out sparse tensors and training graphs.

    Raises:
        BuildFailed: See `read` and `external_files`.
    """
    model = read(path)
    for tensor in external_tensors(model):
        external_file(tensor, path)
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return model


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model that holds all its data: as one file, or with the weights beside it where that would be too large.

    A model that is written with data beside it refers to that file afterwards.
    """
    if sum(map(_bytes, tensors(model))) <= LARGEST:
        onnx.save_model(model, str(path))
        return
    for tensor in tensors(model):
        if not tensor.HasField("raw_data") and _bytes(tensor) >= _MOVED:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
        size_threshold=_MOVED,
        convert_attribute=True,
    )


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor, wherever in the model: weights, attributes, subgraphs, functions."""
    return (message for message in _messages(model) if isinstance(message, onnx.TensorProto))


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, wherever in the model: subgraphs, functions."""
    return (message for message in _messages(model) if isinstance(message, onnx.NodeProto))


def operator(node: onnx.NodeProto) -> str:
    """Return the operator of a node, with its domain if that is not ONNX's own."""
    return str(node.op_type) if node.domain in _OWN else f"{node.domain}.{node.op_type}"


def oddities(path: Path) -> str | None:
    """Say what of a model is not in the ONNX of this machine, for what a runtime may refuse it, and what to do.

    None where there is nothing of that, or the file cannot be read, which is told elsewhere.
    """
    try:
        model = read(path)
    except BuildFailed:
        return None
    opsets = {entry.domain: int(entry.version) for entry in model.opset_import}
    latest = onnx.defs.onnx_opset_version()
    own = max((opsets.get(name, 0) for name in _OWN), default=0)
    if own > latest:
        return f"the model has opset {own}, ONNX itself ends at {latest}: export it with an older one"
    local = {(function.domain, function.name) for function in model.functions}
    strange: dict[str, str] = {}
    for node in nodes(model):
        if (node.domain, node.op_type) not in local and not _is_known(node, opsets):
            strange.setdefault(operator(node), node.name or next(iter(node.output), ""))
    if not strange:
        return None
    named = ", ".join(f"{name} (node {node!r})" for name, node in list(strange.items())[:_MOST_NAMED])
    more = f" and {len(strange) - _MOST_NAMED} more" if len(strange) > _MOST_NAMED else ""
    return f"not among the operators of ONNX, opset {own}: {named}{more}; replace them in the model"


def _is_known(node: onnx.NodeProto, opsets: Mapping[str, int]) -> bool:
    domain = "" if node.domain in _OWN else node.domain
    version = max((opsets.get(name, 0) for name in (_OWN if not domain else (domain,))), default=0)
    try:
        onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return False
    return True


def _messages(model: onnx.ModelProto) -> Iterator[Any]:
    messages: list[Any] = [model]
    while messages:
        message = messages.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages += [value] if hasattr(value, "ListFields") else value


def weights(path: Path) -> dict[str, int]:
    """Count the float32 weights of a file: `elements`, and `denormal` ones (0 < |w| < 2^-126).

    Scalars are no weights: they may be tiny on purpose, and cost nothing.

    Raises:
        BuildFailed: A weight of whatever float type is NaN, or the file cannot be read.
    """
    counts = {"elements": 0, "denormal": 0}
    for tensor in tensors(read(path)):
        array = floats(tensor, path)
        if array is None or (array.size == 1 and not np.isnan(array).any()):
            continue
        for start in range(0, array.size, _PART):
            part = array.reshape(-1)[start : start + _PART]
            if np.isnan(part).any():
                raise BuildFailed(
                    f"{path.name}: the weight {tensor.name!r} holds NaN", hint="train or export the model again"
                )
            if part.dtype == np.float32:
                counts["elements"] += part.size
                counts["denormal"] += int(np.count_nonzero(denormal(part)))
    return counts


def floats(tensor: onnx.TensorProto, path: Path) -> NDArray[Any] | None:
    """Return a float16, float32 or float64 tensor as an array, external data mapped; None for other types.

    Raises:
        BuildFailed: Its data do not fit its shape, or see `external_files`.
    """
    dtypes = {onnx.TensorProto.FLOAT: "<f4", onnx.TensorProto.FLOAT16: "<f2", onnx.TensorProto.DOUBLE: "<f8"}
    if tensor.data_type not in dtypes:
        return None
    try:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        file = external_file(tensor, path)
        offset = next((int(entry.value) for entry in tensor.external_data if entry.key == "offset"), 0)
        if not math.prod(tensor.dims):
            return np.empty(tuple(tensor.dims), dtypes[tensor.data_type])
        return np.memmap(file, dtypes[tensor.data_type], "r", offset, tuple(tensor.dims))
    except (ValueError, OSError) as error:
        raise BuildFailed(f"{path.name}: the weight {tensor.name!r} cannot be read: {error}") from error


def denormal(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which elements are denormal: not 0, and smaller than the smallest normal float32, 2^-126."""
    bits = np.ascontiguousarray(array).view(np.uint32) & np.uint32(0x7FFFFFFF)  # by bits: comparing them is slow
    return (bits != 0) & (bits < 0x00800000)


def graph_inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the inputs of a graph, less those that only name an initializer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return tuple(tensor_spec(value) for value in model.graph.input if value.name not in weights)


def graph_precision(model: onnx.ModelProto) -> str:
    """Return the precision that a graph asks for: int8 if it quantises, else that of most of its float weights."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    elements = float_elements(model.graph.initializer)
    return max(elements, key=lambda name: elements[name], default="fp32")


def float_elements(found: Iterable[onnx.TensorProto]) -> dict[str, int]:
    """Return how many numbers of tensors are `fp32`, `fp16` and `bf16`, of those that there are."""
    names = {
        onnx.TensorProto.FLOAT: "fp32",
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.BFLOAT16: "bf16",
    }
    elements: dict[str, int] = {}
    for tensor in found:
        if tensor.data_type in names:
            name = names[tensor.data_type]
            elements[name] = elements.get(name, 0) + math.prod(tensor.dims)
    return elements


def external_files(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """Yield the file of every tensor with external data.

    Raises:
        BuildFailed: One lies elsewhere than beside the model or below, or is no file that holds the tensor.
    """
    for tensor in external_tensors(model):
        yield external_file(tensor, path)


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor with external data, wherever in the model: weights, attributes, subgraphs, functions."""
    return (tensor for tensor in tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL)


def _bytes(tensor: onnx.TensorProto) -> int:
    """Return about how many bytes the data of a tensor take."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    return 8 * max(len(getattr(tensor, field)) for field in _TYPED)


def external_file(tensor: onnx.TensorProto, path: Path) -> Path:
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
            raise BuildFailed(f"{what} " + ("is no file" if file.exists() else "does not exist"), hint=_BESIDE)
        size = file.stat().st_size
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a null byte
        raise BuildFailed(f"{what} cannot be read: {error}") from error
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError as error:
        raise BuildFailed(f"{what}: offset and length must be whole numbers") from error
    if min(offset, length) < 0 or offset + length > size:
        raise BuildFailed(
            f"{what} has {size} bytes; the tensor {tensor.name!r} is said to end at {offset + length}", hint=_BESIDE
        )
    return file


def tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
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
