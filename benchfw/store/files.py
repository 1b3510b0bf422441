"""Files of a run's folder: read with suspicion, written so that they survive, errors with a remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from benchfw.errors import ResultError

PREFIX = "run="
RESULTS = Path("results")
"""Where commands look for runs unless told."""

_UNITS = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
_REMEDIES = {
    errno.ENOSPC: "the disk is full: free space, then `{resume}`",
    errno.EDQUOT: "the quota is used up: free space, then `{resume}`",
    errno.EROFS: "the file system is read-only: make it writable, then `{resume}`",
    errno.ENOENT: "the folder vanished while the run wrote to it: put it back, then `{resume}`",
    errno.ESTALE: "the folder vanished from its server: mount it again, then `{resume}`",
    errno.EFBIG: "the file is larger than is allowed (`ulimit -f`): raise the limit, then `{resume}`",
    errno.EACCES: "give yourself the right to write there, then `{resume}`",
}


def resume_command(run: Path) -> str:
    """Return the command that continues a run, to be pasted into a shell; a terminal can take it as it is."""
    return f"benchfw run --resume {run_argument(run)}"


def run_argument(run: Path) -> str:
    """Return what a command calls a run, for a shell: its id if it is where commands look for ids, else its folder."""
    run_id = run.name.removeprefix(PREFIX)
    try:
        near = os.path.realpath(run.parent) == os.path.realpath(RESULTS)
    except (OSError, ValueError):  # the working folder is gone
        near = False
    if near and run_id != "latest" and re.fullmatch(r"\w[\w.-]*", run_id, re.ASCII):
        return run_id
    return path_argument(run)


def path_argument(path: Path) -> str:
    """Return a path for a shell; a terminal can take it as it is."""
    return _quoted(f"./{path}" if str(path).startswith("-") else str(path))


def _quoted(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    # bash, zsh and ksh know this one
    chars = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(chars)}'"


def printable(text: str, limit: int = 1000) -> str:
    """Return text of a stranger for a terminal: control characters and the like escaped, not too long."""
    text = text if len(text) <= limit else text[:limit] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def encodable(text: str) -> str:
    """Return text as it can be stored: what is not Unicode (bytes of file names, say) becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def bytes_below(folder: Path) -> int:
    """Return the sizes of all files below a folder, together; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def size_text(count: int) -> str:
    """Return a number of bytes for people, in binary units: `512 B`, `3.0 MiB`."""
    unit = next((unit for unit in _UNITS if count >= _UNITS[unit]), "B")
    return f"{count / _UNITS[unit]:.1f} {unit}" if unit in _UNITS else f"{count} B"


def is_inside(run: Path, path: Path) -> bool:
    """Say whether a path of a run still is in its folder once all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(run))


def open_inside(run: Path, name: str) -> BinaryIO:
    """Open a file of a run for reading.

    Raises:
        OSError: It is not there, or not a regular file (a pipe is never waited for), or a link out of the folder.
    """
    path = os.path.realpath(run / name)  # what is opened is what was looked at
    if not Path(path).is_relative_to(os.path.realpath(run)):
        raise OSError(errno.EPERM, "it leads out of the run's folder", str(run / name))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EPERM, "it is not a regular file", str(run / name))
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def writing(run: Path, path: Path) -> Iterator[None]:
    """Turn the OSErrors of writing `path` into ResultErrors that name it, the reason and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(
            error.errno or 0, "choose another folder with --results, or, once that is repaired, `{resume}`"
        )
        raise ResultError(
            f"{path} cannot be written: {error.strerror or error}", hint=remedy.format(resume=resume_command(run))
        ) from error


def make_folder(run: Path, name: str) -> Path:
    """Return a folder of a run, made durable if it was not there.

    Raises:
        ResultError: It cannot be made, or is a link out of the run's folder: what is written there is not read.
    """
    path = run / name
    with writing(run, path):
        if not path.is_dir():
            path.mkdir(exist_ok=True)
            sync_folder(run)
        if not is_inside(run, path):
            raise OSError(errno.EPERM, "it leads out of the run's folder")
    return path


def replace(run: Path, path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name, sync it, rename it, sync the folder.

    Raises:
        ResultError: It cannot be written; what was there before still is.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with writing(run, path):
            with draft.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power loss, where the file system can.

    Raises:
        OSError: It failed.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that sync files only
            raise
    finally:
        os.close(folder)
