"""Files of a run's folder: read with suspicion, written so that they survive, errors with a remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from benchfw.errors import ResultError

PREFIX = "run="

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
    """Return the command that continues a run."""
    return f"benchfw run --resume {run.name.removeprefix(PREFIX)}"


def printable(text: str, limit: int = 1000) -> str:
    """Return text of a stranger for a terminal: control characters and the like escaped, not too long."""
    text = text if len(text) <= limit else text[:limit] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def encodable(text: str) -> str:
    """Return text as it can be stored: what is not Unicode (bytes of file names, say) becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def open_inside(run: Path, name: str) -> BinaryIO:
    """Open a file of a run for reading.

    Raises:
        OSError: It is not there, or not a regular file (a pipe is never waited for), or a link out of the folder.
    """
    path = os.path.realpath(run / name)
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
            error.errno or 0, "choose another folder with --out, or, once that is repaired, `{resume}`"
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
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(run)):
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
