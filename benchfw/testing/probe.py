"""A backend around another one, for tests: it looks at what the core cannot see. Runs in a worker."""

from __future__ import annotations

import importlib
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from numpy.typing import NDArray

from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import Backend, Bound, Context
from benchfw.spec.tensors import IoSpec, Profile

_LAUNCHES = 5
_SMALL_BYTES = 1024
"""What a line may take without it being called an allocation: arguments, small objects, the frames that are watched."""


class ProbedBackend(Backend):
    """Does what the backend does whose class and options are its own options, and says more of it.

    `facts` has `probe` beside the backend's own: the options that reached it, where its code allocated in `launch`, and
    how it explains what means nothing. `close` closes twice.
    """

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        super().__init__(options, context)
        module, _, name = options["factory"].partition(":")
        package = importlib.import_module(module.partition(".")[0])
        self._code = f"{Path(str(package.__file__)).parent}/" if hasattr(package, "__path__") else str(package.__file__)
        self._inner: Backend = getattr(importlib.import_module(module), name)(options["options"], context)
        self._bound: Bound | None = None

    @property
    def stream(self) -> int | None:
        return self._inner.stream

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        return self._inner.prepare(artifact, profile)

    def load(self, artifact: Artifact) -> IoSpec:
        return self._inner.load(artifact)

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        self._bound = self._inner.bind(slot, inputs)
        return self._bound

    def counters(self) -> Mapping[str, int]:
        return self._inner.counters()

    def facts(self) -> Mapping[str, Any]:
        probe: dict[str, Any] = {
            "options": getattr(self._inner, "options", None),
            "explains_nothing_as": self._explains_nothing_as(),
        }
        if self._bound is not None:
            probe["allocations"] = allocations(self._bound.launch, self._code)
        return {**self._inner.facts(), "probe": probe}

    def explain(self, error: Exception) -> Any:
        return self._inner.explain(error)

    def _explains_nothing_as(self) -> str | None:
        try:
            meaning = self._inner.explain(RuntimeError("nothing in particular"))
        except Exception as error:
            return f"raised {error!r}"
        return None if meaning is None else f"returned {meaning!r}"

    def close(self) -> None:
        self._inner.close()
        self._inner.close()


def allocations(launch: Callable[[], object], code: str) -> dict[str, int]:
    """Return the lines that allocate when `launch` is called, of files whose paths begin with `code`, with bytes.

    What is freed at once counts too: it is the peak of a line that is looked at. What other files do in a call from
    such a line does not count: that is the framework's. What the line does after such a call can be missed.
    """
    launch()
    watch = _Watch(code)
    tracemalloc.start()
    try:
        for _ in range(_LAUNCHES):
            sys.settrace(watch.on_call)
            try:
                launch()
            finally:
                sys.settrace(None)
            watch.settle()
    finally:
        tracemalloc.stop()
    return watch.found


class _Watch:
    """Follows the lines of some files, and the peak of traced memory within each."""

    def __init__(self, code: str) -> None:
        self.found: dict[str, int] = {}
        self._code = code
        self._place: str | None = None
        self._base = 0

    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.settle()
        if self._is_ours(frame):
            return self._in_ours
        frame.f_trace_lines = False
        return self._in_theirs

    def settle(self) -> None:
        """End the stretch that is looked at."""
        if self._place is None:
            return
        grown = tracemalloc.get_traced_memory()[1] - self._base
        if grown > _SMALL_BYTES:
            self.found[self._place] = max(grown, self.found.get(self._place, 0))
        self._place = None

    def _in_ours(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.settle()
        if event == "line":
            self._look(frame)
        elif event == "return":
            self._look(frame.f_back)
        return self._in_ours

    def _in_theirs(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "return":
            self.settle()
            self._look(frame.f_back)
        return self._in_theirs

    def _look(self, frame: FrameType | None) -> None:
        if frame is None or not self._is_ours(frame):
            return
        self._place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        tracemalloc.reset_peak()
        self._base = tracemalloc.get_traced_memory()[0]

    def _is_ours(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename.startswith(self._code)
