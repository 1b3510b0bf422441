"""Layers in a trace of ONNX Runtime (`enable_profiling`). Standard library and numpy only."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchfw.errors import BackendError
from benchfw.spec.layers import LayerProfile, LayerTime

_KERNEL = "_kernel_time"
_BLOCKED = "_nchwc"
"""What is added to the name of the tensor that a node makes, where it computes in blocks of channels."""
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}

Event = Mapping[str, Any]


def layers(trace: Sequence[Event], n: int, precision: str) -> LayerProfile:
    """Return the layers of the last `n` inferences of a trace, in the order in which they ran first.

    Args:
        trace: Its events; `dur` and `ts` are in microseconds.
        n: Inferences.
        precision: That of the model, for kernels that tell no types.

    Raises:
        BackendError: The trace is not whole.
    """
    runs = sorted((event for event in trace if event["name"] == "model_run"), key=lambda event: event["ts"])[-n:]
    if len(runs) < n:
        raise BackendError(f"onnxruntime: the trace has {len(runs)} of {n} inferences", hint="profile fewer inferences")
    starts = [event["ts"] for event in runs]
    times: dict[tuple[str, str], Any] = {}
    calls: dict[tuple[str, str], int] = {}
    first: dict[tuple[str, str], Event] = {}
    kernels = [event for event in trace if event["name"].endswith(_KERNEL) and event["ts"] >= starts[0]]
    for event in sorted(kernels, key=lambda event: event["ts"]):
        key = event["name"], event["args"].get("node_index", "")
        first.setdefault(key, event)
        calls[key] = calls.get(key, 0) + 1
        times.setdefault(key, np.zeros(n))[bisect.bisect_right(starts, event["ts"]) - 1] += 1000.0 * event["dur"]
    found = [_layer(first[key], taken, max(1, calls[key] // n), precision) for key, taken in times.items()]
    return LayerProfile(layers=tuple(found), inference_ns=[1000.0 * event["dur"] for event in runs])


def _layer(event: Event, time_ns: Any, calls: int, precision: str) -> LayerTime:
    about = event["args"]
    name = event["name"][: -len(_KERNEL)]
    op = about.get("op_name", "")
    inputs, outputs = about.get("input_type_shape", []), about.get("output_type_shape", [])
    kinds = [kind for item in (*inputs, *outputs) for kind in item]
    known = [_PRECISIONS[kind] for kind in kinds if kind in _PRECISIONS]
    return LayerTime(
        name=name or f"{op}_{about.get('node_index', '')}",
        op=op,
        time_ns=time_ns,
        calls=calls,
        provider=about.get("provider", ""),
        precision=known[0] if known else kinds[0] if kinds else precision,
        inputs=_shapes(inputs),
        outputs=_shapes(outputs),
        nodes=(name[: -len(_BLOCKED)] if name.endswith(_BLOCKED) else name,) if name else (),
    )


def _shapes(items: Sequence[Mapping[str, Sequence[int]]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(shape) for item in items for shape in item.values())
