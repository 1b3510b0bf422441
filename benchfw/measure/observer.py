"""What is seen of the machine around blocks: its CPU times, and whether samplers ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from benchfw.environments import usable_cpus
from benchfw.measure.blocks import BLOCK_NS, Block
from benchfw.measure.gates.finding import Finding
from benchfw.measure.gates.host import HostEvidence, host_findings
from benchfw.measure.gpu_watch import GpuWatch
from benchfw.measure.host import HostClock, HostTimes, governors, summed
from benchfw.measure.pauses import Pauses
from benchfw.measure.settling import Clock
from benchfw.measure.telemetry import Telemetry

if TYPE_CHECKING:
    from benchfw.measure.member import Member

T = TypeVar("T")


class Observer:
    """Watches the machine for one run.

    Args:
        telemetry: The samplers; None for none.
        seed: Of the rounds in which samplers are paused.
        locked_mhz: The clock of the GPU that the run has locked; None if it floats.

    Attributes:
        gpus: Watches the GPUs.
    """

    def __init__(self, telemetry: Telemetry | None, seed: int, locked_mhz: int | None = None) -> None:
        self._telemetry = telemetry
        self._clock = HostClock()
        self.pauses = Pauses(telemetry, seed) if telemetry else None
        self._running: int | None = None
        self._in_rounds = False
        self._rows: list[dict[str, Any]] = []
        self.gpus = GpuWatch(telemetry, locked_mhz)

    def begin_round(self, number: int) -> None:
        """Pause the samplers, or let them run, as it is drawn for a round."""
        self._running = self.pauses.begin(number) if self.pauses else None
        self._in_rounds = True
        self.gpus.boundary()

    def end_rounds(self) -> None:
        """Let the samplers run again."""
        self._running = None
        self._in_rounds = False
        if self.pauses:
            self.pauses.end()

    def look_at_held(self) -> None:
        """Look whether somebody else computes on the GPUs while all workers are held."""
        if self.gpus.active:
            self.gpus.look_at_held(self.collect())

    def collect(self) -> list[dict[str, Any]]:
        """Take what was read so far over, and return it since `take` was last called, as rows of `telemetry`."""
        self._rows += self._telemetry.take("") if self._telemetry else []
        return self._rows

    def clock(self, member: Member, since_ns: int) -> Clock | None:
        """Return the SM clock of a case's GPU as it was last read; None if it was not since then."""
        return self.gpus.clock(member, self.collect(), since_ns) if self.gpus.active else None

    def lead(self, member: Member) -> None:
        """Bring the clock of a case's GPU to what it is when the case runs alone."""
        self.gpus.lead(member, self.collect)

    def take(self, cohort: str) -> list[dict[str, Any]]:
        """Return what was read since this was last called as rows of `telemetry`, in time order."""
        rows, self._rows = self.collect(), []
        return [row | {"cohort": cohort} for row in sorted(rows, key=lambda row: int(row["time_ns"]))]

    @property
    def running(self) -> int | None:
        """1 if samplers run in this round, 0 if they are paused, None without any."""
        return self._running

    def around(self, processes: tuple[int, ...], ask: Callable[[], T]) -> tuple[T, HostTimes]:
        """Ask for a block and return its answer with what the machine did meanwhile.

        Args:
            processes: The workers that are asked, whose CPU time is benchfw's own.
            ask: Asks.
        """
        sampler = self._telemetry.process if self._telemetry else None
        own = processes if sampler is None else (*processes, sampler)
        before = self._clock.read(own)
        answer = ask()
        host = self._clock.read(own).since(before)
        if self._in_rounds:
            self.gpus.boundary()
        return answer, host

    def findings(self, blocks: list[Block], threads: int) -> list[Finding]:
        """Return what is to be said of the host over some blocks of a case that runs on so many threads."""
        host = summed(block.host for block in blocks)

        def total(counter: str) -> int:
            return sum(block.counters[counter] for block in blocks)

        return host_findings(
            HostEvidence(
                blocks=max(1, round(sum(block.duration_ns for block in blocks) / BLOCK_NS)),
                cpus=len(self._clock.cpus),
                usable=usable_cpus(),
                threads=threads,
                nr_throttled=total("nr_throttled"),
                nivcsw=total("nivcsw"),
                majflt=total("majflt"),
                elapsed_ns=host.time_ns,
                busy_ns=host.busy_ns,
                steal_ns=host.steal_ns,
                sibling_ns=host.sibling_ns,
                own_ns=host.own_ns,
                siblings=len(self._clock.siblings),
                governors=governors(self._clock.cpus),
            )
        )

    def close(self) -> None:
        """Close what is open. Idempotent."""
        self._clock.close()
