"""What the nodes of an ONNX graph have to do, at concrete sizes: multiplications, bytes, parameters (roofline facts).

Counted as the field does: one multiply-accumulate (MAC) is two floating point operations (FLOP); operators without
products of sums (activations, normalisations, pooling, moving of data) count none. Bytes are those of every tensor that
a node reads and writes, as if each came from memory: what a runtime fuses or keeps in a cache moves less.
Arithmetic intensity is FLOP over bytes (Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009).

`onnx` is imported when a graph is read.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchfw.spec.operators import VIEWS, Shape, macs

if TYPE_CHECKING:
    import onnx

_DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Those whose operators `benchfw.spec.operators` knows."""

_NO_PARAMETERS = VIEWS | {"Clip", "Pad", "Range", "Resize", "Upsample"}
_PARAMETERS_AT = {
    "QuantizeLinear": (0,),
    "DequantizeLinear": (0,),
    "Gather": (0,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "QGemm": (3,),
}
"""Inputs that are parameters, of operators that have other constants too."""

_PARAMETER = re.compile(r"B?FLOAT|DOUBLE|U?INT(2|4|8|32)$")
"""Types of parameters; int32 is that of quantised biases."""
_SIZED = re.compile(r"(?:U?INT|B?FLOAT|COMPLEX)([0-9]+)")


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What one node of a graph has to do in one inference.

    Attributes:
        name: As in the graph; its first output where it has none.
        named: Whether the graph gives it a name.
        op: Operator, with its domain if that is not ONNX's.
        inputs, outputs: Names of its tensors.
        macs: Multiply-accumulates; None where operator or shapes are not known.
        parameters: Weights that are counted with it: those of which it is the first user.
        weight_bytes: Bytes of weights that it reads.
        input_bytes: Bytes of other inputs; None where a shape is not known.
        output_bytes: Bytes of outputs; None where a shape is not known.
    """

    name: str
    named: bool
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int | None
    parameters: int
    weight_bytes: int
    input_bytes: int | None
    output_bytes: int | None

    @property
    def bytes(self) -> int | None:
        """Bytes that it reads and writes."""
        if self.input_bytes is None or self.output_bytes is None:
            return None
        return self.weight_bytes + self.input_bytes + self.output_bytes


@dataclass(frozen=True)
class GraphFacts:
    """What a graph has to do in one inference; sums leave out what is not known.

    Attributes:
        nodes: In the order of the graph.
    """

    nodes: tuple[NodeFacts, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, without those of `unknown` operators."""
        return sum(node.macs or 0 for node in self.nodes)

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.macs

    @property
    def parameters(self) -> int:
        """Elements of weights: tensors of the model of a floating or quantised type, each counted once."""
        return sum(node.parameters for node in self.nodes)

    @property
    def bytes(self) -> int:
        """Bytes that all nodes read and write."""
        return sum(node.bytes or 0 for node in self.nodes)

    @property
    def intensity(self) -> float | None:
        """Arithmetic intensity in FLOP per byte; None for a graph that moves nothing."""
        return self.flops / self.bytes if self.bytes else None

    @property
    def unknown(self) -> dict[str, int]:
        """Operators whose multiply-accumulates are not known, or their shapes are not, and how often they occur."""
        return dict(Counter(node.op for node in self.nodes if node.macs is None))

    def find(self, name: str) -> NodeFacts | None:
        """Return the node of this name, else the one that makes the tensor of this name, else the one of this place.

        Runtimes call a node without a name by operator and place in the graph, without its constants: `MatMul_2`.
        """
        return self._by_name.get(name) or self._by_output.get(name) or self._by_place.get(name)

    @cached_property
    def _by_name(self) -> dict[str, NodeFacts]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _by_place(self) -> dict[str, NodeFacts]:
        places = enumerate(node for node in self.nodes if node.op != "Constant")
        return {f"{node.op}_{place}": node for place, node in places if not node.named}

    @cached_property
    def _by_output(self) -> dict[str, NodeFacts]:
        return {output: node for node in self.nodes for output in node.outputs}


def graph_facts(path: Path, shapes: Mapping[str, Shape]) -> GraphFacts:
    """Return what every node of an ONNX file has to do at concrete sizes. External data is not read.

    Subgraphs (`If`, `Loop`, `Scan`) are not looked into: their nodes are unknown operators.

    Args:
        path: The file.
        shapes: Shapes of the graph's inputs by their names; others keep theirs.

    Raises:
        BuildFailed: The file cannot be read, or its shapes contradict each other.
    """
    from benchfw.spec.onnx_shapes import inferred

    model = inferred(path, shapes)
    tensors = _Tensors(model.graph)
    return GraphFacts(tuple(tensors.facts(node) for node in model.graph.node))


class _Tensors:
    """Shapes and types of the tensors of a graph, and the elements of weights that no node was counted with yet."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import TensorProto

        names = {kind: name for name, kind in TensorProto.DataType.items()}
        self._bits = {kind: _bits(name) for kind, name in names.items()}
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        self._types: dict[str, int] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
            known_dims = [dim for dim in dims if dim is not None]
            whole = tensor.HasField("shape") and len(known_dims) == len(dims)
            self._shapes[value.name] = tuple(known_dims) if whole else None
            self._types[value.name] = tensor.elem_type
        weights = [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer), *_constants(graph)]
        self._weights = {tensor.name for tensor in weights}
        self._elements = {
            tensor.name: math.prod(tensor.dims) for tensor in weights if _PARAMETER.match(names[tensor.data_type])
        }
        for tensor in weights:
            self._shapes[tensor.name] = tuple(tensor.dims)
            self._types[tensor.name] = tensor.data_type

    def facts(self, node: onnx.NodeProto) -> NodeFacts:
        names = tuple(name for name in node.input if name)
        outputs = tuple(name for name in node.output if name)
        op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        read = [self._bytes(name) for name in names if name not in self._weights]
        written = [self._bytes(name) for name in outputs]
        weight_bytes = sum(self._bytes(name) or 0 for name in names if name in self._weights)
        input_bytes, output_bytes = _total(read), _total(written)
        if op in VIEWS:
            weight_bytes = input_bytes = output_bytes = 0
        elif op == "Gather" and output_bytes is not None:  # of a table it reads the rows that it gives
            weight_bytes, input_bytes = min(weight_bytes, output_bytes), min(input_bytes or 0, output_bytes)
        shapes = [self._shapes.get(name) if name else None for name in node.input]
        known = node.domain in _DOMAINS
        return NodeFacts(
            name=node.name or (outputs[0] if outputs else op),
            named=bool(node.name),
            op=op,
            inputs=names,
            outputs=outputs,
            macs=macs(node.op_type, shapes, [self._shapes.get(name) for name in outputs]) if known else None,
            parameters=sum(self._elements.pop(name, 0) for name in _with_parameters(node)),
            weight_bytes=weight_bytes,
            input_bytes=input_bytes,
            output_bytes=output_bytes,
        )

    def _bytes(self, name: str) -> int | None:
        shape, bits = self._shapes.get(name), self._bits.get(self._types.get(name, 0))
        return None if shape is None or bits is None else -(-math.prod(shape) * bits // 8)


def _with_parameters(node: onnx.NodeProto) -> list[str]:
    """Return the inputs of a node that may be parameters: no scale, zero point, bound or shape is one."""
    inputs = list(node.input)
    if node.op_type in _NO_PARAMETERS:
        return []
    places = _PARAMETERS_AT.get(node.op_type)
    return inputs if places is None else [inputs[place] for place in places if place < len(inputs)]


def _constants(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Return the tensors of `Constant` nodes, under the names of their outputs."""
    found = []
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                attribute.t.name = node.output[0]
                found.append(attribute.t)
    return found


def _bits(name: str) -> int | None:
    """Return the bits of an element of a type; None where that is not one number."""
    found = _SIZED.match(name)
    return int(found[1]) if found else {"FLOAT": 32, "DOUBLE": 64, "BOOL": 8}.get(name)


def _total(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
