"""What is in use, by names: locks that the kernel drops with the process that has them, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

USE = ".use"


class Uses:
    """What this process needs for a while; nobody removes it from the cache meanwhile.

    On file systems without locks nothing is held, and nothing is ever removed by itself either.

    Args:
        locks: Folder of lock files.
    """

    def __init__(self, locks: Path) -> None:
        self._locks = locks
        self._held: dict[str, int] = {}

    def add(self, key: str) -> None:
        """Hold what a key of the cache names, beside others who use it. Idempotent."""
        while key not in self._held:
            descriptor = _open(self._locks / f"{key}{USE}")
            if descriptor is None:
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                stale = not os.fstat(descriptor).st_nlink  # removed before it was locked: another one will be there
            except OSError:
                stale = False
            if stale:
                os.close(descriptor)
            else:
                self._held[key] = descriptor

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        while self._held:
            key, descriptor = self._held.popitem()
            if is_free(descriptor):  # nobody else has it: whoever waits for it sees that the file has gone
                with contextlib.suppress(OSError):
                    (self._locks / f"{key}{USE}").unlink()
            os.close(descriptor)


@contextlib.contextmanager
def unused(locks: Path, key: str) -> Iterator[bool]:
    """Say whether nobody uses what a key names, and keep it so for the length of a `with` block."""
    path = locks / f"{key}{USE}"
    descriptor = _open(path)
    if descriptor is None:
        yield False
        return
    try:
        free = is_free(descriptor)
        yield free
        if free:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(descriptor)


def is_free(descriptor: int) -> bool:
    """Lock what a descriptor is of, for this process alone; False if another one has it or there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[bool]:
    """Say whether no process has a folder locked any more, and lock it for the length of a `with` block."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        yield is_free(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError:
        return None
