"""A fixed piece of work whose time tells how fast this core runs just now."""

from __future__ import annotations

import numpy as np

from benchfw.worker.clocks import now

_WORDS = 1 << 14
_REPEATS = 40


class Canary:
    """One thread, one core, 128 KiB: square roots that stay in the second-level cache."""

    def __init__(self) -> None:
        self._source = np.linspace(1.0, 2.0, _WORDS, dtype=np.float32)
        self._target = np.empty_like(self._source)

    def look(self) -> int:
        """Return the shortest of some repetitions in ns. The minimum, because what disturbs one only lengthens it."""
        sqrt, source, target = np.sqrt, self._source, self._target
        best = 1 << 62
        for _ in range(_REPEATS):
            start = now()
            sqrt(source, out=target)
            sqrt(target, out=target)
            best = min(best, now() - start)
        return best
