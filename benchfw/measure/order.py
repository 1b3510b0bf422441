"""What a case launches next: its sets of inputs in turn, its random sequence in whole chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.blocks import BLOCK_NS, KEEP_MIN, REWARM_MAX, REWARM_NS
from benchfw.measure.slots import Slots
from benchfw.scenario.sequence import BatchSequence
from benchfw.worker.loops import MAX_BLOCK


class Order:
    """The slots of a case in the order in which they are launched, from one block to the next.

    Args:
        sequence: Random sizes of the varying axis; None for a case of one shape.
        slots: Of the case.
    """

    def __init__(self, sequence: BatchSequence | None, slots: Slots) -> None:
        self.slots = slots
        self._sequence = sequence
        self._expected_ns: dict[int, float] = {}
        self._chunk = 0
        self._set = 0

    def rewind(self) -> None:
        """Begin anew: what is measured is the same for all, however long each one warmed up."""
        self._chunk = 0
        self._set = 0

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Go on after a `with` block from where it began."""
        place = self._chunk, self._set
        try:
            yield
        finally:
            self._chunk, self._set = place

    # --- how long things take -----------------------------------------------------------------------------------

    def expect(self, place: int, latency_ns: float) -> None:
        """Note how long an inference of a size takes, from the last warm-up."""
        self._expected_ns[place] = max(1.0, latency_ns)

    def expected_ns(self, place: int) -> float:
        """Return how long an inference of a size probably takes."""
        return self._expected_ns.get(place, 1e9)

    def expected_s(self, slots: Sequence[int]) -> float:
        """Return how long some slots probably take, one after the other, in seconds."""
        return sum(self.expected_ns(self.slots.place_of(slot)) for slot in slots) / 1e9

    # --- what comes next ----------------------------------------------------------------------------------------

    def block(self) -> tuple[list[int], int | None]:
        """Return the slots of a block of the length that is aimed at, and how many of them only warm up again.

        None leaves that to the time they take. Of a sequence whole chunks are measured, so that iterations that only
        warm up come in addition.
        """
        if self._sequence is None:
            return self._sets(min(MAX_BLOCK, max(KEEP_MIN + 1, round(BLOCK_NS / self.expected_ns(0))))), None
        slots = self._chunks(1)
        rewarm = self._rewarm_count(slots)
        return slots[-rewarm:] + slots, rewarm

    def window(self, depth: int) -> list[int]:
        """Return the slots of the first lane that fill a window of `depth` inferences at once."""
        if self._sequence is None:
            return self._sets(min(MAX_BLOCK, max(2 * depth, round(depth * BLOCK_NS / self.expected_ns(0)))))
        return self._chunks(depth)

    def sizes_of(self, slots: Sequence[int]) -> NDArray[np.int32] | None:
        """Return the size of the varying axis of each slot; None for a case of one shape."""
        if self._sequence is None:
            return None
        return np.array([self.slots.size_of(slot) for slot in slots], np.int32)

    def _sets(self, n: int) -> list[int]:
        """Return `n` slots of a case of one shape, going round its sets of inputs."""
        sets = list(islice(cycle(range(self.slots.sets)), self._set, self._set + n))
        self._set = (self._set + n) % self.slots.sets
        return sets

    def _chunks(self, depth: int) -> list[int]:
        """Return the slots of whole chunks of the sequence, as many as `depth` lanes probably do in a block's time."""
        sequence = self._sequence
        assert sequence is not None
        sizes = self.slots.sizes
        mean = float(np.mean([self.expected_ns(place) for place in range(len(sizes))]))
        room = (MAX_BLOCK - REWARM_MAX) // sequence.chunk_length
        chunks = max(1, min(room, round(depth * BLOCK_NS / (mean * sequence.chunk_length))))
        place_of = {size: place for place, size in enumerate(sizes)}
        drawn = [size for index in range(chunks) for size in sequence.chunk(self._chunk + index)]
        self._chunk += chunks
        return [self.slots.of(place_of[size], set_) for size, set_ in zip(drawn, self._sets(len(drawn)), strict=True)]

    def _rewarm_count(self, slots: Sequence[int]) -> int:
        """Return how many iterations go before whole chunks, so that none of these is spent on warming up."""
        total = 0.0
        for count, slot in enumerate(reversed(slots[-REWARM_MAX:]), start=1):
            total += self.expected_ns(self.slots.place_of(slot))
            if total >= REWARM_NS:
                return count
        return min(REWARM_MAX, len(slots))
