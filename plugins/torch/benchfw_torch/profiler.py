"""Layers by PyTorch's own profiler. Imported in workers alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from benchfw.spec.layers import WARMUP, LayerProfile, LayerTime

_INFERENCE = "benchfw: inference"
_MODULE = "benchfw: module "
_ATEN = "aten::"
_US = 1000.0

Key = tuple[str, str]
"""Path of a module, and an operator that its code calls."""


def layers(model: nn.Module, launch: Callable[[], object], n: int) -> LayerProfile:
    """Return what each operator took that the code of a module calls, the operators within it included.

    So the rows are those of the model's code: `layer1.0.conv1` with `conv2d`, and not its four wrappers; the kernel is
    the operator within that takes most of the time.

    Args:
        model: The model; its modules are marked while this runs.
        launch: Runs one inference of it.
        n: Inferences.
    """
    for _ in range(WARMUP):
        launch()
    with _marked(model), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(n):
            with record_function(_INFERENCE):
                launch()
    runs = [event for event in profiler.events() or () if event.name == _INFERENCE]
    found: dict[Key, _Layer] = {}
    for place, run in enumerate(runs):
        for path, event in _operators(run, ""):
            key = path, event.name[len(_ATEN) :]
            found.setdefault(key, _Layer(event, n)).add(place, event)
    return LayerProfile(
        layers=tuple(layer.time(*key, n) for key, layer in found.items()),
        inference_ns=[_US * run.time_range.elapsed_us() for run in runs],
    )


class _Layer:
    """The calls of an operator by one module."""

    def __init__(self, first: Any, n: int) -> None:
        self._first = first
        self._time_ns = [0.0] * n
        self._calls = 0
        self._within: dict[str, list[float]] = {}

    def add(self, place: int, event: Any) -> None:
        self._time_ns[place] += _US * event.time_range.elapsed_us()
        self._calls += 1
        for part in _family(event):
            self._within.setdefault(part.name, []).append(part.self_cpu_time_total)

    def time(self, path: str, op: str, n: int) -> LayerTime:
        kernel = max(self._within, key=lambda name: median(self._within[name]))  # one call may have been interrupted
        return LayerTime(
            name=f"{path}.{op}" if path else op,
            op=op,
            time_ns=self._time_ns,
            calls=max(1, self._calls // n),
            provider="torch",
            kernel=kernel[len(_ATEN) :] if kernel.startswith(_ATEN) else kernel,
            inputs=tuple(tuple(shape) for shape in self._first.input_shapes or () if shape),
        )


def _operators(event: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the outermost operators within an event, with the path of the module whose code calls them."""
    for child in event.cpu_children:
        if child.name.startswith(_MODULE):
            yield from _operators(child, child.name[len(_MODULE) :])
        elif child.name.startswith(_ATEN):
            yield path, child
        else:  # a mark of somebody else, or an operator of an extension: what is within counts
            yield from _operators(child, path)


def _family(event: Any) -> Iterator[Any]:
    yield event
    for child in event.cpu_children:
        yield from _family(child)


@contextlib.contextmanager
def _marked(model: nn.Module) -> Iterator[None]:
    """Mark the calls of all modules in the profile."""
    open_marks: list[Any] = []

    def enter(path: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            mark = record_function(_MODULE + path)
            mark.__enter__()
            open_marks.append(mark)

        return hook

    def leave(*_: Any) -> None:
        open_marks.pop().__exit__(None, None, None)

    handles = []
    for path, module in model.named_modules():
        if path:
            handles.append(module.register_forward_pre_hook(enter(path), prepend=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
