"""Tensors of two graphs, held against each other in the order of the nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from benchfw.errors import Invalid
from benchfw.spec import accuracy


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """How far one tensor is from the reference's.

    Attributes:
        name: Its name in both graphs.
        rel_l2: Relative L2 distance; None where they cannot be compared.
        max_abs_err: Largest absolute difference; likewise.
        departs: It is beyond its tolerance.
        reason: Why.
    """

    name: str
    rel_l2: float | None
    max_abs_err: float | None
    departs: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A tensor that departs, and the node that computes it.

    Attributes:
        tensor: The tensor.
        op, node: Operator and name of its node.
        inputs: Those inputs of the node that were compared.
        unknown: Inputs that nodes compute and that could not: the reference has none of the name, or of no known type.
        weights: The weights among its inputs.
    """

    tensor: Tensor
    op: str
    node: str
    inputs: tuple[Tensor, ...]
    unknown: tuple[str, ...]
    weights: tuple[str, ...]

    @property
    def begins(self) -> bool:
        """Whether it departs although none of its inputs that were compared does."""
        return not any(tensor.departs for tensor in self.inputs)


def compare_tensor(
    name: str,
    output: NDArray[Any],
    reference: NDArray[Any],
    precision: str,
    tolerance: accuracy.Tolerance | None = None,
) -> Tensor:
    """Say how far a tensor is from what it should be.

    Args:
        name: Its name.
        output: What was computed.
        reference: What it should be; another shape or kind of type is a departure too.
        precision: What it was asked for in.
        tolerance: What is allowed in place of the default of that precision.
    """
    try:
        accuracy.match({name: output}, {name: reference})
    except Invalid as error:
        return Tensor(name=name, rel_l2=None, max_abs_err=None, departs=True, reason=error.message)
    metrics = accuracy.compare(output, reference, precision, tolerance.of(name) if tolerance else None)
    return Tensor(
        name=name,
        rel_l2=metrics["rel_l2"],
        max_abs_err=metrics["max_abs_err"],
        departs=metrics["verdict"] == "fail",
        reason=metrics["reason"],
    )


def departures(
    nodes: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor], inputs: Collection[str] = ()
) -> list[Departure]:
    """Return the tensors that depart, with their nodes, in the order of the nodes.

    Args:
        nodes: Of the suspicious graph.
        tensors: What was compared.
        inputs: Names of the graph's inputs, which are the same for both.
    """
    computed = {name for node in nodes for name in node["outputs"]}
    origins = dequantized(nodes)
    read = {id(node): [origins.get(item, item) for item in node["inputs"]] for node in nodes}
    return [
        Departure(
            tensor=tensors[name],
            op=node["op"],
            node=node["name"],
            inputs=tuple(tensors[item] for item in read[id(node)] if item in tensors),
            unknown=tuple(item for item in read[id(node)] if item in computed and item not in tensors),
            weights=tuple(item for item in read[id(node)] if item and item not in computed and item not in inputs),
        )
        for node in nodes
        for name in node["outputs"]
        if name in tensors and tensors[name].departs
    ]


def dequantized(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what each output of a DequantizeLinear stands for: the tensor that was quantised, or a quantised weight.

    A tensor that is quantised is compared as its readers see it. A quantiser may leave out an activation, and give its
    name to what was computed before, since to quantise clips as well (seen with onnxruntime 1.31: Relu).
    """
    makers = {name: node for node in nodes for name in node["outputs"]}
    origins = {}
    for node in nodes:
        if node["op"] == "DequantizeLinear":
            source = node["inputs"][0]
            maker = makers.get(source)
            quantises = maker is not None and maker["op"] == "QuantizeLinear"
            origins[node["outputs"][0]] = maker["inputs"][0] if maker is not None and quantises else source
    return origins
