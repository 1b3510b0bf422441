"""Small ONNX graphs that the steps are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchfw.builtin.onnx_files import OnnxSource
from benchfw.spec import Artifact, Profile, TensorSpec
from benchfw.spec.tensors import AxisRange

IMAGE = (TensorSpec(name="x", dtype="float32", shape=("batch", 3, 8, 8)),)
TEXT = (
    TensorSpec(name="ids", dtype="int64", shape=("batch", "sequence")),
    TensorSpec(name="mask", dtype="float32", shape=("batch", "sequence")),
)
BATCH = Profile({"batch": AxisRange(min=1, opt=2, max=3)})
BOTH = Profile({"batch": AxisRange(min=1, opt=2, max=3), "sequence": AxisRange(min=2, opt=4, max=6)})
CONV1 = "first"
_OPSET = [helper.make_opsetid("", 18)]


def convolutions(*, scale: float = 1.0, dims: Sequence[int | str] = ("batch", 3, 8, 8)) -> onnx.ModelProto:
    """Two convolutions and a Gemm: float32 [batch, 3, 8, 8] to [batch, 4], with an Identity in between."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((8, 3, 3, 3)) * scale,
        "w2": random.standard_normal((8, 8, 3, 3)) * 0.1,
        "w3": random.standard_normal((4, 8)),
        "b3": random.standard_normal(4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name=CONV1, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Identity", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    return _model(nodes, [_value("x", dims)], [_value("y", (dims[0], 4))], weights)


def text() -> onnx.ModelProto:
    """Embedding and product: int64 and float32 [batch, sequence] to float32 [batch, sequence, 8] and [batch, 8]."""
    random = np.random.default_rng(0)
    weights = {"table": random.standard_normal((2, 16)), "w": random.standard_normal((16, 8))}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["a"]),
        helper.make_node("Constant", [], ["last"], value=numpy_helper.from_array(np.array([2], np.int64))),
        helper.make_node("Unsqueeze", ["mask", "last"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["hidden"], name="product"),
        helper.make_node("ReduceMean", ["hidden", "middle"], ["pooled"], keepdims=0),
    ]
    inputs = [_value("ids", ("batch", "sequence"), TensorProto.INT64), _value("mask", ("batch", "sequence"))]
    outputs = [_value("hidden", ("batch", "sequence", 8)), _value("pooled", ("batch", 8))]
    model = _model(nodes, inputs, outputs, weights)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "middle"))
    return model


def no_products() -> onnx.ModelProto:
    """Sums alone: float32 [batch, 3, 8, 8] to the same."""
    nodes = [helper.make_node("Add", ["x", "w"], ["a"]), helper.make_node("Sin", ["a"], ["y"])]
    dims = ("batch", 3, 8, 8)
    return _model(nodes, [_value("x", dims)], [_value("y", dims)], {"w": np.ones((8, 8))})


def artifact(model: onnx.ModelProto, folder: Path, name: str = "source.onnx") -> Artifact:
    """Write a model and resolve it, as a run would."""
    onnx.save(model, str(folder / name))
    return OnnxSource().resolve(name, root=folder, destination=folder, seed=0, weights=None)[0]


def weight(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    """Return an initializer."""
    return np.asarray(numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)))


def set_weight(model: onnx.ModelProto, name: str, array: NDArray[np.float32]) -> None:
    """Replace an initializer."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def axes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """Return the shapes of inputs and outputs as the graph declares them."""
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


def _value(name: str, dims: Sequence[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(dims))


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, NDArray[np.float64]],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=initializers)
    return helper.make_model(graph, opset_imports=_OPSET, ir_version=9)
