"""Looking at other processes: what a worker has started, how a process is doing, what a signal is called."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

MARK = "BENCHFW_WORKER"
"""Variable in the environment of a worker and of whatever it starts, by which its descendants are found."""


def kill_marked(mark: str) -> None:
    """Kill every process whose environment carries a mark, or one that begins with it and `/`.

    A process that a worker forked stays in its group unless it leaves it; its environment goes with it. One that
    leaves the group and also gives itself another environment is not found.
    """
    wanted = re.compile(rb"(?:^|\0)" + re.escape(f"{MARK}={mark}".encode()) + rb"(?:/[^\0]*)?(?:\0|$)")
    for _ in range(3):  # one that forks while it is being looked for is found the next time
        found = [pid for pid in _pids() if wanted.search(_environ(pid)) and state_of(pid) != "Z"]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def state_of(pid: int) -> str:
    """Return the letter of a process's state, `T` for a stopped one; empty where unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
