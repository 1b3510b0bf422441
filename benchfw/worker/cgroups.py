"""This process's control groups, v1 and v2: its CPU quota, how often that held it back, and kills for want of memory.

A limit can be set on any group above the process's own, so all of them are looked at, as far as they are mounted: a
container sees no more than its own part. What cannot be read or makes no sense counts as "no limit".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path("/")


class MemoryRoom(NamedTuple):
    """The limit of a group's memory, and what is left of it, in bytes."""

    limit: int
    left: int


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the tightest CPU quota, in cores; None if there is none."""
    quotas = [quota for folder in _folders("cpu", root) for quota in _quotas(folder) if quota is not None]
    return min(quotas, default=None)


def nr_throttled(root: Path = ROOT) -> int:
    """Return in how many periods a quota was used up: that of the own group, or of one above, which stops us too."""
    return sum(_value(folder / "cpu.stat", "nr_throttled") or 0 for folder in _folders("cpu", root))


def memory_room(root: Path = ROOT) -> MemoryRoom | None:
    """Return the limit of the group that has the least memory left; None if no group has a limit.

    Pages of files that nobody has used lately count as left: the kernel drops them before it kills. Version 1 writes a
    number that no machine has where there is no limit.
    """
    rooms = (room for folder in memory_groups(root=root) for room in _rooms(folder))
    return min(rooms, key=lambda room: room.left, default=None)


def memory_groups(process: int | None = None, root: Path = ROOT) -> tuple[Path, ...]:
    """Return the folders of the groups that hold a process's memory (default: this one's), nearest first."""
    return _find("memory", root, "self" if process is None else str(process))


def oom_kills(root: Path = ROOT, *, groups: tuple[Path, ...] | None = None) -> int:
    """Return how many processes the kernel killed for want of memory; only a rise says something.

    A kill is counted in the group of its victim, whatever limit was met, so a worker's group tells of it and hardly of
    others. Where no group counts, the machine's number is taken: that rises with anybody's kill.

    Args:
        root: Where the file systems are.
        groups: The groups to ask, nearest first; default: those of this process.
    """
    for folder in _folders("memory", root) if groups is None else groups:
        for name in ("memory.events", "memory.oom_control"):
            count = _value(folder / name, "oom_kill")
            if count is not None:
                return count
    return _value(root / "proc/vmstat", "oom_kill") or 0


def _quotas(folder: Path) -> Iterator[float | None]:
    """Yield the quota of one group as v2 and as v1 write it."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    yield _ratio(quota, period)
    yield _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _rooms(folder: Path) -> Iterator[MemoryRoom]:
    """Yield the limit of one group as v2 and as v1 write it."""
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most = _number(_read(folder / limit))
        if most is not None:
            held = (_number(_read(folder / used)) or 0) - (_value(folder / "memory.stat", dropped) or 0)
            yield MemoryRoom(most, max(0, most - max(0, held)))


def _ratio(quota: str, period: str) -> float | None:
    try:
        cores = int(quota) / int(period)
    except (ValueError, ArithmeticError):  # `max`, or no such file
        return None
    return cores if cores > 0 else None


def _value(path: Path, key: str) -> int | None:
    """Return the number behind a key in a file of `KEY NUMBER` lines."""
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == key:
            return _number(words[1])
    return None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 20 else None


@functools.lru_cache(maxsize=8)  # asked between blocks; nobody moves a process while it is measured
def _folders(controller: str, root: Path) -> tuple[Path, ...]:
    return _find(controller, root, "self")


def _find(controller: str, root: Path, process: str) -> tuple[Path, ...]:
    """Return the folders of a process's group and of those above it, nearest first, in every hierarchy that matters."""
    paths = _memberships(controller, root, process)
    found = []
    for kind, top, place in _mounts(controller, root):
        if kind not in paths:
            continue
        own = PurePosixPath(paths[kind])
        below = own.relative_to(top) if own.is_relative_to(top) and ".." not in own.parts else PurePosixPath()
        mount = root / place.lstrip("/")
        found += [mount / part for part in (below, *below.parents)]
    return tuple(dict.fromkeys(folder for folder in found if folder.is_dir()))


def _memberships(controller: str, root: Path, process: str) -> dict[str, str]:
    """Return the path of a process's group by the type of hierarchy, `cgroup` (v1) or `cgroup2`."""
    paths = {}
    for line in _read(root / "proc" / process / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and path.startswith("/"):
            if number == "0" and not controllers:
                paths["cgroup2"] = path
            elif controller in controllers.split(","):
                paths["cgroup"] = path
    return paths


def _mounts(controller: str, root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the type, the group at the top and the place of each mounted hierarchy that may have a controller."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not dash or len(fields) < 6 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" or (kind[0] == "cgroup" and controller in kind[2].split(",")):
            yield kind[0], _unescaped(fields[3]), _unescaped(fields[4])


def _unescaped(text: str) -> str:
    """Undo the kernel's `\\040` for a blank in a path."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):  # ValueError: a null byte in a path
        return ""
