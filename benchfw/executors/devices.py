"""Keeps two runs off the same device, and tells a run who shares it all the same.

Two kinds of files lie in one folder of the machine. `cpu-N.lock` and `GPU-….lock` are held by the one run that measures
on that CPU, or that GPU, or by those that only use it beside what they measure on: runs on different GPUs share CPUs
with each other, and with no run that measures on CPUs. `run-*.json` says of every run, also of those that share, who it
is and which devices it uses; it is locked as long as its run lives, so that what a killed run leaves behind is known to
be stale.
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


ANY_GPU = "gpu"
"""Held beside by a run that knows which GPU it measures on, and alone by one that does not."""


def cpus() -> list[str]:
    """Return the names of the CPUs that this process may use."""
    numbers = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return [f"cpu-{number}" for number in sorted(numbers)]


class Devices:
    """The devices of a run.

    Args:
        names: What it measures on: `cpu-N`, `GPU-…`, or `ANY_GPU`. No other run may use them.
        beside: What it uses beside that. No other run may measure on them.
        folder: Where locks lie; default: `lock_folder()`.
    """

    def __init__(self, names: Sequence[str], beside: Sequence[str] = (), *, folder: Path | None = None) -> None:
        self._folder = folder or lock_folder()
        self._names = list(names)
        self._beside = [name for name in beside if name not in names]
        self._held: list[int] = []
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
        """Describe the other runs that are in the way of this one now; None if there are none."""
        return "; ".join(_describe(owner) for owner, _ in self._clashes()) or None

    def name(self, run_id: str) -> None:
        """Let other runs know this one by its id."""
        before = self._presence
        if before is None:
            return
        with contextlib.suppress(OSError):  # it is known by its number all the same
            self._announce(run_id)
            before[0].unlink()
            os.close(before[1])

    def _clashes(self) -> Iterator[tuple[Mapping[str, Any], set[str]]]:
        """Yield the other living runs that are in the way, and the devices that both want."""
        alone, all_ = set(self._names), {*self._names, *self._beside}
        for owner in self._owners():
            theirs = set(owner["devices"])
            both = (alone & {*theirs, *owner["beside"]}) | (all_ & theirs)
            if both:
                yield owner, both

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's: it has been done
            self._folder.chmod(0o1777)

    def _take(self, wait: bool, notify: Callable[[str], None], stop: Stop) -> None:
        told = None
        while (found := list(self._clashes()) or self._try()) is not None:
            both = {name for _, names in found for name in names}
            why = "; ".join(f"{_describe(owner)} measures on {_spoken(names)}" for owner, names in found)
            if not wait:
                raise DeviceBusy(why, hint=f"wait for it (without --no-wait), {_remedies(both)}")
            if why != told:
                notify(f"waiting: {why}; Ctrl-C ends this one; instead of waiting: {_remedies(both)}")
                told = why
            time.sleep(_POLL_S)
            stop.check()

    def _try(self) -> list[tuple[Mapping[str, Any], set[str]]] | None:
        """Take all locks or none: a run that waits holds nothing that others could wait for.

        Returns:
            None if it has them all; else what is in the way, as of a run that has not said who it is.
        """
        wanted = {**dict.fromkeys(self._beside, fcntl.LOCK_SH), **dict.fromkeys(self._names, fcntl.LOCK_EX)}
        for name, kind in wanted.items():
            descriptor = _opened(self._folder / f"{name}.lock")
            self._held.append(descriptor)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                self._unlock()
                return [({"lock": str(self._folder / f"{name}.lock")}, {name})]
        return None

    def _announce(self, run_id: str | None = None) -> None:
        """Write who this is, under another name until it is locked."""
        owner = {**_me(), "run": run_id, "devices": self._names, "beside": self._beside}
        draft = self._folder / f".{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps(owner).encode())
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
                if isinstance(owner, dict):
                    names = {key: owner.get(key, []) for key in ("devices", "beside")}
                    if all(_are_names(each) for each in names.values()):
                        yield {**owner, **names}

    def _release(self) -> None:
        if self._presence is not None:
            with contextlib.suppress(OSError):
                self._presence[0].unlink()
            os.close(self._presence[1])
            self._presence = None
        self._unlock()

    def _unlock(self) -> None:
        while self._held:
            os.close(self._held.pop())


def _opened(path: Path) -> int:
    """Return a descriptor of a file to be locked, made so that everybody can lock it."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    except PermissionError:  # kernels may not let another user's file be opened so in a folder of all users
        return os.open(path, flags)
    with contextlib.suppress(OSError):  # another one's; the mask of this process does not count
        os.fchmod(descriptor, 0o666)
    return descriptor


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _is_cpu(name: str) -> bool:
    return name.startswith("cpu-")


def _spoken(names: set[str]) -> str:
    """Return what two runs want, in words: `the same CPUs and the GPU GPU-…`."""
    gpus = sorted(names - {ANY_GPU})
    parts = ["the same CPUs"] if any(map(_is_cpu, names)) else []
    parts += [f"the same GPU, {name}" for name in gpus if not _is_cpu(name)]
    if ANY_GPU in names:
        parts.append("a GPU that may be the same")
    return " and ".join(parts)


def _remedies(names: set[str]) -> str:
    """Say what there is to do but to wait for the run that has these devices."""
    gpu = "take another GPU (`device` of its backends, CUDA_VISIBLE_DEVICES), "
    cpus = "take other CPUs (`taskset -c 2,3 benchfw …`), "
    ways = [gpu if not all(map(_is_cpu, names)) else "", cpus if any(map(_is_cpu, names)) else ""]
    return f"{''.join(ways)}or --allow-shared (rows say CONTENDED)"


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
    """Say who a run is, for a terminal: what it says of itself may be anything, as anybody may write there."""
    if set(owner) == {"lock"}:  # of `_try`: it has just begun, or could not write who it is
        return printable(f"a run that has not said who it is (`lslocks` tells the pid that has {owner['lock']})")
    run = f", run {owner['run']}" if owner.get("run") else ""
    text = (
        f"a run of {owner.get('user')} on {owner.get('host')} (pid {owner.get('pid')}{run}, since {owner.get('since')})"
    )
    return printable(text)
