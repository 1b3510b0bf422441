"""A small model for the kit, and what any ONNX model should compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, load, numpy_helper, save
from onnx.reference import ReferenceEvaluator

from benchfw.spec.tensors import TensorSpec

FEATURES, HIDDEN, CLASSES = 1024, 64, 96
PERCEPTRON_INPUTS = (TensorSpec(name="x", dtype="float32", shape=("batch", FEATURES)),)


def write_perceptron(path: Path) -> Path:
    """Write `y = relu(x @ w1 + b1) @ w2` as ONNX: x float32 [batch, 1024], y float32 [batch, 96]; seeded
    weights.

    An output of a few rows is larger than what a Python object takes, so that allocating one shows; a few hundred
    inputs are larger than what the memory of a process varies by, so that keeping them shows.
    """
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((FEATURES, HIDDEN)) / 32,
        "b1": random.standard_normal(HIDDEN),
        "w2": random.standard_normal((HIDDEN, CLASSES)) / 8,
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h1"]),
            helper.make_node("Add", ["h1", "b1"], ["h2"]),
            helper.make_node("Relu", ["h2"], ["h3"]),
            helper.make_node("MatMul", ["h3", "w2"], ["y"]),
        ],
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def evaluate(path: Path, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what an ONNX file computes, by the reference implementation of the ONNX project: slow, and right."""
    model = load(str(path))
    outputs = ReferenceEvaluator(model).run(None, dict(inputs))
    return {value.name: array for value, array in zip(model.graph.output, outputs, strict=True)}
