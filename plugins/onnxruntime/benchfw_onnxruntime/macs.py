"""Multiply-accumulates of a graph's convolutions and matrix products, and how many of them are quantised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx

from benchfw.spec.onnx_shapes import dims_of, inferred
from benchfw.spec.operators import macs

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Shapes = Mapping[str, tuple[int, ...]]


def shapes_at(path: Path, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a graph that follows from the shapes of its inputs.

    Args:
        path: The model; weights may lie beside it.
        sizes: Shape of each input.

    Raises:
        BuildFailed: See `inferred`.
    """
    graph = inferred(path, sizes).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if (dims := dims_of(value)) is not None:
            found[value.name] = dims
    return found


def share(model: onnx.ModelProto, shapes: Shapes) -> dict[str, Any]:
    """Say how much of a graph is quantised.

    Args:
        model: With QuantizeLinear and DequantizeLinear nodes.
        shapes: Of the tensors before those were put in.

    Returns:
        `nodes` and `quantised_nodes` (products), `macs` and `quantised_macs`, their ratio `quantised_share`, and
        `unknown_macs`, the number of products whose shapes are not known.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    counts: Counter[str] = Counter(nodes=0, quantised_nodes=0, macs=0, quantised_macs=0, unknown_macs=0)
    for node in products(model):
        factors = [made_by.get(name) for name in node.input[:2]]
        quantised = all(factor is not None and factor.op_type == "DequantizeLinear" for factor in factors)
        known = _renamed(node, made_by, shapes)
        count = macs(node.op_type, [known.get(name) for name in node.input], [known.get(name) for name in node.output])
        counts.update(nodes=1, quantised_nodes=quantised, macs=count or 0, unknown_macs=count is None)
        counts.update(quantised_macs=(count or 0) * quantised)
    whole = counts["macs"]
    return {**counts, "quantised_share": round(counts["quantised_macs"] / whole, 4) if whole else None}


def products(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type in PRODUCTS)


def _renamed(node: onnx.NodeProto, made_by: Mapping[str, onnx.NodeProto], shapes: Shapes) -> Shapes:
    """Return shapes of a node's ends, by the names that they had before quantisation."""
    known = {}
    for name in (*node.input[:2], *node.output):
        source = name
        while source not in shapes and (maker := made_by.get(source)) is not None:
            if maker.op_type not in ("DequantizeLinear", "QuantizeLinear"):
                break
            source = maker.input[0]
        for candidate in (source, source.removesuffix("_quantized"), name.removesuffix("_QuantizeLinear_Input")):
            if candidate in shapes:
                known[name] = shapes[candidate]
                break
    return known
