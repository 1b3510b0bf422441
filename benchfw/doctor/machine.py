"""The machine: CPUs, what changes their speed, memory, and who else works on it.

What a virtual machine or a container does not show cannot be judged, and is no fault: the canary of each measurement
stands in for it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchfw.doctor.findings import Check, Finding, Level
from benchfw.store import provenance
from benchfw.worker import cgroups

_CPUS = "sys/devices/system/cpu"
_GIB = 1 << 30
_LOW_MEMORY = 2 * _GIB
"""A worker with a framework and a small model takes 0.3 to 1 GiB, and a comparison keeps several of them loaded."""

_NO_MEMORY = _GIB // 2
"""Not enough for one worker that has imported a framework."""

_LOAD = 0.5
_LOAD_SHARE = 0.05
"""Something else that is busy half of the time disturbs a small machine; a large one has CPUs for it elsewhere."""

_STEAL = 0.01
"""A share of stolen time that is as large as the narrowest interval that `effort = "quick"` asks for."""


_CLOCKS = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"}
"""These are read without a call into the kernel, in tens of nanoseconds."""


def checks(root: Path, affinity: frozenset[int] | None, measuring: str | None = None) -> list[Check]:
    """Return the checks of a machine.

    Args:
        root: Where its `/proc` and `/sys` are.
        affinity: The CPUs that this process may use; None if the system does not say.
        measuring: Describes the runs that measure on these CPUs now; None if there are none.
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "system": functools.partial(_system, root),
        "CPUs": functools.partial(_cpus, root, affinity),
        "quota": functools.partial(_quota, root, affinity),
        "governor": functools.partial(_governor, root),
        "turbo": functools.partial(_turbo, root),
        "SMT": functools.partial(_smt, root, affinity),
        "clock": functools.partial(_clock, root),
        "memory": functools.partial(_memory, root),
        "load": functools.partial(_load, root),
        "steal": functools.partial(_steal, root),
        "runs": functools.partial(_runs, measuring),
    }
    return [Check("machine", what, look) for what, look in looks.items()]


def _finding(what: str, level: Level, text: str, remedy: str = "") -> Finding:
    return Finding("machine", what, level, text, remedy)


def _system(root: Path) -> Iterator[Finding]:
    facts = provenance.machine(root)
    where = ", in a container" if facts["container"] else ""
    yield _finding("system", "OK", f"{facts['system']} {facts['kernel']} {facts['architecture']}{where}")


def _cpus(root: Path, affinity: frozenset[int] | None) -> Iterator[Finding]:
    model = provenance.machine(root)["cpu"] or "unknown model"
    there = len(list((root / _CPUS).glob("cpu[0-9]*"))) or None
    usable = len(affinity) if affinity else there
    if usable is None:
        yield _finding("CPUs", "OK", f"{model}; how many is not visible")
        return
    text = f"{usable} of {there} usable, {model}" if there and there != usable else f"{usable}, {model}"
    if usable == 1:
        yield _finding(
            "CPUs",
            "WARN",
            f"{text}: whatever else runs takes its time from what is measured",
            "give it a second CPU: more CPUs for the virtual machine, or a wider taskset or cpuset",
        )
    else:
        yield _finding("CPUs", "OK", text)


def _quota(root: Path, affinity: frozenset[int] | None) -> Iterator[Finding]:
    quota, cpus = cgroups.cpu_quota(root), len(affinity or ())
    remedy = "raise the limit: docker run --cpus N, Kubernetes limits.cpu, or systemd CPUQuota="
    if quota is None:
        yield _finding("quota", "OK", "none")
    elif quota < 1:
        text = f"{quota:g} CPUs: even one thread is stopped in every period, so latencies are those of the quota"
        yield _finding("quota", "FAIL", text, remedy)
    elif quota < cpus:
        text = f"{quota:g} CPUs on {cpus}: what uses more at once is stopped for the rest of each period"
        yield _finding("quota", "WARN", f"{text} ({cgroups.nr_throttled(root)} times so far)", remedy)
    else:
        yield _finding("quota", "OK", f"{quota:g} CPUs")


def _governor(root: Path) -> Iterator[Finding]:
    files = (root / _CPUS).glob("cpu[0-9]*/cpufreq/scaling_governor")
    names = Counter(text for file in files if (text := _read(file)))
    if not names:
        yield _finding("governor", "OK", "not visible here (a virtual machine does not show it)")
    elif set(names) == {"performance"}:
        yield _finding("governor", "OK", "performance")
    else:
        text = ", ".join(f"{name} on {count} CPUs" for name, count in names.most_common())
        yield _finding(
            "governor",
            "WARN",
            f"{text}: the clock rises only after load has come",
            "sudo cpupower frequency-set -g performance",
        )


def _turbo(root: Path) -> Iterator[Finding]:
    intel, other = f"{_CPUS}/intel_pstate/no_turbo", f"{_CPUS}/cpufreq/boost"
    no_turbo, boost = _read(root / intel), _read(root / other)
    if no_turbo == "0" or (not no_turbo and boost == "1"):
        switch = f"echo 1 | sudo tee /{intel}" if no_turbo else f"echo 0 | sudo tee /{other}"
        text = "on: the clock depends on heat and on how many cores work, so it differs between runs"
        yield _finding("turbo", "WARN", text, switch)
    elif no_turbo or boost:
        yield _finding("turbo", "OK", "off")
    else:
        yield _finding("turbo", "OK", "not visible here")


def _smt(root: Path, affinity: frozenset[int] | None) -> Iterator[Finding]:
    active = _read(root / _CPUS / "smt/active")
    if active != "1":
        yield _finding("SMT", "OK", "off" if active == "0" else "not visible here")
        return
    files = sorted((root / _CPUS).glob("cpu[0-9]*/topology/thread_siblings_list"))
    cores = sorted({text for file in files if (text := _read(file))}, key=lambda text: _first(text))
    firsts = [_first(core) for core in cores]
    if affinity and firsts and len(affinity) <= len({core for core in cores if affinity & _numbers(core)}):
        yield _finding("SMT", "OK", "on, but this process uses one thread of each core")
        return
    remedy = f"echo off | sudo tee /{_CPUS}/smt/control"
    if firsts:
        remedy += f"; without rights: taskset -c {','.join(map(str, firsts))} benchfw …"
    text = "on: two threads of one core take turns, and times depend on which pairs are busy"
    yield _finding("SMT", "WARN", text, remedy)


def _clock(root: Path) -> Iterator[Finding]:
    folder = root / "sys/devices/system/clocksource/clocksource0"
    name, others = _read(folder / "current_clocksource"), _read(folder / "available_clocksource").split()
    if not name or name in _CLOCKS:
        yield _finding("clock", "OK", name or "not visible here")
        return
    better = next((other for other in others if other in _CLOCKS), None)
    if better:
        remedy = f"echo {better} | sudo tee /{(folder / 'current_clocksource').relative_to(root)}"
    else:
        remedy = "look why the kernel does not trust its own: dmesg | grep -i -e tsc -e clocksource"
    text = f"{name}: reading it may take a microsecond and more, which times of microseconds then contain"
    yield _finding("clock", "WARN", text, remedy)


def _memory(root: Path) -> Iterator[Finding]:
    available, room = provenance.memory_available(root), cgroups.memory_room(root)
    if available is None:
        yield _finding("memory", "OK", "not visible here")
        return
    total = provenance.machine(root)["memory_bytes"] or available
    text = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB available"
    if room is not None and room.limit < total:
        available = min(available, room.left)
        text += f", limited to {room.limit / _GIB:.1f} GiB, of which {room.left / _GIB:.1f} GiB are left"
    if available < _LOW_MEMORY:
        remedy = 'end what uses memory, or raise the limit; interleave = "session" keeps fewer workers loaded'
        short = "no worker may start" if available < _NO_MEMORY else "backends may not fit side by side"
        yield _finding("memory", "FAIL" if available < _NO_MEMORY else "WARN", f"{text}: {short}", remedy)
    else:
        yield _finding("memory", "OK", text)


def _load(root: Path) -> Iterator[Finding]:
    words = _read(root / "proc/loadavg").split()
    if not words:
        yield _finding("load", "OK", "not visible here")
        return
    cpus = len(list((root / _CPUS).glob("cpu[0-9]*"))) or 1
    load, text = float(words[0]), f"{words[0]} processes wanted to run during the last minute, {cpus} CPUs"
    if load > max(_LOAD, _LOAD_SHARE * cpus):
        yield _finding("load", "WARN", f"{text}: they take time from what is measured", "end what runs beside it: top")
    else:
        yield _finding("load", "OK", text)


def _steal(root: Path) -> Iterator[Finding]:
    fields = next((line.split()[1:9] for line in _read(root / "proc/stat").splitlines() if line[:4] == "cpu "), [])
    times = [int(field) for field in fields]
    if len(times) < 8 or not sum(times):
        yield _finding("steal", "OK", "not visible here")
        return
    share = times[7] / sum(times)
    text = f"{share:.2%} of CPU time since boot went to other virtual machines"
    if share > _STEAL:
        yield _finding("steal", "WARN", text, "use a machine, or a kind of instance, whose CPUs are not shared")
    else:
        yield _finding("steal", "OK", text)


def _runs(measuring: str | None) -> Iterator[Finding]:
    if measuring:
        text = f"{measuring} is measuring on these CPUs: whatever is done here disturbs it"
        yield _finding("runs", "WARN", text, "wait until it is over")
    else:
        yield _finding("runs", "OK", "none is measuring on these CPUs")


def _first(siblings: str) -> int:
    return min(_numbers(siblings), default=0)


def _numbers(text: str) -> frozenset[int]:
    """Return the numbers of a list as the kernel writes it, like `0,8` or `0-1`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
