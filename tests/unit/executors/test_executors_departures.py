"""Which node is blamed for what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchfw.executors.departures import Tensor, compare_tensor, departures, dequantized
from benchfw.spec.accuracy import TOLERANCES

NODES = [
    {"op": "MatMul", "name": "a", "inputs": ["x", "w"], "outputs": ["h"]},
    {"op": "Split", "name": "b", "inputs": ["h"], "outputs": ["left", "right"]},
    {"op": "Add", "name": "c", "inputs": ["left", "right"], "outputs": ["sum"]},
    {"op": "Clip", "name": "d", "inputs": ["sum", "", "top"], "outputs": ["y"]},
]


def tensor(name: str, *, departs: bool = False) -> Tensor:
    return Tensor(name=name, rel_l2=float(departs), max_abs_err=float(departs), departs=departs, reason="")


def test_the_first_departure_begins_and_what_follows_goes_on() -> None:
    tensors = {name: tensor(name, departs=name in ("right", "sum", "y")) for name in ("h", "left", "right", "sum", "y")}
    first, second, third = departures(NODES, tensors, {"x"})
    assert (first.node, first.tensor.name, first.begins) == ("b", "right", True)
    assert [item.name for item in first.inputs] == ["h"]
    assert (second.node, second.begins, third.begins) == ("c", False, False)
    assert (third.inputs, third.unknown, third.weights) == ((tensor("sum", departs=True),), (), ("top",))


def test_inputs_that_were_not_compared_are_named_and_those_of_the_graph_are_not() -> None:
    (found,) = departures(NODES, {"sum": tensor("sum", departs=True)}, {"x"})
    assert (found.inputs, found.unknown, found.weights, found.begins) == ((), ("left", "right"), (), True)
    (found,) = departures(NODES, {"h": tensor("h", departs=True)}, {"x"})
    assert (found.inputs, found.unknown, found.weights) == ((), (), ("w",))


def test_readers_of_a_quantised_tensor_are_told_the_tensor() -> None:
    nodes = [
        {"op": "Conv", "name": "a", "inputs": ["x", "w"], "outputs": ["r"]},
        {"op": "QuantizeLinear", "name": "q", "inputs": ["r", "s", "z"], "outputs": ["r8"]},
        {"op": "DequantizeLinear", "name": "d", "inputs": ["r8", "s", "z"], "outputs": ["r32"]},
        {"op": "DequantizeLinear", "name": "e", "inputs": ["v8", "s", "z"], "outputs": ["v32"]},
        {"op": "Conv", "name": "b", "inputs": ["r32", "v32"], "outputs": ["y"]},
    ]
    assert dequantized(nodes) == {"r32": "r", "v32": "v8"}
    (found,) = departures(nodes, {"r": tensor("r"), "y": tensor("y", departs=True)}, {"x"})
    assert ([item.name for item in found.inputs], found.unknown, found.weights) == (["r"], (), ("v8",))


@pytest.mark.parametrize(
    ("output", "departs", "reason"),
    [
        (np.ones((2, 3), np.float32), False, ""),
        (np.ones((3, 2), np.float32), True, "has shape [3, 2], the reference [2, 3]"),
        (np.ones((2, 3), np.int64), True, "is int64, the reference float32"),
        (np.ones((2, 3), np.float16) * 1.5, True, "relative L2 5.0e-01 is above 1e-05"),
        (np.full((2, 3), np.nan, np.float32), True, "6 elements are NaN or infinite"),
    ],
)
def test_another_shape_type_or_value_is_a_departure(output: np.ndarray, departs: bool, reason: str) -> None:
    found = compare_tensor("t", output, np.ones((2, 3), np.float32), "fp32")
    assert found.departs == departs
    assert reason in found.reason


def test_a_tensor_departs_beyond_the_tolerance_of_the_scenario() -> None:
    right = np.arange(1.0, 7.0).reshape(2, 3)
    wide = replace(TOLERANCES["fp16"], rel_l2=0.02, rtol=0.02)
    assert compare_tensor("t", right * 1.01, right, "fp16").departs
    assert not compare_tensor("t", right * 1.01, right, "fp16", wide).departs
    single = replace(TOLERANCES["fp16"], outputs={"t": wide})
    assert [compare_tensor(name, right * 1.01, right, "fp16", single).departs for name in ("t", "u")] == [False, True]
