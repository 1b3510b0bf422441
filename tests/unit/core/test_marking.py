"""Intermediate tensors as outputs: which can be, that nothing else changes, weights in other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from benchfw.builtin.marking import MarkedOnnx
from benchfw.errors import BuildFailed
from benchfw.spec.artifact import Artifact
from benchfw.spec.tensors import Profile

W = np.arange(12, dtype=np.float32).reshape(4, 3)
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def write(path: Path, *, external: bool = False) -> None:
    """Write `y = relu(x @ w)[0]` with a sequence, a constant and an operator of nobody's beside it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("SequenceConstruct", ["r"], ["list"]),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, np.int64))),
        helper.make_node("SequenceAt", ["list", "zero"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["y"]),
        helper.make_node("Mystery", ["h"], ["unknown"], domain="nobody"),
        helper.make_node("Mystery", ["h"], ["noted"], domain="nobody"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(W, "w")],
        value_info=[value("noted", TensorProto.INT64, [1]), value("h", TensorProto.FLOAT16, [7])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, str(path), save_as_external_data=external, location="weights.bin", size_threshold=0)


def mark(source: Path, destination: Path, *tensors: str) -> Any:
    destination.parent.mkdir()
    step = MarkedOnnx({"tensors": list(tensors)})
    artifact = Artifact(format="onnx", path=str(source), sha256="0")
    return step.run(artifact, inputs=(), profile=Profile({}), precision="fp32", destination=destination)


@pytest.mark.parametrize("external", [False, True])
def test_marked_tensors_are_outputs_and_the_rest_is_as_before(tmp_path: Path, external: bool) -> None:
    source, marked = tmp_path / "m.onnx", tmp_path / "draft" / "model.onnx"
    write(source, external=external)
    before = source.read_bytes()
    meta = mark(source, marked, "h", "r")
    assert source.read_bytes() == before
    model = onnx.load(str(marked))
    assert [value.name for value in model.graph.output] == ["y", "h", "r"]
    assert model.graph.output[1].type.tensor_type.elem_type == TensorProto.FLOAT  # the file said another one
    del model.graph.node[6:]
    outputs = ReferenceEvaluator(model).run(["y", "h", "r"], {"x": X})
    for output, wanted in zip(outputs, [np.maximum(X @ W, 0)[0], X @ W, np.maximum(X @ W, 0)], strict=True):
        np.testing.assert_allclose(output, wanted, rtol=1e-6)
    assert meta["outputs"] == ["y"]
    assert meta["nodes"][0] == {"op": "MatMul", "name": "", "inputs": ["x", "w"], "outputs": ["h"]}


def test_sequences_constants_and_unknown_types_cannot_be_outputs(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx")
    meta = mark(tmp_path / "m.onnx", tmp_path / "draft" / "model.onnx")
    assert meta["tensors"] == ["h", "r", "s", "noted"]  # that one's type is in the file
    with pytest.raises(BuildFailed, match="no tensor 'list' that could become an output"):
        mark(tmp_path / "m.onnx", tmp_path / "other" / "model.onnx", "list")
