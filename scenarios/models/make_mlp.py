"""Writes mlp.onnx, the small model of custom_onnx.toml: `python scenarios/models/make_mlp.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save_model


def main() -> None:
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal((64, 64)).astype(np.float32) / 8, "w1"),
        numpy_helper.from_array(random.standard_normal((64, 10)).astype(np.float32) / 8, "w2"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "w1"], ["h1"]),
            helper.make_node("Relu", ["h1"], ["h2"]),
            helper.make_node("MatMul", ["h2", "w2"], ["scores"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model, full_check=True)
    save_model(model, str(Path(__file__).with_name("mlp.onnx")))


if __name__ == "__main__":
    main()
