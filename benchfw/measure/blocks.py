"""Blocks and windows as they came back from a worker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import ProtocolError
from benchfw.measure.host import HostTimes
from benchfw.worker.protocol import Message

BLOCK_NS = 100_000_000
"""Length of a block that is aimed at; a block is 50 to 200 ms unless three iterations take longer."""

REWARM_NS = 10_000_000
REWARM_MAX = 5
KEEP_MIN = 3
Ints = NDArray[np.int64]


@dataclass(kw_only=True)
class Block:
    """One block, or one window, as it came back.

    Attributes:
        phase: `first`, `warmup`, `pilot`, `measure`, `events`, `window`, `steady`, `energy` or `hot`.
        round, position: Where it was run; -1 outside of the rounds.
        sizes: Size of the varying axis of each inference, or None for a case of one shape.
        n: Inferences.
        rewarm: Iterations at the beginning that do not count.
        starts, ends: Stamps in ns; a window has one of each.
        enqueued: Stamps in ns at which all was enqueued on the stream; None without one.
        spans: Of `events`: float32 [n, 1], ns of launches on the device, or [n, 3], of copies in, launches, copies out.
        counters: Host counters of the worker over the block.
        changes: What the backend counted (compilations, …), and garbage collections.
        depth: Outstanding inferences.
        canary_ns: Canary after the block, warm-up only.
        telemetry: 1 if samplers ran, 0 if they were paused, None without any.
        host: What the machine did meanwhile.
    """

    phase: str
    round: int
    position: int
    sizes: NDArray[np.int32] | None
    n: int
    rewarm: int
    starts: Ints
    ends: Ints
    counters: dict[str, int]
    changes: dict[str, int]
    depth: int = 1
    canary_ns: int | None = None
    telemetry: int | None = None
    host: HostTimes | None = None
    enqueued: Ints | None = None
    spans: NDArray[np.float32] | None = None

    @property
    def latencies(self) -> Ints:
        """Latencies of the iterations that count, in ns."""
        return (self.ends - self.starts)[self.rewarm :]

    @property
    def duration_ns(self) -> int:
        """Fenced wall time of the inferences that count."""
        return int(self.ends[-1] - self.starts[self.rewarm])

    @property
    def is_window(self) -> bool:
        """It counts for the throughput; the windows that were run to warm up do not."""
        return self.phase == "window"

    @property
    def is_stamped(self) -> bool:
        """Each of its inferences has stamps of its own."""
        return self.n == len(self.starts)


def rewarm_count(starts: Ints) -> int:
    """Return how many iterations re-warm: the first 10 ms or 5 of them, at least 1, leaving at least 3 if it can."""
    elapsed = starts - starts[0]
    count = int(np.searchsorted(elapsed, REWARM_NS))
    return max(0, min(max(1, count), REWARM_MAX, len(starts) - KEEP_MIN))


def stamps(answer: Message, n: int) -> tuple[Ints, Ints]:
    """Return the stamps of a block.

    Raises:
        ProtocolError: They are none: another number, or not in the order of time.
    """
    starts, ends = answer.arrays.get("starts"), answer.arrays.get("ends")
    if starts is None or ends is None or {starts.dtype, ends.dtype} != {np.dtype(np.int64)}:
        raise ProtocolError("the answer to a block has no stamps")
    both = np.stack([starts, ends], axis=1).ravel() if starts.shape == ends.shape == (n,) else np.empty(0)
    if len(both) != 2 * n or (np.diff(both) < 0).any():
        raise ProtocolError(f"the stamps of a block of {n} iterations are not {n} in the order of time")
    return starts, ends


def device_times(answer: Message, starts: Ints, ends: Ints) -> tuple[Ints | None, NDArray[np.float32] | None]:
    """Return `enqueued` and `spans` of a block; None for what it does not have.

    Raises:
        ProtocolError: They are of another number or kind, or out of the order of time.
    """
    enqueued, spans = answer.arrays.get("enqueued"), answer.arrays.get("spans")
    if enqueued is not None:
        fits = enqueued.dtype == np.int64 and enqueued.shape == starts.shape
        if not fits or (enqueued < starts).any() or (enqueued > ends).any():
            raise ProtocolError("the stamps of a block at which all was enqueued are not between its others")
    if spans is not None:
        fits = (
            spans.dtype == np.float32 and spans.ndim == 2 and spans.shape[0] == len(starts) and spans.shape[1] in (1, 3)
        )
        if not fits or not np.isfinite(spans).all():
            raise ProtocolError(
                f"the times of a device are {spans.dtype} {list(spans.shape)}, for {len(starts)} iterations"
            )
    return enqueued, spans
