"""Blocks run with the garbage collector off."""

from __future__ import annotations

import gc
from collections.abc import Callable


def quiet(block: Callable[[], object]) -> int:
    """Run a block with the garbage collector off, and return how often it ran all the same.

    What is alive before the block is frozen and stays so: a full collection with a framework loaded takes
    hundreds of milliseconds, and it is paid between all blocks if the objects are thawed each time.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    before = _collections()
    try:
        block()
        return _collections() - before
    finally:
        gc.enable()


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())
