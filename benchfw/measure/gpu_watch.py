"""Watches the GPUs of a run: asks for what is read between blocks, and judges cases by what was read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchfw.measure.gates.gpu import GpuEvidence, clock_mismatch, gpu_findings
from benchfw.measure.gpu import HELD_S, SAMPLER, Spans, evidence, is_held, latest
from benchfw.measure.settling import Clock
from benchfw.measure.telemetry import Telemetry
from benchfw.spec.device import CPU
from benchfw.worker.clocks import now

if TYPE_CHECKING:
    from benchfw.measure.member import Member
    from benchfw.measure.record import Record

STRETCH_S = 2.2
"""22 steps of an energy counter that changes ten times per second: they leave 5 % of doubt."""
LEAD_S = 0.3
"""For clock and power to come to what a case makes of them: an H100 takes this long. Whole blocks, so at least that."""
CLOCK_OFF = 0.02
"""A clock that is this far from a case's own makes its latencies wrong by as much; ± one step of 15 MHz is 0.8 %."""


class GpuWatch:
    """Watches the GPUs for one run; without the sampler `nvml` it does nothing.

    Args:
        telemetry: The samplers; None for none.
        locked_mhz: The clock that the run has locked; None if it floats.
    """

    def __init__(self, telemetry: Telemetry | None, locked_mhz: int | None = None) -> None:
        self._telemetry = telemetry if telemetry is not None and SAMPLER in telemetry.facts else None
        self._locked_mhz = locked_mhz
        self._held: list[tuple[int, int]] = []
        self._read_ns = 0

    @property
    def active(self) -> bool:
        """GPUs are read, as far as is known."""
        return self._telemetry is not None and self._telemetry.facts[SAMPLER]["ended"] is None

    def boundary(self, *, dear: bool = False) -> None:
        """Read counters now, when nothing is timed."""
        if self.active and self._telemetry is not None:
            self._read_ns = now()
            self._telemetry.boundary(dear=dear)

    def lead(self, member: Member, read: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Run a case until the SM clock of its GPU is what this case makes of it, not what the one before it has left.

        A case that was held by the power limit leaves a clock that takes tenths of a second to rise again, far longer
        than the re-warm of a block; and one that is held starts too fast after a light one.

        Args:
            member: The case; its clock once it had warmed up is the one that is waited for. Where that does not come
                back, the one that it has come to instead is its own from now on: the GPU is warmer, say.
            read: Returns the rows of `telemetry` so far, in time order. Every block ends with a reading.
        """
        clock: Clock | None = None

        def is_its_own() -> bool:
            nonlocal clock
            clock = self.clock(member, read(), self._read_ns)
            return clock is None or member.sm_mhz is None or abs(clock.mhz / member.sm_mhz - 1) <= CLOCK_OFF

        if self.active and member.sm_mhz is not None:
            ran = run_for(member, LEAD_S, "warmup", until=is_its_own)
            if ran and not is_its_own() and clock is not None:
                member.sm_mhz = clock.mhz

    def stretch(self, member: Member) -> None:
        """Run blocks of one case alone for two seconds, for its power and its energy, which take that long to tell."""
        if not self.active or member.case.session.device == CPU or not member.has_throughput:
            return  # flushing a cache takes power, too
        run_for(member, LEAD_S)
        self.boundary(dear=True)
        begin = now()
        blocks = run_for(member, STRETCH_S)
        member.stretch = np.array([[begin, now()]]), sum(map(member.work, blocks))
        self.boundary(dear=True)

    def look_at_held(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Look at the utilisation while all workers are held, unless it is known that nobody else is on the GPUs.

        Args:
            rows: Of `telemetry`, of the cohort so far.
        """
        others = [row["value"] for row in rows if row["field"].startswith(("foreign_processes:", "hidden_processes:"))]
        if self.active and not (others and all(value == 0 for value in others)):
            begin = now()
            time.sleep(HELD_S)
            self._held.append((begin, now()))

    def reads(self, member: Member) -> bool:
        """Say whether the GPU of a case is read, as far as is known by now."""
        device, gpus = member.case.session.device, self._gpus
        return self.active and device in gpus and _are_the_same(member.session.device, gpus[device], self._visible)

    def clock(self, member: Member, rows: Sequence[Mapping[str, Any]], since_ns: int) -> Clock | None:
        """Return the last reading of the SM clock of a case's GPU.

        Args:
            member: The case.
            rows: Of `telemetry`, in time order.
            since_ns: Older readings do not count.
        """
        device, gpus = member.case.session.device, self._gpus
        if not self.reads(member):
            return None
        read = latest(rows, device, ("sm_clock", "reasons"), since_ns)
        if "sm_clock" not in read:
            return None
        asked = self._locked_mhz or gpus[device].get("sm_max_mhz")
        return Clock(read["sm_clock"], asked, is_held(int(read.get("reasons", 0))))

    @property
    def _gpus(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts of the GPUs, by the names of their devices."""
        facts = self._telemetry.facts[SAMPLER]["facts"] if self._telemetry else {}
        return dict(facts.get("gpus", {}))

    @property
    def _visible(self) -> int | None:
        """How many GPUs CUDA sees, those that are not of the run included; None if that was not told."""
        return self._telemetry.facts[SAMPLER]["facts"].get("visible") if self._telemetry else None

    def judge(self, records: Iterable[Record], rows: Sequence[Mapping[str, Any]]) -> None:
        """Say of each case what NVML has seen of its GPU; `rows` are those of `telemetry` of the cohort."""
        held, self._held = np.array(self._held, np.int64).reshape(-1, 2), []
        gpus = self._gpus
        found: dict[str, list[tuple[Record, GpuEvidence]]] = {}
        for record in records:
            device = record.case.session.device
            if device in gpus and record.failure is None and _is_the_same(record, gpus[device], self._visible):
                stretch = next((member.stretch for member in record.all if member.stretch), None)
                record.gpu = evidence(
                    rows,
                    device,
                    gpus[device],
                    measured=_measured(record),
                    stretch=stretch,
                    held=held,
                    locked_mhz=self._locked_mhz,
                    session=record.case.session.session_id,
                )
                found.setdefault(device, []).append((record, record.gpu))
        for pairs in found.values():
            _warn(pairs)


def run_for(
    member: Member, seconds: float, phase: str = "energy", until: Callable[[], bool] = lambda: False
) -> list[Any]:
    """Run blocks of a case that count for no statistics, so many seconds at least, or until something is so.

    Inputs and sizes that are measured after them are those that would have been without them.
    """
    blocks = []
    end = time.monotonic() + seconds
    with member.order.kept():
        while time.monotonic() < end and not until():
            blocks.append(member.measure(-1, -1, phase))
            blocks[-1].rewarm = 0  # all of its inferences took energy
    return blocks


def _measured(record: Record) -> Spans:
    spans = [
        (int(block.starts[0]), int(block.ends[-1]))
        for member in record.all
        for block in member.blocks
        if block.phase in ("measure", "events", "window") and block.round >= 0
    ]
    return np.array(sorted(spans), np.int64).reshape(-1, 2)


def _warn(pairs: list[tuple[Record, GpuEvidence]]) -> None:
    """Add the warnings of the cases of one GPU."""
    fastest = max((gpu for _, gpu in pairs), key=lambda gpu: gpu.sm_mhz or 0.0)
    for record, gpu in pairs:
        for finding in (*gpu_findings(gpu), clock_mismatch(gpu, fastest)):
            if finding is not None:
                record.last.warn(*finding)


def _is_the_same(record: Record, facts: Mapping[str, Any], visible: int | None) -> bool:
    """Say whether NVML reads the GPU that the worker uses, by their UUIDs; a warning if not."""
    used = getattr(record.last.session, "device", None)
    if _are_the_same(used, facts, visible):
        return True
    known = [(each or {}).get("uuid") or "one without a UUID" for each in (used, facts)]
    ids = f"{known[0]} for CUDA, and NVML read {known[1]}"
    text = f"{record.case.session.device} is {ids}: no figures; name the UUID in CUDA_VISIBLE_DEVICES"
    record.last.warn("W12", None, None, text)
    return False


def _are_the_same(used: Mapping[str, Any] | None, facts: Mapping[str, Any], visible: int | None) -> bool:
    """Say whether a device of CUDA's is the one that NVML reads.

    A UUID that one of them does not tell fits where CUDA sees one GPU alone; of several it may be another, also in a
    run that measures on one of them.
    """
    if used is None or facts.get("scope") != "gpu":  # no worker has told yet; CUDA may name a slice by its GPU
        return True
    ids = {used.get("uuid"), facts.get("uuid")}
    return len(ids - {None}) <= 1 and (None not in ids or visible == 1)
