"""What the CPUs of this machine did between two instants, from the kernel's counters, read in the parent.

Workers are not told of it: it is read before a block is asked for and after it has been answered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from benchfw.worker.clocks import now

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2
_MAX_BYTES = 1 << 16
"""The lines of the CPUs come first in /proc/stat; of 1024 of them, this holds all."""
_SYSFS = Path("/sys/devices/system/cpu")


class HostTimes(NamedTuple):
    """Cumulative times in ns, or differences of them.

    Attributes:
        time_ns: The clock.
        busy_ns: CPU time of all processes on the CPUs that this process may use, in ticks of 10 ms; None where /proc
            does not tell.
        steal_ns: Time in which the hypervisor had given these CPUs to somebody else; likewise.
        sibling_ns: CPU time on the CPUs that share a core with these and are not among them; likewise.
        own_ns: CPU time of this process and of those that were named; precise.
    """

    time_ns: int
    busy_ns: int | None
    steal_ns: int | None
    sibling_ns: int | None
    own_ns: int

    def since(self, before: HostTimes) -> HostTimes:
        """Return the differences; ticks that went backwards, as they do when a CPU is switched off, count as 0."""
        return HostTimes(
            self.time_ns - before.time_ns,
            _passed(before.busy_ns, self.busy_ns),
            _passed(before.steal_ns, self.steal_ns),
            _passed(before.sibling_ns, self.sibling_ns),
            max(0, self.own_ns - before.own_ns),
        )


def summed(times: Iterable[HostTimes | None]) -> HostTimes:
    """Return the sum of differences; a time that one of them lacks is None."""
    there = [each for each in times if each is not None]

    def total(parts: Iterable[int | None]) -> int | None:
        known = list(parts)
        return sum(part for part in known if part is not None) if known and None not in known else None

    return HostTimes(
        sum(each.time_ns for each in there),
        total(each.busy_ns for each in there),
        total(each.steal_ns for each in there),
        total(each.sibling_ns for each in there),
        sum(each.own_ns for each in there),
    )


class HostClock:
    """Reads the times of the CPUs that this process may use.

    A reading takes 14 µs with two CPUs and more with many, since the kernel writes the lines of all of them.

    Args:
        stat: The kernel's file.
        cpus: Numbers of the CPUs; default: those that this process may use.
        siblings: Numbers of CPUs that share a core with one of these; default: what /sys tells.

    Attributes:
        cpus: Numbers of the CPUs.
        siblings: Numbers of the CPUs that share a core with one of these and are not among them.
    """

    def __init__(
        self,
        stat: Path = Path("/proc/stat"),
        *,
        cpus: Collection[int] | None = None,
        siblings: Collection[int] | None = None,
    ) -> None:
        self.cpus = frozenset(_usable() if cpus is None else cpus)
        self.siblings = frozenset(smt_siblings(self.cpus) if siblings is None else siblings)
        self._wanted = {b"cpu%d" % cpu: cpu in self.cpus for cpu in self.cpus | self.siblings}
        try:
            self._file = os.open(stat, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def read(self, processes: Iterable[int] = ()) -> HostTimes:
        """Return the times of now.

        Args:
            processes: Whose CPU time counts as benchfw's own, beside that of this process: the worker, the samplers.
        """
        ticks = self._ticks()
        own = time.process_time_ns() + sum(map(cpu_time_ns, processes))
        stamp = now()
        if ticks is None:
            return HostTimes(stamp, None, None, None, own)
        busy, steal, sibling = (count * _TICK_NS for count in ticks)
        return HostTimes(stamp, busy, steal, sibling if self.siblings else None, own)

    def close(self) -> None:
        """Close the kernel's file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _ticks(self) -> tuple[int, int, int] | None:
        """Return the ticks of work and of steal on these CPUs, and of work on their siblings."""
        busy = steal = sibling = found = 0
        try:
            for line in os.pread(self._file, _MAX_BYTES, 0).splitlines()[1:]:  # the first one is the sum of all
                if not line.startswith(b"cpu"):
                    break
                name, *words = line.split()[:9]
                mine = self._wanted.get(name)
                if mine is None:
                    continue
                user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, words)
                work = user + nice + system + irq + softirq  # what guests take is in user and nice already
                if mine:
                    busy, steal, found = busy + work, steal + stolen, found + 1
                else:
                    sibling += work
        except (OSError, ValueError):
            return None
        return (busy, steal, sibling) if found else None


def cpu_time_ns(process: int) -> int:
    """Return the CPU time that a process has used, all its threads, in ns; 0 if it has ended.

    The clock of another process has a number that is made of its own (`MAKE_PROCESS_CPUCLOCK` in the kernel's
    posix-timers_types.h; clock_getcpuclockid(3)). Reading it takes a microsecond, and unlike /proc it has no ticks.
    """
    try:
        return time.clock_gettime_ns((~process << 3) | _CPUCLOCK_SCHED)
    except (OSError, OverflowError):
        return 0


def smt_siblings(cpus: Collection[int], root: Path = _SYSFS) -> set[int]:
    """Return the CPUs that share a core with one of these and are not among them, as far as /sys tells."""
    found: set[int] = set()
    for cpu in cpus:
        found |= _listed(_read(root / f"cpu{cpu}/topology/thread_siblings_list"))
    return found - set(cpus)


def governors(cpus: Collection[int], root: Path = _SYSFS) -> set[str]:
    """Return the cpufreq governors of these CPUs; none where they cannot be read, as in virtual machines."""
    return {text for cpu in cpus if (text := _read(root / f"cpu{cpu}/cpufreq/scaling_governor"))}


def _usable() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _listed(text: str) -> set[int]:
    """Return the numbers of a list as the kernel writes it: `0,4-6`."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        try:
            found |= set(range(int(first), int(last or first) + 1))
        except ValueError:
            continue
    return found


def _passed(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
