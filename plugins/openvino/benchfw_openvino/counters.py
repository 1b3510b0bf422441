"""Layers in the performance counters of OpenVINO (`PERF_COUNT`). Imported in workers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import openvino as ov

from benchfw.spec.layers import LayerTime

_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_S = 1e9


def layers(compiled: ov.CompiledModel, inferences: Sequence[Sequence[Any]]) -> tuple[LayerTime, ...]:
    """Return the layers that ran, in the order of the model as it was compiled.

    Args:
        compiled: The model; it knows which nodes of the original each of its nodes computes.
        inferences: The counters (`profiling_info`) after each inference.
    """
    about = {node.get_friendly_name(): node for node in compiled.get_runtime_model().get_ops()}
    times: dict[str, list[float]] = {}
    for place, counters in enumerate(inferences):
        for counter in counters:
            taken = times.setdefault(counter.node_name, [0.0] * len(inferences))
            taken[place] += _S * counter.real_time.total_seconds()
    ran = [counter for counter in inferences[-1] if any(times[counter.node_name])]
    return tuple(_layer(counter, times[counter.node_name], about.get(counter.node_name)) for counter in ran)


def _layer(counter: Any, time_ns: Sequence[float], node: Any) -> LayerTime:
    info: Mapping[str, Any] = node.get_rt_info() if node is not None else {}
    precision = _text(info, "runtimePrecision") or counter.exec_type.rpartition("_")[2].lower()
    return LayerTime(
        name=counter.node_name,
        op=counter.node_type,
        time_ns=time_ns,
        provider="CPU",
        kernel=counter.exec_type,
        precision=_PRECISIONS.get(precision, precision),
        inputs=_shapes(node.inputs()) if node is not None else (),
        outputs=_shapes(node.outputs()) if node is not None else (),
        nodes=tuple(filter(None, _text(info, "originalLayersNames").split(","))),
    )


def _text(info: Mapping[str, Any], key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _shapes(ports: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that are known; one of a dynamic model is not."""
    shapes = [port.get_partial_shape() for port in ports]
    return tuple(tuple(shape.to_shape()) for shape in shapes) if all(shape.is_static for shape in shapes) else ()
