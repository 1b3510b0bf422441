"""Shapes of the tensors of an ONNX graph at concrete sizes of its inputs. Needs `onnx`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import inliner, shape_inference

from benchfw.errors import BuildFailed


def inferred(path: Path, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Return a model with the shapes that follow from those of its inputs, its functions inlined.

    External data is not read. What was inferred before, for other sizes, is dropped.

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
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # protobuf and onnx raise classes of their own
        raise BuildFailed(f"the shapes of {path.name} cannot be inferred: {error}") from error


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
