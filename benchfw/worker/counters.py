"""Host counters of this process, read between blocks."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from benchfw.worker import cgroups

_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def read() -> dict[str, int]:
    """Return counters: CPU time (ns), involuntary switches, page faults, quota throttling (periods), memory held.

    All are cumulative but the last two, resident bytes and Python's memory blocks, which are those of now.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_time_ns": int((usage.ru_utime + usage.ru_stime) * 1e9),
        "nivcsw": usage.ru_nivcsw,
        "minflt": usage.ru_minflt,
        "majflt": usage.ru_majflt,
        "nr_throttled": cgroups.nr_throttled(),
        "rss_bytes": _resident_bytes(),
        "objects": objects(),
    }


def objects() -> int:
    """Return how many memory blocks Python holds."""
    return sys.getallocatedblocks()


def _resident_bytes() -> int:
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


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
