"""Times of layers, as TensorRT's profiler tells them. TensorRT itself is given as an argument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchfw.errors import BackendError
from benchfw.spec.layers import LayerTime
from benchfw_tensorrt.inspector import Layer


class Timeline:
    """What a profiler was told, in order."""

    def __init__(self, trt: Any) -> None:
        self._told: list[tuple[str, float]] = []
        told = self._told

        class Profiler(trt.IProfiler):
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)  # pybind11 does not want super() here

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                told.append((layer_name, ms))

        self.profiler = Profiler()

    def clear(self) -> None:
        """Forget what was told."""
        self._told.clear()

    def rounds(self, n: int) -> list[list[tuple[str, float]]]:
        """Return what was told of each of `n` inferences: layers in order, and their times in ms.

        Raises:
            BackendError: It cannot be divided by them.
        """
        count, rest = divmod(len(self._told), n)
        if rest or not count:
            raise BackendError(f"TensorRT's profiler told {len(self._told)} times of layers in {n} inferences")
        return [self._told[place * count : (place + 1) * count] for place in range(n)]


def layer_times(rounds: Sequence[Sequence[tuple[str, float]]], layers: Sequence[Layer]) -> Iterator[LayerTime]:
    """Yield the layers of a profile in order, with what the inspector knows of them.

    The profiler tells of those too for which nothing runs (`NoOp`, a reshape of what lies there as it should): 0 ms.

    Args:
        rounds: What the profiler told of each inference.
        layers: Of the engine.
    """
    known: Mapping[str, Layer] = {layer.name: layer for layer in layers}
    names = list(dict.fromkeys(name for one in rounds for name, _ in one))
    ran = {name for one in rounds for name, ms in one if ms} or {*names}
    for name in (name for name in names if name in ran):
        layer = known.get(name, Layer(name=name))
        yield LayerTime(
            name=name,
            op=layer.type or "layer",
            time_ns=[1e6 * sum(ms for told, ms in one if told == name) for one in rounds],
            calls=max(sum(told == name for told, _ in one) for one in rounds),
            kernel=layer.tactic,
            precision=layer.precision,
            inputs=layer.inputs,
            outputs=layer.outputs,
            nodes=layer.nodes,
        )
