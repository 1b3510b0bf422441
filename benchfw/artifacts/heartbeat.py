"""Signs of life of what takes long."""

from __future__ import annotations

import time
from collections.abc import Callable

_HEARTBEAT_S = 5.0


class Heartbeat:
    """Says every few seconds that something still runs, for how long, and how far it is."""

    def __init__(self, what: str, notify: Callable[[str], None], *, at_once: bool = False) -> None:
        self._what = what
        self._notify = notify
        self._begun = time.monotonic()
        self._last = self._begun - (_HEARTBEAT_S if at_once else 0.0)

    def __call__(self, progress: str = "") -> None:
        now = time.monotonic()
        if now - self._last >= _HEARTBEAT_S:
            self._last = now
            self._notify(f"{self._what}: {now - self._begun:.0f} s" + (f", {progress}" if progress else ""))
