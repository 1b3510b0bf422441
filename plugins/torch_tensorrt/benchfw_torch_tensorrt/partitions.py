"""What became of a graph: how many engines, and which operators stayed with PyTorch."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

ENGINE_CLASSES = ("TorchTensorRTModule", "PythonTorchTensorRTModule")
"""Of `torch_tensorrt.dynamo.runtime`: modules that hold an engine. The second one is gone from 2.13 on."""


@dataclass(frozen=True, kw_only=True)
class Partitions:
    """The parts of a compiled graph.

    Attributes:
        engines: Engines of TensorRT.
        engine_operators: Operators in them; where torch-tensorrt does not say, one per engine.
        torch_parts: Parts between them that PyTorch runs; operators that stand in the graph itself are one.
        torch_operators: Operators in these, and how often.
    """

    engines: int
    engine_operators: int
    torch_parts: int
    torch_operators: Mapping[str, int]

    def facts(self, provider: str) -> dict[str, Any]:
        """Return them as facts; `nodes` is what tells a fallback (V05)."""
        return {
            "nodes": {provider: self.engine_operators, "torch": sum(self.torch_operators.values())},
            "engines": self.engines,
            "torch_partitions": self.torch_parts,
            "torch_operators": dict(self.torch_operators),
        }


def partitions(module: fx.GraphModule, runtime: Any, told: list[int]) -> Partitions:
    """Count the parts of a compiled graph.

    Args:
        module: Returned by `torch_tensorrt.dynamo.compile`: engines and graphs of PyTorch are its children.
        runtime: `torch_tensorrt.dynamo.runtime`.
        told: Operators of each engine, as torch-tensorrt reports them.
    """
    classes = tuple(getattr(runtime, name) for name in ENGINE_CLASSES if hasattr(runtime, name))
    engines = sum(isinstance(child, classes) for child in module.children())
    graphs = [child for child in module.children() if isinstance(child, fx.GraphModule)]
    left = [found for graph in (module, *graphs) if (found := _operators(graph))]
    total: Counter[str] = Counter()
    for found in left:
        total.update(found)
    return Partitions(
        engines=engines,
        engine_operators=sum(told) if len(told) == engines else engines,
        torch_parts=len(left),
        torch_operators=dict(sorted(total.items())),
    )


def _operators(graph: fx.GraphModule) -> Counter[str]:
    """Return what a graph computes on tensors by itself, in its parts not: sizes and tuples cost the device nothing."""
    return Counter(
        str(node.target) for node in graph.graph.nodes if node.op in ("call_function", "call_method") and _counts(node)
    )


def _counts(node: fx.Node) -> bool:
    sizes = (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool)
    return node.target is not operator.getitem and not isinstance(node.meta.get("val"), sizes)
