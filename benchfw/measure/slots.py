"""Which slot holds what: one per size of the varying axis, set of inputs, and lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MIN_SETS = 4
MAX_SETS = 16
MAX_BYTES = 256 << 20
"""Servers have last-level caches of hundreds of MiB: slots of that size would take the memory of what is measured."""

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Slots:
    """The slots of one case.

    Attributes:
        sizes: Sizes of the varying axis; `(0,)` for a case of one shape.
        sets: Sets of inputs of each size.
    """

    sizes: Sequence[int]
    sets: int

    @property
    def per_lane(self) -> int:
        return len(self.sizes) * self.sets

    def of(self, place: int, set_: int = 0, lane: int = 0) -> int:
        """Return the slot of a size (by its place), a set and a lane."""
        return lane * self.per_lane + place * self.sets + set_

    def size_of(self, slot: int) -> int:
        """Return the size that a slot is bound to."""
        return self.sizes[self.place_of(slot)]

    def place_of(self, slot: int) -> int:
        """Return the place of that size."""
        return slot % self.per_lane // self.sets

    def set_of(self, slot: int) -> int:
        """Return the set of inputs that a slot is bound to."""
        return slot % self.sets


def sets_to_rotate(set_bytes: int, sizes: int, cache_bytes: int | None) -> int:
    """Return how many sets of inputs a case rotates over: enough to exceed the last-level cache, within limits.

    Inputs that are used again and again stay in a cache that they would not be in if they came from outside
    (measurement.md §2.5 calls it `rotate`). A mixture of four sizes and more goes round different inputs anyway.

    Args:
        set_bytes: Bytes of one set of the largest size.
        sizes: Sizes of the varying axis.
        cache_bytes: Of the last-level cache, or None.
    """
    if sizes >= MIN_SETS:
        return 1
    wanted = max(MIN_SETS, -(-(cache_bytes or 0) // max(1, set_bytes)))
    fitting = max(1, MAX_BYTES // max(1, set_bytes))
    return min(wanted, MAX_SETS, max(2, fitting))


@cache
def last_level_cache_bytes(caches: Path = _CACHES) -> int | None:
    """Return the size of this machine's last-level cache; None where the kernel does not say."""
    sizes = []
    for folder in sorted(caches.glob("index[0-9]*")):
        try:
            text = (folder / "size").read_text().strip()
            sizes.append(int(text.removesuffix("K")) * 1024 if text.endswith("K") else int(text))
        except (OSError, ValueError):
            continue
    return max(sizes, default=None)
