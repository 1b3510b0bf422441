"""Where numbers come from: machine, software, command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path("/")


def machine(root: Path = ROOT) -> dict[str, Any]:
    """Return what is known of this machine without asking for rights; unknown things are None."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(root),
        "cpus": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu_quota": _read(root / "sys/fs/cgroup/cpu.max"),
        "memory_bytes": _memory("MemTotal", root),
        "governor": _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "smt": _read(root / "sys/devices/system/cpu/smt/active"),
        "container": (root / ".dockerenv").exists() or (root / "run/.containerenv").exists(),
    }


def software(names: list[str]) -> dict[str, Any]:
    """Return versions: Python, benchfw, and those of `names` that are installed."""
    import benchfw

    return {
        "python": platform.python_version(),
        "benchfw": benchfw.__version__,
        "packages": {name: _version(name) for name in names},
        "commit": _commit(Path(benchfw.__file__).parent),
    }


def command() -> list[str]:
    """Return the command line, the program by its name."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def load_average() -> list[float]:
    """Return the mean number of processes that wanted to run, over 1, 5 and 15 minutes."""
    return list(os.getloadavg())


def memory_available(root: Path = ROOT) -> int | None:
    """Return the memory in bytes that can be had without swapping."""
    return _memory("MemAvailable", root)


def suspended_s() -> float:
    """Return for how long the machine has been suspended since it booted, in seconds; 0 where that is unknown."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _memory(key: str, root: Path) -> int | None:
    for line in (_read(root / "proc/meminfo") or "").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _cpu_model(root: Path) -> str | None:
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """Return the commit of benchfw's own source, if it runs from a checkout; `+` marks uncommitted changes."""
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None if run.returncode == 0 else None
