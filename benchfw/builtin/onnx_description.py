"""What an ONNX file holds, for `benchfw inspect`. Runs in a worker with `onnx` installed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.external_data_helper import load_external_data_for_tensor

from benchfw.errors import BuildFailed
from benchfw.spec.onnx_files import (
    external_file,
    graph_inputs,
    graph_precision,
    nodes,
    operator,
    read,
    tensor_spec,
    tensors,
)
from benchfw.spec.weights import Weights

_FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
}


def describe(path: Path) -> Mapping[str, Any]:
    """Return inputs, outputs, operators and weights of a model, and where they lie.

    Nodes of subgraphs and functions count; weights are initializers and constants, wherever they stand.

    Raises:
        BuildFailed: The file is no model or not a whole one, or external data are missing or lie elsewhere.
    """
    model = read(path)
    external: dict[Path, int] = {}
    weights = Weights()
    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            file = external_file(tensor, path)
            external[file] = file.stat().st_size
        array = _values(tensor, path) if tensor.data_type in _FLOATS else None
        weights.add(_dtype(tensor.data_type), math.prod(tensor.dims), _bytes(tensor), array)
    operators = Counter(operator(node) for node in nodes(model))
    return {
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip() or None,
        "graph": model.graph.name,
        "inputs": [asdict(spec) for spec in graph_inputs(model)],
        "outputs": [asdict(tensor_spec(value)) for value in model.graph.output],
        "precision": graph_precision(model),
        "nodes": sum(operators.values()),
        "operators": dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        "weights": weights.facts(),
        "external_data": [{"file": file.name, "bytes": size} for file, size in sorted(external.items())],
        "bytes": path.stat().st_size + sum(external.values()),
    }


def _dtype(data_type: int) -> str:
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type)).name)
    except (KeyError, TypeError):
        return str(onnx.TensorProto.DataType.Name(data_type)).lower()


def _bytes(tensor: onnx.TensorProto) -> int:
    """Return what the values of a tensor take, from its shape; strings count nothing."""
    try:
        size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except (KeyError, TypeError):
        return 0
    return math.prod(tensor.dims) * size if tensor.data_type != onnx.TensorProto.STRING else 0


def _values(tensor: onnx.TensorProto, path: Path) -> NDArray[Any]:
    """Return the values of a tensor; external data are read for it alone and not kept.

    Raises:
        BuildFailed: They do not fit its shape.
    """
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        whole = onnx.TensorProto()
        whole.CopyFrom(tensor)
        load_external_data_for_tensor(whole, str(path.parent))
        whole.data_location = onnx.TensorProto.DEFAULT
        tensor = whole
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise BuildFailed(f"{path.name}: the values of {tensor.name!r} do not fit its shape: {error}") from error
