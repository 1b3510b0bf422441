"""From what a worker says of its layers, and a graph, to rows of the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from benchfw.artifacts.graph import GraphFacts, graph_facts
from benchfw.errors import Invalid
from benchfw.measure.layers import layer_rows
from benchfw.spec.layers import LayerProfile, LayerTime
from benchfw.worker import returned
from benchfw.worker.protocol import Message


def rows(
    graph: GraphFacts | None, *layers: LayerTime, inference_ns: Any = (100.0, 110.0, 130.0)
) -> list[dict[str, Any]]:
    described, arrays = returned.profile(LayerProfile(layers=layers, inference_ns=inference_ns), 3)
    return layer_rows(Message("ok", {"layers": described}, arrays), graph, {"case_id": "c", "cohort": "k"})


@pytest.fixture
def graph(tmp_path: Path) -> GraphFacts:
    """conv, add, relu, conv2: names as a model has them, and tensors c, s, r, y."""
    weights = [numpy_helper.from_array(np.ones((4, 4, 3, 3), np.float32), "w")]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "x"], ["s"], name="add"),
        helper.make_node("Relu", ["s"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w"], ["y"], name="conv2", pads=[1, 1, 1, 1]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in "xy"]
    save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)), str(tmp_path / "m.onnx"))
    return graph_facts(tmp_path / "m.onnx", {})


IMAGE, FILTERS = (1, 4, 8, 8), (4, 4, 3, 3)
FLOPS = 2 * 4 * 64 * 36


def conv(name: str, *nodes: str, times: tuple[float, ...] = (50.0, 60.0, 70.0)) -> LayerTime:
    return LayerTime(
        name=name, op="Conv", time_ns=times, inputs=(IMAGE, FILTERS), outputs=(IMAGE,), nodes=nodes, provider="P"
    )


def test_medians_and_shares(graph: GraphFacts) -> None:
    relu = LayerTime(name="b", op="Relu", time_ns=(30.0, 5.0, 20.0), calls=2)
    first, second = rows(None, relu, conv("a"))
    assert (first["layer"], first["time_p50_ns"], first["share"]) == ("a", 60.0, 0.75)
    assert (second["layer"], second["time_p50_ns"], second["share"], second["calls"]) == ("b", 20.0, 0.25, 2)
    assert {(row["n"], row["inference_p50_ns"], row["layers_p50_ns"]) for row in (first, second)} == {(3, 110.0, 80.0)}
    assert (second["provider"], second["kernel"], second["precision"], second["shapes"]) == (None,) * 4
    assert json.loads(first["shapes"]) == {"inputs": [list(IMAGE), list(FILTERS)], "outputs": [list(IMAGE)]}
    assert first["flops"] == FLOPS  # by its own shapes, without a graph
    assert "parameters" not in first


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("conv", ["conv"]),
        ("c", ["conv"]),
        ("s", ["conv", "add"]),
        ("r", ["conv", "add", "relu"]),
        ("relu", ["conv", "add", "relu"]),
    ],
)
def test_a_fused_layer_is_found_behind_the_name_of_its_end(graph: GraphFacts, name: str, nodes: list[str]) -> None:
    (row,) = rows(graph, conv("a", name))
    assert json.loads(row["nodes"]) == nodes
    assert row["flops"] == FLOPS
    assert row["parameters"] == 4 * 4 * 9
    known = [graph.find(node) for node in nodes]
    assert row["bytes"] == sum(node.bytes or 0 for node in known if node)


def test_nodes_that_the_runtime_tells_are_taken_as_they_are(graph: GraphFacts) -> None:
    (row,) = rows(
        graph, LayerTime(name="a", op="Convolution", time_ns=(1.0,) * 3, nodes=("conv", "add", "relu", "bias_7"))
    )
    assert json.loads(row["nodes"]) == ["conv", "add", "relu"]
    assert row["flops"] == FLOPS


def test_channels_that_fill_up_a_block_are_not_the_models(graph: GraphFacts) -> None:
    padded = LayerTime(**{**vars(conv("a", "relu")), "inputs": (IMAGE, (16, 4, 3, 3)), "outputs": ((1, 16, 8, 8),)})
    (row,) = rows(graph, padded)
    assert json.loads(row["nodes"]) == ["conv", "add", "relu"]
    assert row["flops"] == FLOPS


def test_a_name_that_stands_for_more_work_is_no_match(graph: GraphFacts) -> None:
    wrong = LayerTime(name="a", op="Conv", time_ns=(1.0,) * 3, inputs=(IMAGE, (8, 4, 1, 1)), outputs=((1, 8, 8, 8),))
    for name in ("conv", "relu", "nobody"):
        (row,) = rows(graph, LayerTime(**{**vars(wrong), "nodes": (name,)}))
        assert "nodes" not in row
        assert row["flops"] == 2 * 8 * 64 * 4


BAD = {
    "returned dict": {},
    "no layer": LayerProfile(layers=(), inference_ns=(1.0,) * 3),
    "returned str": LayerProfile(layers=("conv",), inference_ns=(1.0,) * 3),  # type: ignore[arg-type]
    "not 3 numbers": LayerProfile(layers=(conv("a", times=(1.0,)),), inference_ns=(1.0,) * 3),
    "0 or more": LayerProfile(layers=(conv("a", times=(1.0, -1.0, 1.0)),), inference_ns=(1.0,) * 3),
    "'inference_ns'": LayerProfile(layers=(conv("a"),), inference_ns=(1.0, float("nan"), 1.0)),
    "no numbers": LayerProfile(layers=(conv("a", times=("x", "y", "z")),), inference_ns=(1.0,) * 3),  # type: ignore[arg-type]
    "JSON": LayerProfile(layers=(LayerTime(name=b"a", op="", time_ns=(1.0,) * 3),), inference_ns=(1.0,) * 3),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("words", BAD)
def test_what_is_no_profile_is_invalid(words: str) -> None:
    with pytest.raises(Invalid, match=words):
        returned.profile(BAD[words], 3)
