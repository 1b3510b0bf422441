"""What a graph has to do: by hand, and by counting with tensors of ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from benchfw.artifacts.graph import GraphFacts, graph_facts
from benchfw.errors import BuildFailed
from benchfw.spec.operators import macs
from benchfw.testing.models import write_perceptron

F32 = TensorProto.FLOAT


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    weights: Mapping[str, np.ndarray[Any, Any]],
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, F32, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, F32, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9)


def facts(folder: Path, made: onnx.ModelProto, **shapes: Sequence[int]) -> GraphFacts:
    path = folder / "m.onnx"
    onnx.save(made, str(path))
    return graph_facts(path, shapes)


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


def test_a_perceptron_by_hand(tmp_path: Path) -> None:
    path = write_perceptron(tmp_path / "p.onnx")
    found = graph_facts(path, {"x": (4, 1024)})
    assert [node.macs for node in found.nodes] == [4 * 1024 * 64, 0, 0, 4 * 64 * 96]
    assert found.flops == 2 * found.macs == 2 * 4 * (1024 * 64 + 64 * 96)
    assert found.parameters == 1024 * 64 + 64 + 64 * 96
    first, bias, relu, last = found.nodes
    assert (first.weight_bytes, first.input_bytes, first.output_bytes) == (4 * 1024 * 64, 4 * 4 * 1024, 4 * 4 * 64)
    assert bias.bytes == 4 * 64 + 2 * 4 * 4 * 64
    assert relu.bytes == 2 * 4 * 4 * 64
    assert last.bytes == 4 * (64 * 96 + 4 * 64 + 4 * 96)
    assert found.bytes == sum(node.bytes or 0 for node in found.nodes)
    assert found.intensity == found.flops / found.bytes
    assert found.unknown == {}
    assert found.find("h3") is relu  # nodes of this model have no names: they are found by what they make


def test_a_grouped_strided_convolution_by_hand(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c", group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    found = facts(tmp_path, model([node], {"x": ["n", 4, 8, 8]}, {"w": ones(6, 2, 3, 3), "b": ones(6)}), x=(3, 4, 8, 8))
    assert found.macs == 3 * 6 * 4 * 4 * 2 * 9
    assert found.parameters == 6 * 2 * 9 + 6
    assert found.nodes[0].output_bytes == 4 * 3 * 6 * 4 * 4
    assert found.find("c") is found.find("y") is found.nodes[0]


def test_what_is_not_known_is_named_and_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Einsum", ["h", "w"], ["e"], equation="ij,jk->ik"),
        helper.make_node("Conv", ["e", "w"], ["f"], domain="mine"),
        helper.make_node("Conv", ["e", "w"], ["f2"], domain="mine"),
        helper.make_node("MatMul", ["f", "w"], ["y"]),  # of a shape that nobody knows
    ]
    found = facts(tmp_path, model(nodes, {"x": [2, 5]}, {"w": ones(5, 5)}, ["y", "f2"]))
    assert found.unknown == {"Einsum": 1, "mine.Conv": 2, "MatMul": 1}
    assert found.macs == 2 * 5 * 5
    assert found.parameters == 25  # of which there is one, however many use it


def test_views_move_nothing_and_gather_reads_what_it_gives(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([3], np.int64))),
        helper.make_node("Gather", ["table", "index"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["y"]),
    ]
    weights = {"table": ones(1000, 3), "index": np.array([7], np.int64)}
    found = facts(tmp_path, model(nodes, {"x": [1]}, weights))
    constant, gather, reshape = found.nodes
    assert constant.bytes == reshape.bytes == 0
    assert gather.bytes == 2 * 3 * 4
    assert found.parameters == 3000  # neither an index nor a shape is one


def test_quantised_weights_count_and_their_scales_do_not(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"]),
        helper.make_node("DequantizeLinear", ["b32", "scale"], ["b"]),
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1),
    ]
    weights: dict[str, np.ndarray[Any, Any]] = {
        "w8": np.ones((6, 5), np.int8),
        "zero": np.zeros((), np.int8),
        "scale": np.array(0.1, np.float32),
        "b32": np.ones(6, np.int32),
    }
    found = facts(tmp_path, model(nodes, {"x": [2, 5]}, weights))
    assert found.parameters == 36
    assert found.macs == 2 * 6 * 5
    assert found.nodes[0].weight_bytes == 30 + 1 + 4


def test_local_functions_are_looked_into(tmp_path: Path) -> None:
    function = helper.make_function(
        "mine", "Twice", ["a", "w"], ["c"],
        [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("MatMul", ["b", "w"], ["c"])],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    made = model([helper.make_node("Twice", ["x", "w"], ["y"], domain="mine")], {"x": ["n", 5]}, {"w": ones(5, 5)})
    made.functions.append(function)
    found = facts(tmp_path, made, x=(3, 5))
    assert found.unknown == {}
    assert found.macs == 2 * 3 * 25


def test_shapes_of_other_sizes_in_the_file_do_not_count(tmp_path: Path) -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 5]}, {"w": ones(5, 5)})
    made.graph.value_info.append(helper.make_tensor_value_info("y", F32, [1, 5]))
    assert facts(tmp_path, made, x=(7, 5)).macs == 7 * 25


def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x00 no model")
    with pytest.raises(BuildFailed, match=r"broken\.onnx"):
        graph_facts(path, {})


def counted(node: onnx.NodeProto, *tensors: np.ndarray[Any, Any]) -> int:
    """Run a node on ones: the sum of its outputs is the number of products that it has added up."""
    names = [name for name in node.input if name]
    made = model([node], {name: array.shape for name, array in zip(names, tensors, strict=True)}, {})
    (output,) = ReferenceEvaluator(made).run(None, dict(zip(names, tensors, strict=True)))
    assert macs(node.op_type, [array.shape for array in tensors], [output.shape]) == round(float(output.sum()))
    return int(output.size)


small = st.integers(1, 4)


@settings(max_examples=30, deadline=None)
@given(
    batch=small,
    group=st.integers(1, 3),
    into=small,
    out=small,
    kernel=st.tuples(small, small),
    extra=small,
    data=st.data(),
)
def test_convolutions_by_counting(
    batch: int, group: int, into: int, out: int, kernel: tuple[int, int], extra: int, data: st.DataObject
) -> None:
    strides = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    size = [side + extra for side in kernel]
    image = ones(batch, group * into, *size)
    node = helper.make_node("Conv", ["a", "b"], ["y"], group=group, strides=strides, kernel_shape=kernel)
    counted(node, image, ones(group * out, into, *kernel))
    back = helper.make_node("ConvTranspose", ["a", "b"], ["y"], group=1, strides=strides, kernel_shape=kernel)
    counted(back, image, ones(group * into, out, *kernel))


@settings(max_examples=30, deadline=None)
@given(m=small, k=small, n=small, turned=st.tuples(st.booleans(), st.booleans()), stack=st.lists(small, max_size=2))
def test_products_by_counting(m: int, k: int, n: int, turned: tuple[bool, bool], stack: list[int]) -> None:
    first, second = ((k, m) if turned[0] else (m, k)), ((n, k) if turned[1] else (k, n))
    node = helper.make_node("Gemm", ["a", "b"], ["y"], transA=int(turned[0]), transB=int(turned[1]))
    assert counted(node, ones(*first), ones(*second)) == m * n
    product = helper.make_node("MatMul", ["a", "b"], ["y"])
    assert counted(product, ones(*stack, m, k), ones(k, n)) == math.prod(stack) * m * n
    counted(product, ones(m, k), ones(*stack, k, n))
    counted(product, ones(k), ones(k, n))


def test_a_shape_that_the_graph_computes_is_followed(tmp_path: Path) -> None:
    # what a transformer behind convolutions looks like with dynamic axes: x is split into tokens of its picture
    nodes = [
        helper.make_node("Shape", ["x"], ["height"], start=2, end=3),
        helper.make_node("Div", ["height", "stride"], ["rows"]),
        helper.make_node("Mul", ["rows", "rows"], ["tokens"]),
        helper.make_node("Reshape", ["tokens", "any"], ["length"]),
        helper.make_node("Concat", ["one", "length", "any"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["rest"]),
        helper.make_node("Shape", ["rest"], ["width"], start=2, end=3),  # known when `rest` is
        helper.make_node("Concat", ["any", "width"], ["flat"], axis=0),
        helper.make_node("Reshape", ["rest", "flat"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "w"], ["y"], name="product"),
    ]
    constants = {"stride": [2], "any": [-1], "one": [1]}
    weights = {name: np.asarray(value, np.int64) for name, value in constants.items()} | {"w": ones(12, 5)}
    made = model(nodes, {"x": ["batch", 3, "height", "width"]}, weights)
    found = facts(tmp_path, made, x=(1, 3, 8, 8))
    assert found.unknown == {}
    assert found.macs == 16 * 12 * 5
    assert [node.op for node in found.nodes] == [node.op_type for node in nodes]
    assert facts(tmp_path, made, x=(1, 3, 16, 16)).macs == 64 * 12 * 5


def test_nodes_without_a_name_are_found_as_runtimes_call_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(ones(1), "c")),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Mul", ["h", "c"], ["s"], name="scale"),
        helper.make_node("MatMul", ["s", "v"], ["y"]),
    ]
    found = facts(tmp_path, model(nodes, {"x": [1, 4]}, {"w": ones(4, 3), "v": ones(3, 2)}))
    names = {name: node.name for name in ("MatMul_0", "MatMul_2", "Mul_1", "MatMul_1") if (node := found.find(name))}
    assert names == {"MatMul_0": "h", "MatMul_2": "y"}
