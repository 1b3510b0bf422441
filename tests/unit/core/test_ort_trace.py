"""Layers in a trace as ONNX Runtime writes it."""

from __future__ import annotations

from typing import Any

import pytest

from benchfw.errors import BackendError
from benchfw_onnxruntime.trace import layers

CONV = {
    "op_name": "Conv",
    "provider": "CPUExecutionProvider",
    "node_index": "5",
    "input_type_shape": [{"float": [1, 4, 8, 8]}, {"float": [4, 4, 3, 3]}],
    "output_type_shape": [{"float": [1, 4, 8, 8]}],
}


def run(start: int, *kernels: tuple[str, int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of one inference of 100 µs."""
    events: list[dict[str, Any]] = [{"cat": "Session", "name": "model_run", "ts": start, "dur": 100, "args": {}}]
    for place, (name, dur, about) in enumerate(kernels):
        events.append({"cat": "Node", "name": name, "ts": start + place, "dur": dur, "args": about})
    return events


def test_the_last_inferences_count_each_call_in_its_own() -> None:
    loop = {"op_name": "Add", "node_index": "1"}
    trace = [
        *run(0, ("relu_nchwc_kernel_time", 9000, CONV)),  # warms up
        *run(200, ("relu_nchwc_kernel_time", 30, CONV), ("_kernel_time", 1, loop), ("_kernel_time", 2, loop)),
        *run(400, ("relu_nchwc_kernel_time", 50, CONV), ("_kernel_time", 3, loop), ("_kernel_time", 4, loop)),
    ]
    profile = layers(trace[::-1], 2, "fp16")
    conv, add = profile.layers
    assert list(profile.inference_ns) == [100_000.0, 100_000.0]
    assert (conv.name, conv.op, list(conv.time_ns), conv.calls) == ("relu_nchwc", "Conv", [30_000.0, 50_000.0], 1)
    assert (conv.provider, conv.precision, conv.nodes) == ("CPUExecutionProvider", "fp32", ("relu",))
    assert (conv.inputs, conv.outputs) == (((1, 4, 8, 8), (4, 4, 3, 3)), ((1, 4, 8, 8),))
    assert (add.name, list(add.time_ns), add.calls, add.nodes) == ("Add_1", [3_000.0, 7_000.0], 2, ())
    assert add.precision == "fp16"


def test_a_trace_that_ended_early_is_refused() -> None:
    with pytest.raises(BackendError, match="1 of 2 inferences"):
        layers(run(0, ("a_kernel_time", 1, CONV)), 2, "fp32")
