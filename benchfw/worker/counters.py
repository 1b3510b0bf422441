"""Host counters of this process, read between blocks."""

from __future__ import annotations

import resource
from pathlib import Path

from benchfw.worker import cgroups

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def read() -> dict[str, int]:
    """Return cumulative counters: CPU time (ns), involuntary switches, page faults, quota throttling (periods)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_time_ns": int((usage.ru_utime + usage.ru_stime) * 1e9),
        "nivcsw": usage.ru_nivcsw,
        "minflt": usage.ru_minflt,
        "majflt": usage.ru_majflt,
        "nr_throttled": cgroups.nr_throttled(),
    }


def rss_bytes(key: str = "VmHWM") -> int | None:
    """Return resident memory: the peak since the last reset (`VmHWM`), or now (`VmRSS`); None where unknown."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def reset_peak_rss() -> bool:
    """Let `VmHWM` start again from the resident memory of now; False where the kernel does not allow it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True
