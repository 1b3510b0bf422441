"""A case while its cohort is measured: its slots, its blocks, its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw import supervisor
from benchfw.errors import CaseError, Invalid, ProtocolError, Unsupported
from benchfw.measure.accuracy import Outputs
from benchfw.measure.inputs import InputMaker
from benchfw.measure.session import Host, Instance, LiveSession
from benchfw.measure.settings import Settings
from benchfw.measure.stopping import Mean, Quantile, Stopping
from benchfw.scenario import Case
from benchfw.scenario.plan import BATCH_AXIS
from benchfw.spec.tensors import TensorSpec
from benchfw.stats import mean_interval
from benchfw.worker.loops import MAX_BLOCK
from benchfw.worker.protocol import Message

BLOCK_NS = 100_000_000
"""Length of a block that is aimed at; a block is 50 to 200 ms unless three iterations take longer."""

REWARM_NS = 10_000_000
REWARM_MAX = 5
KEEP_MIN = 3
Ints = NDArray[np.int64]


@dataclass
class Block:
    """One block as it came back.

    Attributes:
        phase: `first`, `warmup`, `measure` or `steady`.
        round, position: Where it was run; -1 outside of the rounds.
        sizes: Size of the varying axis of each iteration, or None for a case of one shape.
        rewarm: Iterations at the beginning that do not count.
        starts, ends: Stamps in ns.
        counters: Host counters of the worker over the block.
        changes: What the backend counted (compilations, …), and garbage collections.
        canary_ns: Canary after the block, warm-up only.
    """

    phase: str
    round: int
    position: int
    sizes: NDArray[np.int32] | None
    rewarm: int
    starts: Ints
    ends: Ints
    counters: dict[str, int]
    changes: dict[str, int]
    canary_ns: int | None = None

    @property
    def latencies(self) -> Ints:
        """Latencies of the iterations that count, in ns."""
        return (self.ends - self.starts)[self.rewarm :]

    @property
    def duration_ns(self) -> int:
        """Fenced wall time of the iterations that count."""
        return int(self.ends[-1] - self.starts[self.rewarm])


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a case has no number: columns of its row."""

    status: str
    status_reason: str
    stage: str | None = None
    signal: str | None = None
    log: Path | None = None
    log_tail: str | None = None


@dataclass
class Member:
    """A case of the cohort that is being measured."""

    case: Case
    session: LiveSession
    settings: Settings
    instance: Instance | None = None
    host: Host = field(default_factory=Host)
    bind_s: float = 0.0
    blocks: list[Block] = field(default_factory=list)
    stopping: Stopping = field(init=False)
    failure: Failure | None = None
    contended: str | None = None
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    interleave: str = "all"
    peak_rss_bytes: int | None = None
    settled: bool = False
    _expected_ns: dict[int, float] = field(default_factory=dict)
    _cursor: int = 0

    def __post_init__(self) -> None:
        rule = self.settings.rule
        target = Mean(rule.throughput_width) if self.case.sequence else Quantile(0.5, rule.median_width)
        self.stopping = Stopping(rule, (target,))

    # --- labels -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        kind = self.case.artifact_kind
        return self.case.session.entry.label + ("" if kind == "any" else f" ({kind})")

    @property
    def alive(self) -> bool:
        """Nothing went wrong with this case itself."""
        return self.failure is None

    @property
    def lost(self) -> bool:
        """The worker that held it is gone."""
        return not self.session.is_open or self.session.invocation != self.host.invocation

    @property
    def ready(self) -> bool:
        return self.alive and self.instance is not None and not self.lost

    def fail(self, error: CaseError, *, log_tail: str | None = None) -> None:
        """Note why there is no number; the first reason stays."""
        if self.failure is not None:
            return
        self.host = self.session.host
        log = Path(error.log) if error.log else self.host.log
        self.failure = Failure(
            status=error.status,
            status_reason=error.message + (f" ({error.hint})" if error.hint else ""),
            stage=error.stage,
            signal=error.signal,
            log=log,
            log_tail=log_tail or (supervisor.log_tail(log) if log else "") or None,
        )

    def warn(self, code: str, value: float | None, threshold: float | None, message: str) -> None:
        self.warnings.append(
            {"case_id": self.case.case_id, "code": code, "value": value, "threshold": threshold, "message": message}
        )

    # --- slots --------------------------------------------------------------------------------------------------

    @property
    def sizes(self) -> Sequence[int]:
        """Sizes of the varying axis, one per slot; `[0]` for a case of one shape."""
        return self.case.sequence.sizes if self.case.sequence else (0,)

    def batch_of(self, size: int) -> int:
        """Return the samples of one inference at this size of the varying axis."""
        sequence = self.case.sequence
        if sequence is not None and sequence.axis == BATCH_AXIS:
            return size
        return self.case.sizes.get(BATCH_AXIS, 1)

    def sizes_at(self, slot: int) -> dict[str, int]:
        sequence = self.case.sequence
        return dict(self.case.sizes) | ({sequence.axis: sequence.sizes[slot]} if sequence else {})

    def bind(self, instance: Instance, inputs: InputMaker, model_inputs: Sequence[TensorSpec]) -> None:
        """Bind one slot per size."""
        self.instance = instance
        self.host = self.session.host
        fixed = {spec.name: spec for spec in model_inputs}
        for slot, _ in enumerate(self.sizes):
            sizes = self.sizes_at(slot)
            for spec in inputs.specs:
                _check_fit(spec, fixed.get(spec.name), sizes)
            answer = self.session.ask(
                "bind", self.settings.load_s, instance=instance.key, slot=slot, files=inputs.files(sizes)
            )
            self.bind_s += float(answer.values["bind_s"])

    def rewind(self) -> None:
        """Begin the random sequence anew: what is measured is the same for all, however long each one warmed up."""
        self._cursor = 0

    def outputs(self, slot: int) -> Outputs:
        """Return what the last launch of a slot gave.

        Raises:
            Invalid: It is not what the loaded artifact announced.
        """
        assert self.instance is not None
        outputs = self.session.ask("outputs", self.settings.load_s, instance=self.instance.key, slot=slot).arrays
        _check_outputs(self.instance.io.outputs, outputs, self.sizes_at(slot))
        return outputs

    def read_facts(self) -> None:
        """Ask what is true of the loaded artifact now, and for the worker's peak memory."""
        assert self.instance is not None
        values = self.session.ask("facts", self.settings.load_s, instance=self.instance.key).values
        self.session.check_facts(values["facts"])
        self.instance.facts = values["facts"]
        self.peak_rss_bytes = values["peak_rss_bytes"]
        self.session.peak_rss_bytes = max(self.session.peak_rss_bytes, self.peak_rss_bytes or 0)

    # --- blocks -------------------------------------------------------------------------------------------------

    def call(self, phase: str, slot: int, n: int, *, timeout: float | None = None) -> Block:
        """Run `n` iterations of one slot outside of the rounds."""
        values = {"slot": slot, "n": n}
        sizes = np.full(n, self.sizes[slot], np.int32) if self.case.sequence else None
        return self._run(phase, values, sizes, rewarm=0, timeout=timeout, place=(-1, -1))

    def measure(self, round_: int, position: int, phase: str = "measure") -> Block:
        """Run one block of the length that is aimed at."""
        if self.case.sequence is None:
            expected = self._expected_ns[0]
            n = min(MAX_BLOCK, max(KEEP_MIN + 1, round(BLOCK_NS / expected)))
            return self._run(phase, {"slot": 0, "n": n}, None, rewarm=None, timeout=None, place=(round_, position))
        order = self._next_order()
        rewarm = self._rewarm_count(order)
        order = order[-rewarm:] + order
        sizes = np.array(order, np.int32)
        slot_of = {size: slot for slot, size in enumerate(self.sizes)}
        values = {"slots": [slot_of[size] for size in order]}
        return self._run(phase, values, sizes, rewarm=rewarm, timeout=None, place=(round_, position))

    def expect(self, slot: int, latency_ns: float) -> None:
        """Note how long an inference of a slot takes, from the last warm-up."""
        self._expected_ns[slot] = max(1.0, latency_ns)

    def expected(self, slot: int) -> float:
        return self._expected_ns.get(slot, 1e9)

    def _next_order(self) -> list[int]:
        """Return the next whole chunks of the shared sequence that fill a block, at least one."""
        sequence = self.case.sequence
        assert sequence is not None
        mean = float(np.mean([self.expected(slot) for slot in range(len(self.sizes))]))
        room = (MAX_BLOCK - REWARM_MAX) // sequence.chunk_length
        chunks = max(1, min(room, round(BLOCK_NS / (mean * sequence.chunk_length))))
        order = [size for index in range(chunks) for size in sequence.chunk(self._cursor + index)]
        self._cursor += chunks
        return order

    def _rewarm_count(self, order: Sequence[int]) -> int:
        """Return how many iterations go before whole chunks, so that none of these is spent on warming up."""
        slot_of = {size: slot for slot, size in enumerate(self.sizes)}
        total = 0.0
        for count, size in enumerate(reversed(order[-REWARM_MAX:]), start=1):
            total += self.expected(slot_of[size])
            if total >= REWARM_NS:
                return count
        return min(REWARM_MAX, len(order))

    def _run(
        self,
        phase: str,
        values: dict[str, Any],
        sizes: NDArray[np.int32] | None,
        *,
        rewarm: int | None,
        timeout: float | None,
        place: tuple[int, int],
    ) -> Block:
        assert self.instance is not None
        slots = values.get("slots") or [values["slot"]] * values["n"]
        expected_s = sum(self.expected(slot) for slot in slots) / 1e9
        deadline = timeout or max(self.settings.block_s, 20 * expected_s)
        answer = self.session.ask("block", deadline, instance=self.instance.key, **values)
        starts, ends = _stamps(answer, len(slots))
        block = Block(
            phase=phase,
            round=place[0],
            position=place[1],
            sizes=sizes,
            rewarm=_rewarm(starts) if rewarm is None else rewarm,
            starts=starts,
            ends=ends,
            counters=answer.values["counters"],
            changes={**answer.values["changes"], "collections": answer.values["collections"]},
        )
        self.blocks.append(block)
        return block

    # --- samples ------------------------------------------------------------------------------------------------

    @property
    def measured(self) -> list[Block]:
        return [block for block in self.blocks if block.phase == "measure"]

    @property
    def measured_s(self) -> float:
        return sum(block.duration_ns for block in self.measured) / 1e9

    @property
    def count(self) -> int:
        """Number of samples that count."""
        return sum(len(block.starts) - block.rewarm for block in self.measured)

    @property
    def samples(self) -> Ints:
        """Latencies that count, in time order."""
        blocks = self.measured
        return np.concatenate([block.latencies for block in blocks]) if blocks else np.empty(0, np.int64)

    @property
    def evidence(self) -> Ints:
        """What the stopping rule looks at: latencies, or the total time of each chunk of a random sequence."""
        if self.case.sequence is None or not self.measured:
            return self.samples
        length = self.case.sequence.chunk_length
        return np.concatenate([block.latencies.reshape(-1, length).sum(axis=1) for block in self.measured])

    def _work(self, block: Block) -> int:
        """Return the samples that the counted iterations of a block completed."""
        if block.sizes is None:
            return len(block.latencies) * self.batch_of(0)
        return sum(self.batch_of(int(size)) for size in block.sizes[block.rewarm :])

    @property
    def throughput(self) -> float | None:
        """Samples per second: work over fenced wall time."""
        wall = sum(block.duration_ns for block in self.measured)
        return sum(map(self._work, self.measured)) / wall * 1e9 if wall else None

    @property
    def throughput_interval(self) -> tuple[float, float] | None:
        """Interval of the throughput, from the time per sample of each block; None if it is open."""
        if not self.measured:
            return None
        interval = mean_interval(np.array([block.duration_ns / self._work(block) for block in self.measured]))
        return (1e9 / interval.high, 1e9 / interval.low) if interval.finite and interval.low > 0 else None


def _rewarm(starts: Ints) -> int:
    """Return how many iterations re-warm: the first 10 ms or 5 of them, at least 1, leaving at least 3 if it can."""
    elapsed = starts - starts[0]
    count = int(np.searchsorted(elapsed, REWARM_NS))
    return max(0, min(max(1, count), REWARM_MAX, len(starts) - KEEP_MIN))


def _stamps(answer: Message, n: int) -> tuple[Ints, Ints]:
    """Return the stamps of a block.

    Raises:
        ProtocolError: They are none: another number, or not in the order of time.
    """
    starts, ends = answer.arrays.get("starts"), answer.arrays.get("ends")
    if starts is None or ends is None or {starts.dtype, ends.dtype} != {np.dtype(np.int64)}:
        raise ProtocolError("the answer to a block has no stamps")
    stamps = np.stack([starts, ends], axis=1).ravel() if starts.shape == ends.shape == (n,) else np.empty(0)
    if len(stamps) != 2 * n or (np.diff(stamps) < 0).any():
        raise ProtocolError(f"the stamps of a block of {n} iterations are not {n} in the order of time")
    return starts, ends


def _check_outputs(announced: Sequence[TensorSpec], outputs: Outputs, sizes: Mapping[str, int]) -> None:
    """Compare outputs with what `load` announced; a backend that announces none is compared with the reference alone.

    Raises:
        Invalid: A name, dtype, number of dimensions, or a dimension that is known, differs.
    """
    if not announced:
        return
    if {spec.name for spec in announced} != set(outputs):
        raise Invalid(f"outputs {sorted(outputs)} came back, {sorted(spec.name for spec in announced)} were announced")
    for spec in announced:
        array = outputs[spec.name]
        wanted = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape]
        fits = len(wanted) == array.ndim and all(
            isinstance(dim, str) or dim == size for dim, size in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise Invalid(f"output {spec.name!r} has shape {list(array.shape)}, {wanted} was announced")
        if array.dtype != np.dtype(spec.dtype):
            raise Invalid(f"output {spec.name!r} is {array.dtype}, {spec.dtype} was announced")


def _check_fit(spec: TensorSpec, model: TensorSpec | None, sizes: dict[str, int]) -> None:
    """Refuse a shape that the model itself cannot take.

    Raises:
        Unsupported: An axis of the model is fixed to another size.
    """
    if model is None:
        return
    for place, (size, dim) in enumerate(zip(spec.concrete(sizes), model.shape, strict=False)):
        if isinstance(dim, int) and dim != size:
            raise Unsupported(f"dimension {place} of input {spec.name!r} is fixed to {dim} in the model, not {size}")
