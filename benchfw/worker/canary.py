"""Fixed pieces of work whose times tell how fast this core, and the memory beside it, run just now."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchfw.worker.clocks import now

_WORDS = 1 << 14
_REPEATS = 40
_SIDE = 64
"""Of the matrices. OpenBLAS multiplies up to 64 x 64 x 64 in the calling thread, however many it may use (the bound is
`SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD` in its interface/gemm.c)."""
_PRODUCTS = 8
_PRODUCT_REPEATS = 100
_COPY_WORDS = 1 << 19
"""2 MiB there and 2 MiB back, more than a second-level cache holds. Tens of MiB, which no cache holds, vary by 5 % from
look to look on a machine that others share, and could not show a change of 1 %."""
_COPY_REPEATS = 300


class Canary:
    """One thread, one core: square roots that stay in the second-level cache, a product, a copy.

    Every part is the shortest of some repetitions in ns: what disturbs one only lengthens it.
    """

    def __init__(self) -> None:
        self._source = np.linspace(1.0, 2.0, _WORDS, dtype=np.float32)
        self._target = np.empty_like(self._source)
        self._copied: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def look(self) -> int:
        """Return the time of the square roots in ns; takes a millisecond."""
        sqrt, source, target = np.sqrt, self._source, self._target

        def roots() -> None:
            sqrt(source, out=target)
            sqrt(target, out=target)

        return _shortest(roots, _REPEATS)

    def whole(self) -> dict[str, int]:
        """Return the times of all parts in ns: `roots_ns`, `product_ns`, `copy_ns`; takes some 20 ms.

        The 4 MiB of the copy are kept: which pages it gets changes its time by about 1 %.
        """
        if self._copied is None:
            self._copied = np.ones(_COPY_WORDS, np.float32), np.zeros(_COPY_WORDS, np.float32)
        source, target = self._copied
        left = np.linspace(0.5, 1.5, _SIDE * _SIDE, dtype=np.float32).reshape(_SIDE, _SIDE)
        product = np.empty_like(left)

        def multiply() -> None:
            for _ in range(_PRODUCTS):
                np.matmul(left, left, out=product)

        return {
            "roots_ns": self.look(),
            "product_ns": _shortest(multiply, _PRODUCT_REPEATS),
            "copy_ns": _shortest(lambda: np.copyto(target, source), _COPY_REPEATS),
        }


def _shortest(work: Callable[[], object], repeats: int) -> int:
    best = 1 << 62
    for _ in range(repeats):
        start = now()
        work()
        best = min(best, now() - start)
    return best
