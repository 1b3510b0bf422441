"""Keeps two runs off the same device, and tells a run who shares it all the same.

Two kinds of files lie in one folder of the machine. `cpu-N.lock` is held by the one run that has the device to itself.
`run-*.json` says of every run, also of those that share, who it is and which devices it uses; it is locked as long as
its run lives, so that what a killed run leaves behind is known to be stale.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchfw.errors import DeviceBusy
from benchfw.spec.stop import Stop
from benchfw.store.files import printable

_DEFAULT = Path("/tmp/benchfw-locks")
_POLL_S = 0.5
_MAX_BYTES = 1 << 16


def lock_folder() -> Path:
    """Return where locks lie: the folder of `BENCHFW_LOCKS`, or one place for the whole machine."""
    configured = os.environ.get("BENCHFW_LOCKS")
    return Path(configured) if configured else _DEFAULT


def cpus() -> list[str]:
    """Return the names of the CPUs that this process may use."""
    numbers = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return [f"cpu-{number}" for number in sorted(numbers)]


class Devices:
    """The devices that a run measures on.

    Args:
        names: `cpu-N`, in the order that all runs take them in.
        folder: Where locks lie; default: `lock_folder()`.
    """

    def __init__(self, names: Sequence[str], *, folder: Path | None = None) -> None:
        self._folder = folder or lock_folder()
        self._names = list(names)
        self._held: list[FileLock] = []
        self._presence: tuple[Path, int] | None = None

    @contextlib.contextmanager
    def taken(
        self, *, wait: bool, shared: bool, notify: Callable[[str], None], stop: Stop | None = None
    ) -> Iterator[Devices]:
        """Take the devices for the length of a `with` block.

        Args:
            wait: Wait for a run that has one of them; else fail.
            shared: Measure beside other runs.
            notify: Told whom it waits for, and if there can be no locks here.
            stop: Ends waiting.

        Raises:
            DeviceBusy: Another run has one of them, and `wait` is false.
        """
        try:
            self._prepare()
            if not shared:
                self._take(wait, notify, stop or Stop())
            self._announce()
        except OSError as error:
            notify(f"two runs at once would not be noticed: {self._folder} cannot be used ({error.strerror})")
        try:
            yield self
        finally:
            self._release()

    def others(self) -> str | None:
        """Describe the other runs that use one of the devices now; None if there are none."""
        found = [_describe(owner) for owner in self._owners() if set(owner.get("devices", ())) & set(self._names)]
        return "; ".join(found) or None

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's: it has been done
            self._folder.chmod(0o1777)

    def _take(self, wait: bool, notify: Callable[[str], None], stop: Stop) -> None:
        told = None
        while (owner := self.others()) or not self._try():
            owner = owner or "another run"
            if not wait:
                raise DeviceBusy(
                    f"{owner} measures on the same CPUs", hint="wait for it, or --allow-shared (rows say CONTENDED)"
                )
            if owner != told:
                notify(f"waiting: {owner} measures on the same CPUs")
                told = owner
            time.sleep(_POLL_S)
            stop.check()

    def _try(self) -> bool:
        """Take all locks or none: a run that waits holds nothing that others could wait for."""
        for name in self._names:
            lock = FileLock(self._folder / f"{name}.lock", timeout=0, mode=0o666)
            try:
                lock.acquire()
            except Timeout:
                self._unlock()
                return False
            self._held.append(lock)
        return True

    def _announce(self) -> None:
        """Write who this is, under another name until it is locked."""
        draft = self._folder / f".{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps({**_me(), "devices": self._names}).encode())
        path = self._folder / f"run{draft.name.replace('.', '-', 1)}.json"
        os.rename(draft, path)
        self._presence = path, descriptor

    def _owners(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the other living runs say of themselves; forget the dead ones."""
        for path in sorted(self._folder.glob("run-*.json")):
            if self._presence and path == self._presence[0]:
                continue
            with contextlib.suppress(OSError, ValueError, RecursionError):  # anybody may write here
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if _is_free(descriptor):
                        path.unlink()
                        continue
                    owner = json.loads(os.read(descriptor, _MAX_BYTES))
                finally:
                    os.close(descriptor)
                devices = owner.get("devices") if isinstance(owner, dict) else None
                if isinstance(devices, list) and all(isinstance(name, str) for name in devices):
                    yield owner

    def _release(self) -> None:
        if self._presence is not None:
            with contextlib.suppress(OSError):
                self._presence[0].unlink()
            os.close(self._presence[1])
            self._presence = None
        self._unlock()

    def _unlock(self) -> None:
        while self._held:
            self._held.pop().release()


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _me() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no variable says it, and the user has no entry in the database
        user = str(os.getuid())
    return {
        "pid": os.getpid(),
        "user": user,
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe(owner: Mapping[str, Any]) -> str:
    text = f"a run of {owner.get('user')} on {owner.get('host')} (pid {owner.get('pid')}, since {owner.get('since')})"
    return printable(text)
