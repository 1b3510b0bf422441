"""What TensorRT's inspector tells of an engine's layers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_TYPES = (  # the first that fits, in what the inspector says of a tensor's format
    (r"\bBF16\b|BFloat16", "bf16"),
    (r"\bFP16\b|\bHalf\b", "fp16"),
    (r"\bFP32\b|\bFloat\b", "fp32"),
    (r"\bFP8\b", "fp8"),
    (r"\bInt8\b|\bINT8\b", "int8"),
)
_PRODUCT = re.compile(r"conv|gemm|matrix|matmul|fully", re.IGNORECASE)
"""Types of layers that multiply: what they compute in is the precision of an engine."""

_NAME = re.compile(r'"Name"\s*:\s*"([^"]*)"')
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: As the profiler calls it.
        type: As `CaskConvolution`; empty if the engine was built to tell names alone.
        tactic: Name of the kernel, where that is told.
        precision: Type of its first input; empty where it is none of benchfw's precisions.
        inputs, outputs: Shapes, -1 for a dynamic axis.
        nodes: Nodes of the ONNX model that it computes, where that is told.
    """

    name: str
    type: str = ""
    tactic: str = ""
    precision: str = ""
    inputs: tuple[tuple[int, ...], ...] = ()
    outputs: tuple[tuple[int, ...], ...] = ()
    nodes: tuple[str, ...] = ()


def inspect(trt: Any, engine: Any) -> list[Layer]:
    """Return the layers of a loaded engine."""
    inspector, form = engine.create_engine_inspector(), trt.LayerInformationFormat.JSON
    return [read_layer(inspector.get_layer_information(place, form)) for place in range(engine.num_layers)]


def read_layer(text: str) -> Layer:
    """Return a layer that the inspector describes as JSON.

    TensorRT 8.6 separates nodes by a control character, which strict JSON does not have in a string.
    """
    try:
        item = json.loads(text.strip("\0 \n"), strict=False)
    except ValueError:
        named = _NAME.search(text)
        return Layer(name=named[1] if named else text.strip())
    return _layer(item)


def effective_precision(layers: Iterable[Layer], asked: str) -> str:
    """Return the precision that most layers that multiply compute in.

    TF32 is not told: fp32 layers of an engine for which it was asked are taken to use it. `asked` is the answer where
    no layer tells what it computes in.
    """
    counts = Counter(layer.precision for layer in layers if layer.precision and _PRODUCT.search(layer.type))
    if not counts:
        return asked
    (most, _), *_ = counts.most_common(1)
    return asked if (most, asked) == ("fp32", "tf32") else most


def _layer(item: Any) -> Layer:
    if not isinstance(item, Mapping):  # names alone
        return Layer(name=str(item))
    inputs, outputs = (_tensors(item.get(key)) for key in ("Inputs", "Outputs"))
    return Layer(
        name=str(item.get("Name", "")),
        type=str(item.get("LayerType", "")),
        tactic=str(item.get("TacticName", "")),
        precision=_precision(inputs[0]) if inputs else "",
        inputs=tuple(map(_shape, inputs)),
        outputs=tuple(map(_shape, outputs)),
        nodes=tuple(_NODE.findall(str(item.get("Metadata", "")))),
    )


def _tensors(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _shape(tensor: Mapping[str, Any]) -> tuple[int, ...]:
    dims = tensor.get("Dimensions", ())
    return tuple(dim for dim in dims if isinstance(dim, int)) if isinstance(dims, (list, tuple)) else ()


def _precision(tensor: Mapping[str, Any]) -> str:
    words = " ".join(str(tensor.get(key, "")) for key in ("Format/Datatype", "Datatype"))  # one field until TensorRT 11
    return next((name for pattern, name in _TYPES if re.search(pattern, words)), "")
