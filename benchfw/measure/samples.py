"""What one process measured of a case: which blocks count, and what they say of its latency and throughput."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.blocks import Block
from benchfw.measure.stopping import Evidence
from benchfw.scenario import Case
from benchfw.scenario.plan import BATCH_AXIS
from benchfw.stats import Steady, Summary, steady_state, summarize

MIN_SHARE = 0.5
"""Of the blocks, so many must belong to the last level for it to be a steady state."""


@dataclass
class Sampled:
    """A case and its blocks from one process.

    Attributes:
        case: The case.
        blocks: In the order in which they were run, warm-up and windows included.
        depth: Outstanding inferences of its windows; 1 if its blocks are its windows.
    """

    case: Case
    blocks: list[Block] = field(default_factory=list, kw_only=True)
    depth: int = field(default=1, kw_only=True)
    _steady: tuple[int, Steady | None] = field(default=(0, None), init=False)
    _summary: tuple[int, Summary | None] = field(default=(0, None), init=False)

    def forget(self) -> None:
        """Forget what was found of the blocks so far: other ones count now."""
        self._steady, self._summary = (0, None), (0, None)

    @property
    def has_throughput(self) -> bool:
        """Its inferences follow one another: between those of a flushed cache, the device does something else."""
        return self.case.mode.cache != "flush"

    def batch_of(self, size: int) -> int:
        """Return the samples of one inference at this size of the varying axis."""
        sequence = self.case.sequence
        if sequence is not None and sequence.axis == BATCH_AXIS:
            return size
        return self.case.sizes.get(BATCH_AXIS, 1)

    @property
    def measured(self) -> list[Block]:
        """The blocks of the rounds, without windows."""
        return [block for block in self.blocks if block.phase == "measure"]

    @property
    def steady(self) -> Steady | None:
        """How the case came to its steady state; None if there are too few blocks to say."""
        blocks = self.measured
        if self._steady[0] != len(blocks):
            self._steady = (len(blocks), steady_state(np.array([self._level(block) for block in blocks])))
        return self._steady[1]

    @property
    def steady_kind(self) -> str | None:
        """Its class; None also where the steady part is most of the blocks, but too short to be trusted.

        Then more blocks are lacking, not a steady state.
        """
        steady = self.steady
        if steady is None:
            return None
        most = len(self.measured) - steady.start >= MIN_SHARE * len(self.measured)
        return None if steady.kind == "no_steady" and most else steady.kind

    @property
    def steady_blocks(self) -> list[Block]:
        """The measured blocks that statistics are made of: the steady part, or all if there is none to be seen."""
        steady = self.steady
        return self.measured[steady.start if steady else 0 :]

    @property
    def windows(self) -> list[Block]:
        """What the throughput is made of: windows of the steady part; at depth 1 its blocks; nothing without one."""
        if not self.has_throughput:
            return []
        if self.depth == 1:
            return self.steady_blocks
        blocks = self.steady_blocks
        first = blocks[0].round if blocks else 0
        return [block for block in self.blocks if block.is_window and block.round >= first]

    @property
    def first_call_ns(self) -> int | None:
        """Latency of the first launch of all."""
        return next((int(block.latencies[0]) for block in self.blocks if block.phase == "first"), None)

    @property
    def warmup_s(self) -> float | None:
        """How long it warmed up before its rounds, in seconds."""
        before = itertools.takewhile(lambda block: block.round < 0, self.blocks)
        blocks = [block for block in before if block.phase in ("first", "warmup")]
        return sum(int(block.ends[-1] - block.starts[0]) for block in blocks) / 1e9 or None

    @property
    def measured_s(self) -> float:
        """Time in measured blocks and windows, in seconds."""
        return sum(block.duration_ns for block in self.blocks if block.phase in ("measure", "window")) / 1e9

    @property
    def count(self) -> int:
        """Number of iterations that count, steady or not."""
        return sum(block.n - block.rewarm for block in self.measured)

    @property
    def samples(self) -> NDArray[np.int64]:
        """Latencies of the steady part, in time order."""
        blocks = self.steady_blocks
        return np.concatenate([block.latencies for block in blocks]) if blocks else np.empty(0, np.int64)

    @property
    def summary(self) -> Summary | None:
        """Statistics of the steady part; None if nothing was measured. Intervals cost, so it is kept."""
        blocks = len(self.measured)
        if self._summary[0] != blocks:
            self._summary = (blocks, summarize(self.samples))
        return self._summary[1]

    @property
    def all_samples(self) -> NDArray[np.int64]:
        """Latencies of all measured blocks, steady or not."""
        blocks = self.measured
        return np.concatenate([block.latencies for block in blocks]) if blocks else np.empty(0, np.int64)

    def evidence(self) -> Evidence:
        """Return what the stopping rule looks at."""
        blocks = self.steady_blocks
        return Evidence(
            latencies=np.concatenate([self._chunks(block) for block in blocks]) if blocks else np.empty(0, np.int64),
            windows=self.window_times,
            blocks=len(blocks),
            steady=self.steady,
        )

    def _chunks(self, block: Block) -> NDArray[np.int64]:
        """Return the latencies of a block, or the total time of each chunk of a random sequence."""
        if self.case.sequence is None:
            return block.latencies
        totals: NDArray[np.int64] = block.latencies.reshape(-1, self.case.sequence.chunk_length).sum(axis=1)
        return totals

    def _level(self, block: Block) -> float:
        return float(np.median(self._chunks(block)))

    @property
    def window_times(self) -> NDArray[np.float64]:
        """Time per sample of each window, in ns."""
        return np.array([block.duration_ns / self.work(block) for block in self.windows])

    def work(self, block: Block) -> int:
        """Return the samples that the counted inferences of a block completed."""
        if block.sizes is None:
            return (block.n - block.rewarm) * self.batch_of(0)
        return sum(self.batch_of(int(size)) for size in block.sizes[block.rewarm :])

    @property
    def throughput(self) -> float | None:
        """Samples per second: work over fenced wall time."""
        wall = sum(block.duration_ns for block in self.windows)
        return sum(map(self.work, self.windows)) / wall * 1e9 if wall else None
