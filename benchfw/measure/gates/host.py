"""What the machine did to a case while it was measured: W09, W10, W11, H02.

Everything is judged over all measured blocks of a case together: the kernel counts CPU time in ticks of 10 ms, and one
block of 100 ms has ten of them per CPU.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from benchfw.measure.gates.finding import Finding

STEAL_SHARE = 0.005
"""A stolen share lengthens latencies by as much, and half a percent is what `standard` wants to know a median to."""
STEAL_LEAST_NS = 30_000_000
"""Three ticks: a single one can be chance, and is 0.5 % of a second on two CPUs."""
NIVCSW_PER_BLOCK = 10
"""Of 50 to 200 ms: one switch per 5 to 20 ms says that something else wants the CPU, fewer come with any system."""
FOREIGN_SHARE = 0.05
"""Below, it is what ticks and the kernel's own work add up to; and a twentieth of the CPUs is a process that works."""
SIBLING_SHARE = 0.05
"""The same for the other hardware thread of a core, which shares its units with what is measured."""
PRESSURE_SHARE = 0.1
"""Of the last 10 s in which some task waited for memory."""
MAJFLT_PER_BLOCK = 0.1
"""A page that comes from a disk takes 0.1 to 10 ms. One in ten blocks can be code that is used for the first time."""


@dataclass(frozen=True, kw_only=True)
class HostEvidence:
    """Sums over the measured blocks of a case.

    Attributes:
        blocks: How many blocks of 100 ms they come to.
        cpus: Usable CPUs, by affinity.
        usable: CPUs that may be used at a time: the affinity, bounded by the quota.
        threads: Threads that the backend uses.
        nr_throttled, nivcsw, majflt: Of the worker.
        elapsed_ns: Wall time between the two readings of `HostClock` around each block.
        busy_ns, steal_ns, sibling_ns, own_ns: Of `HostTimes`; None where unknown.
        siblings: CPUs that share a core with a usable one and are not usable.
        governors: cpufreq governors of the usable CPUs; empty where they cannot be read.
        pressure: Largest share of 10 s in which some task waited for memory; None where unknown.
    """

    blocks: int
    cpus: int
    usable: int
    threads: int
    nr_throttled: int
    nivcsw: int
    majflt: int
    elapsed_ns: int = 0
    busy_ns: int | None = None
    steal_ns: int | None = None
    sibling_ns: int | None = None
    own_ns: int = 0
    siblings: int = 0
    governors: Collection[str] = ()
    pressure: float | None = None


def host_findings(evidence: HostEvidence) -> list[Finding]:
    """Return all that is to be said of the host."""
    e = evidence
    found: Iterable[Finding | None] = (
        throttled(e.nr_throttled),
        stolen(e.steal_ns, e.elapsed_ns, e.cpus),
        preempted(e.nivcsw, e.blocks),
        too_many_threads(e.threads, e.usable),
        foreign_load(e.busy_ns, e.own_ns, e.elapsed_ns, e.cpus),
        slow_governor(e.governors),
        busy_siblings(e.sibling_ns, e.elapsed_ns, e.siblings),
        memory_pressure(e.pressure),
        major_faults(e.majflt, e.blocks),
    )
    return [finding for finding in found if finding is not None]


def throttled(periods: int) -> Finding | None:
    """W10: the quota of a control group was used up in some periods."""
    if periods <= 0:
        return None
    text = f"the CPU quota stopped the worker in {periods} periods; raise it or lower `threads`"
    return Finding("W10", periods, 0, text)


def stolen(steal_ns: int | None, elapsed_ns: int, cpus: int) -> Finding | None:
    """W10: the hypervisor gave the CPUs to somebody else."""
    share = _share(steal_ns, elapsed_ns, cpus)
    if share is None or share <= STEAL_SHARE or (steal_ns or 0) < STEAL_LEAST_NS:
        return None
    text = f"the hypervisor took {share:.1%} of the CPU time; measure on a machine or at an hour that is less shared"
    return Finding("W10", share, STEAL_SHARE, text)


def preempted(switches: int, blocks: int) -> Finding | None:
    """W10: the worker was switched away from while it wanted to go on."""
    per_block = switches / max(1, blocks)
    if per_block <= NIVCSW_PER_BLOCK:
        return None
    text = (
        f"{per_block:.0f} involuntary context switches per block: "
        "something else wants the CPUs, or `threads` is too high"
    )
    return Finding("W10", per_block, NIVCSW_PER_BLOCK, text)


def too_many_threads(threads: int, usable: int) -> Finding | None:
    """W10: the threads of the backend cannot run at the same time."""
    if threads <= usable:
        return None
    text = f"{threads} threads share {usable} usable CPUs; set `threads = {usable}`, or allow more CPUs"
    return Finding("W10", threads, usable, text)


def foreign_load(busy_ns: int | None, own_ns: int, elapsed_ns: int, cpus: int) -> Finding | None:
    """W09: others worked on the CPUs that this run may use."""
    share = _share(None if busy_ns is None else busy_ns - own_ns, elapsed_ns, cpus)
    if share is None or share <= FOREIGN_SHARE:
        return None
    text = f"other processes took {share:.0%} of the usable CPUs; end them, or keep them off with `taskset`"
    return Finding("W09", share, FOREIGN_SHARE, text)


def slow_governor(governors: Collection[str]) -> Finding | None:
    """W11: a cpufreq governor may lower the clock."""
    others = sorted(set(governors) - {"performance"})
    if not others:
        return None
    text = f"the cpufreq governor is {', '.join(others)}: the clock follows the load; set `performance`"
    return Finding("W11", None, None, text)


def busy_siblings(sibling_ns: int | None, elapsed_ns: int, siblings: int) -> Finding | None:
    """W11: the other hardware threads of the cores that are used worked as well."""
    share = _share(sibling_ns, elapsed_ns, siblings)
    if share is None or share <= SIBLING_SHARE:
        return None
    text = f"the other hardware threads of the same cores were busy for {share:.0%} of the time; keep work off them"
    return Finding("W11", share, SIBLING_SHARE, text)


def memory_pressure(share: float | None) -> Finding | None:
    """H02: tasks of this machine waited for memory."""
    if share is None or share <= PRESSURE_SHARE:
        return None
    text = f"tasks waited for memory in {share:.0%} of 10 s; free some, or measure fewer cases at once"
    return Finding("H02", share, PRESSURE_SHARE, text)


def major_faults(faults: int, blocks: int) -> Finding | None:
    """H02: the worker waited for pages from a disk: swapped out, or dropped from the cache of files."""
    per_block = faults / max(1, blocks)
    if per_block <= MAJFLT_PER_BLOCK:
        return None
    text = f"{per_block:.1f} pages per block came from a disk; free memory, or measure fewer cases at once"
    return Finding("H02", per_block, MAJFLT_PER_BLOCK, text)


def _share(part_ns: int | None, elapsed_ns: int, cpus: int) -> float | None:
    if part_ns is None or elapsed_ns <= 0 or cpus <= 0:
        return None
    return max(0, part_ns) / (elapsed_ns * cpus)
