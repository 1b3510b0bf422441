"""Shapes of the tensors of an ONNX graph at concrete sizes of its inputs. Needs `onnx`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference
from onnx.external_data_helper import uses_external_data
from onnx.reference import ReferenceEvaluator

from benchfw.errors import BuildFailed

_Array = np.ndarray[Any, Any]

_SMALL = 1024
"""Elements of the largest tensor that is computed: those that decide shapes have a few."""
_DOMAINS = ("", "ai.onnx")
_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
_OF_SHAPES = frozenset(("Shape", "Size"))


def inferred(path: Path, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Return a model with the shapes that follow from those of its inputs, its functions inlined.

    External data is not read. What was inferred before, for other sizes, is dropped. Where ONNX's own inference stops,
    since a shape is computed in the graph by operators whose values it does not follow (Div, Reshape, Range), those
    values are computed, and it goes on from there.

    Args:
        path: The file.
        shapes: Shapes of the graph's inputs by their names; others keep theirs.

    Raises:
        BuildFailed: The file cannot be read, or its shapes contradict each other.
    """
    try:
        model = onnx.load_model(str(path), load_external_data=False)
        if model.functions:
            model = inliner.inline_local_functions(model)
        _set_shapes(model.graph, shapes)
        return _inferred(model)
    except Exception as error:  # protobuf and onnx raise classes of their own
        raise BuildFailed(f"the shapes of {path.name} cannot be inferred: {error}") from error


def dims_of(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """Return the shape of a tensor; None if not all of it is known."""
    tensor = value.type.tensor_type
    known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    return tuple(dim.dim_value for dim in tensor.shape.dim) if known else None


def _set_shapes(graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write concrete shapes into the inputs, and take away those that were inferred for others."""
    del graph.value_info[:]
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ())):
            dim.dim_value = size
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.Clear()


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes, and again as long as values become known by those."""
    found = shape_inference.infer_shapes(model, data_prop=True)
    values: dict[str, _Array] = {}
    while not _complete(found.graph) and (new := dict(_values(found))):
        values |= new
        _put_in(found.graph, new)
        _set_shapes(found.graph, {})  # what it called unknown by a name would stay so
        found = shape_inference.infer_shapes(found, data_prop=True)
    if not values:
        return found
    graph = model.graph  # with the nodes that were replaced by what they give
    del graph.value_info[:], graph.output[:]
    graph.value_info.extend(found.graph.value_info)
    graph.value_info.extend(_described(name, value) for name, value in values.items())
    graph.output.extend(found.graph.output)
    return model


def _complete(graph: onnx.GraphProto) -> bool:
    known = {value.name for value in (*graph.value_info, *graph.output) if dims_of(value) is not None}
    return all(name in known for node in graph.node for name in node.output if name)


def _values(model: onnx.ModelProto) -> Iterator[tuple[str, _Array]]:
    """Give the small tensors that follow from constants and from known shapes, by their names."""
    graph = model.graph
    opsets = {item.domain: item.version for item in model.opset_import}
    shapes = {value.name: dims_of(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes.update((tensor.name, tuple(tensor.dims)) for tensor in graph.initializer)
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if _is_small(tensor)}
    for node in graph.node:
        if node.domain not in _DOMAINS or node.op_type in _RANDOM or len(node.output) != 1:
            continue
        names = [name for name in node.input if name]
        feeds = {name: known[name] for name in names if name in known}
        if node.op_type in _OF_SHAPES and (shape := shapes.get(names[0])) is not None:
            feeds = {names[0]: np.broadcast_to(np.float32(0), shape)}  # takes no memory
        if len(feeds) == len(set(names)) and (value := _computed(node, feeds, opsets)) is not None:
            known[node.output[0]] = value
            yield node.output[0], value


def _is_small(tensor: onnx.TensorProto) -> bool:
    return math.prod(tensor.dims) <= _SMALL and not uses_external_data(tensor)


def _computed(node: onnx.NodeProto, feeds: Mapping[str, _Array], opsets: dict[str, int]) -> _Array | None:
    """Return what a node gives; None where that is no small tensor, or ONNX's evaluator cannot compute it."""
    ends = [[onnx.ValueInfoProto(name=name) for name in names] for names in (feeds, node.output)]
    try:
        graph = helper.make_graph([node], "node", *ends)
        (value,) = ReferenceEvaluator(graph, opsets=opsets).run(None, dict(feeds))
    except Exception:  # of any class; its shape stays unknown
        return None
    return value if isinstance(value, np.ndarray) and value.size <= _SMALL else None


def _put_in(graph: onnx.GraphProto, values: Mapping[str, _Array]) -> None:
    """Replace nodes by the values that they give."""
    kept = [node for node in graph.node if node.output[0] not in values]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())


def _described(name: str, value: _Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
