"""Memory: shapes that ran out of it, so that larger ones are spared, and whether there is enough for one more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchfw.errors import BackendError
from benchfw.measure.session import LiveSession
from benchfw.scenario import Case
from benchfw.store.provenance import memory_available

RESERVE = 1.5
"""Peak memories of the largest worker that must be available for another one to be started beside it."""


class SparedMemory(BackendError):
    """A smaller shape ran out of memory: this one was not tried."""

    status = "SKIPPED"


class Exhausted:
    """What ran out of memory, by session."""

    def __init__(self) -> None:
        self._sizes: dict[str, list[Mapping[str, int]]] = {}

    def note(self, case: Case) -> None:
        """Note that a case ran out of memory. Of a mixture one does not know which of its sizes was too much."""
        if case.sequence is None:
            self._sizes.setdefault(case.session.session_id, []).append(_largest(case))

    def spare(self, case: Case) -> None:
        """Leave a case alone that is larger than one of its session that ran out of memory.

        Raises:
            SparedMemory: It is larger in at least one axis and smaller in none.
        """
        sizes = _largest(case)
        for exhausted in self._sizes.get(case.session.session_id, []):
            larger = sizes != exhausted or case.sequence is not None
            if larger and all(sizes.get(axis, 0) >= size for axis, size in exhausted.items()):
                shape = ", ".join(f"{axis} {size}" for axis, size in exhausted.items())
                raise SparedMemory(f"{shape} ran out of memory, and this is larger")


def memory_is_short(sessions: Iterable[LiveSession]) -> bool:
    """Say whether the host or a device may have too little memory for one more worker, judged by the largest so far."""
    sessions = list(sessions)
    largest = max((session.peak_rss_bytes for session in sessions), default=0)
    available = memory_available()
    if available is not None and available < RESERVE * largest:
        return True
    devices = [session.device_memory for session in sessions if session.is_open and session.device_memory]
    free = min((memory["free_bytes"] for memory in devices), default=0)
    return free < RESERVE * max((memory["peak_bytes"] for memory in devices), default=0)


def _largest(case: Case) -> dict[str, int]:
    """Return the size of every axis, the largest one of an axis that varies."""
    varying = {case.sequence.axis: max(case.sequence.sizes)} if case.sequence else {}
    return {**case.sizes, **varying}
