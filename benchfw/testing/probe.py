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
from benchfw.spec.layers import LayerProfile
from benchfw.spec.tensors import IoSpec, Profile

_LAUNCHES = 5
_SMALL_BYTES = 1024
"""What a line may take without it being called an allocation: arguments, small objects, the frames that are watched."""


class ProbedBackend(Backend):
    """Does what the backend does whose class and options are its own options, and says more of it.

    Its third option, `framework`, has the top-level modules of the framework.

    `facts` has `probe` beside the backend's own: the options that reached it, where its code allocated in `launch`, and
    how it explains what means nothing. `close` closes twice.
    """

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        super().__init__(options, context)
        module, _, name = options["factory"].partition(":")
        package = importlib.import_module(module.partition(".")[0])
        self._code = f"{Path(str(package.__file__)).parent}/" if hasattr(package, "__path__") else str(package.__file__)
        self._inner: Backend = getattr(importlib.import_module(module), name)(options["options"], context)
        self._framework = frozenset(options["framework"])
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

    def capture(self, bound: Bound) -> Callable[[], object] | None:
        return self._inner.capture(bound)

    def enter_thread(self) -> None:
        self._inner.enter_thread()

    def counters(self) -> Mapping[str, int]:
        return self._inner.counters()

    def facts(self) -> Mapping[str, Any]:
        probe: dict[str, Any] = {
            "options": getattr(self._inner, "options", None),
            "explains_nothing_as": self._explains_nothing_as(),
        }
        if self._bound is not None:
            probe["allocations"] = allocations(self._bound.launch, self._code, self._framework)
        return {**self._inner.facts(), "probe": probe}

    def profile(self, n: int) -> LayerProfile:
        return self._inner.profile(n)

    def explain(self, error: Exception) -> Any:
        return self._inner.explain(error)

    def _explains_nothing_as(self) -> str | None:
        try:
            meaning = self._inner.explain(RuntimeError("nothing in particular"))
        except Exception as error:
            return f"raised {error!r}"
        return None if meaning is None else f"returned {meaning!r}"

    def close(self) -> None:
        self._bound = None  # it may hold what the backend believes to end with its own references
        self._inner.close()
        self._inner.close()


def allocations(launch: Callable[[], object], code: str, framework: frozenset[str] = frozenset()) -> dict[str, int]:
    """Return the lines that allocate when `launch` is called, of files whose paths begin with `code`, with bytes.

    What is freed at once counts too: it is the peak of a line that is looked at. What the framework does is left out:
    other files in a call from such a line, and C functions and methods whose top-level module is in `framework`. What
    cannot be told from the plugin's own counts: classes, callables of types of their own, and functions that name no
    module (`cv2.add`; a method such as `cv2.dnn.Net.forward` is told by its class). What the line does after a call can
    be missed.
    """
    launch()
    watch = _Watch(code, framework)
    tracemalloc.start()
    try:
        for _ in range(_LAUNCHES):
            sys.setprofile(watch.on_c_call)
            sys.settrace(watch.on_call)
            try:
                launch()
            finally:
                sys.settrace(None)
                sys.setprofile(None)
            watch.settle()
    finally:
        tracemalloc.stop()
    return watch.found


class _Watch:
    """Follows the lines of some files, and the peak of traced memory within each."""

    def __init__(self, code: str, framework: frozenset[str]) -> None:
        self.found: dict[str, int] = {}
        self._code = code
        self._framework = framework
        self._away: list[FrameType] = []
        self._place: str | None = None
        self._base = 0

    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.settle()
        if self._is_ours(frame):
            return self._in_ours
        frame.f_trace_lines = False
        return self._in_theirs

    def on_c_call(self, frame: FrameType, event: str, argument: Any) -> None:
        if not event.startswith("c_") or not self._is_ours(frame) or _top_level(argument) not in self._framework:
            return
        if event == "c_call":
            self.settle()
            self._away.append(frame)
        else:
            self._away.pop()
            self._look(frame)

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
        if frame is None or frame in self._away or not self._is_ours(frame):
            return
        self._place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        tracemalloc.reset_peak()
        self._base = tracemalloc.get_traced_memory()[0]

    def _is_ours(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename.startswith(self._code)


def _top_level(function: Any) -> str:
    """Return the top-level module of a C function, or of the class of a C method."""
    module = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
    return str(module).partition(".")[0]
