"""Removing runs, so that at no moment half of one looks like a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from benchfw.errors import ResultError
from benchfw.store.files import PREFIX
from benchfw.store.journal import NAME as JOURNAL
from benchfw.store.journal import is_being_written

_REMOVED = ".removed-"


def check_removable(run: Path) -> None:
    """Refuse what is no run, and a run that is being written.

    Raises:
        ResultError: With the reason.
    """
    _check_kind(run)
    if is_being_written(run):
        raise _busy(run)


def remove_run(run: Path) -> None:
    """Remove the folder of a run: first its name, in one step, then what is in it. Links are removed, not followed.

    Raises:
        ResultError: It is no run, is being written, or cannot be removed.
    """
    _check_kind(run)
    grave = run.with_name(f"{_REMOVED}{run.name}-{secrets.token_hex(4)}")
    try:
        with _nobody_writes(run):
            os.rename(run, grave)
            shutil.rmtree(grave)
    except OSError as error:
        raise ResultError(f"{error.filename or run} cannot be removed: {error.strerror or error}") from error


def sweep(results: Path) -> None:
    """Remove what removals that were killed have left in a folder of results."""
    with contextlib.suppress(OSError):
        for item in list(results.iterdir()):
            if item.name.startswith(f"{_REMOVED}{PREFIX}") and _is_folder(item):
                shutil.rmtree(item, ignore_errors=True)


def _check_kind(run: Path) -> None:
    if not run.name.startswith(PREFIX) or not _is_folder(run):
        raise ResultError(f"{run} is not the folder of a run", hint="`benchfw results ls` lists runs")
    try:
        is_run = stat.S_ISREG((run / "manifest.json").lstat().st_mode)
    except OSError:
        is_run = False
    if not is_run:
        raise ResultError(f"{run} has no manifest.json: it is not known to be a run", hint="remove it by hand")


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def _nobody_writes(run: Path) -> Iterator[None]:
    """Keep everybody from going on with a run, as far as the file system has locks.

    Raises:
        ResultError: Somebody writes to it.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        journal = os.open(run / JOURNAL, flags)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EACCES):
            raise
        yield  # without a journal nobody writes
        return
    try:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(run) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(journal)


def _busy(run: Path) -> ResultError:
    return ResultError(f"{run} is being written by another process", hint="wait until it ends, or end it")
