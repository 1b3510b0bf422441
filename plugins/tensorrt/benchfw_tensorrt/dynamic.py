"""One context for several shapes and slots. Imported in workers alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchfw.spec import Bound, cuda
from benchfw_tensorrt.base import EngineBackend
from benchfw_tensorrt.slots import TrtBound


class DynamicBackend(EngineBackend):
    """One context for all slots; a launch after that of another slot sets what differs, and is timed."""

    _context: Any = None
    _current: TrtBound | None = None
    _shaped: TrtBound | None = None

    def _prepare(self, bound: TrtBound) -> Callable[[], object]:
        if self._context is None:
            self._context = self._make_context()
        self._shaped = self._current = None  # until all is set, the context fits no slot
        self._set_shapes(self._context, bound)
        self._add_outputs(self._context, bound)
        self._shaped = bound
        execute, stream, launched = self._context.execute_async_v3, self._stream, self._launched

        def launch() -> None:
            if self._current is not bound:
                self._switch(bound)
            if not execute(stream):
                launched(False)

        return launch

    def capture(self, bound: Bound) -> None:
        """Give a slot a context of its own, which keeps what a graph holds on to: no other slot sets its shapes."""
        assert isinstance(bound, TrtBound)
        context = self._make_context()
        self._set(context, bound)
        self._check_capture(context)
        bound.launch = launcher(context, self._stream, self._launched)
        bound.launch()  # what a first launch of a context does cannot be captured
        cuda.synchronize(self._stream)

    def _check_capture(self, context: Any) -> None:
        """Refuse a context whose launches cannot be captured, where TensorRT knows."""

    def _switch(self, bound: TrtBound) -> None:
        """Set shapes if they are others than before, and the addresses of the slot."""
        before, self._shaped, self._current = self._shaped, None, None
        if before is None or before.shapes != bound.shapes or before.profile != bound.profile:
            self._set_shapes(self._context, bound)
        for name, buffer in bound.buffers.items():
            self._context.set_tensor_address(name, buffer.address)
        self._shaped = self._current = bound

    def _leave(self, bound: TrtBound) -> None:
        if self._current is bound:
            self._current = None

    def _drop(self) -> None:
        self._context = self._current = self._shaped = None


def launcher(context: Any, stream: int, launched: Callable[[bool], None]) -> Callable[[], object]:
    """Return what launches a context that nothing else touches."""
    execute = context.execute_async_v3

    def launch() -> None:
        if not execute(stream):
            launched(False)

    return launch
