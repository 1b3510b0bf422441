"""Removing runs, so that at no moment half of one looks like a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from benchfw.errors import ResultError
from benchfw.store.files import PREFIX
from benchfw.store.journal import NAME as JOURNAL
from benchfw.store.journal import is_being_written

_REMOVED = ".removed-"
_PATIENCE_S = 0.3  # other removals, and whoever looks whether a run is being written, hold its lock for an instant
_PAUSE_S = 0.02


def check_removable(run: Path) -> None:
    """Refuse what is no run, and a run that is being written.

    Raises:
        ResultError: With the reason.
    """
    _check_kind(run)
    deadline = time.monotonic() + _PATIENCE_S
    while is_being_written(run):
        if time.monotonic() >= deadline:
            raise _busy(run)
        time.sleep(_PAUSE_S)


def remove_run(run: Path) -> bool:
    """Remove the folder of a run: first its name, in one step, then what is in it. Links are removed, not followed.

    Returns:
        False if it has gone: another process was quicker.

    Raises:
        ResultError: It is no run, is being written, or cannot be removed.
    """
    if not os.path.lexists(run):
        return False
    grave = run.with_name(f"{_REMOVED}{run.name}-{secrets.token_hex(4)}")
    try:
        with _nobody_writes(run):
            try:
                _check_kind(run)
                os.rename(run, grave)
            except (FileNotFoundError, ResultError):
                if os.path.lexists(run):
                    raise
                return False
            while _is_folder(grave):
                with contextlib.suppress(FileNotFoundError):  # another process sweeps it away at the same time
                    shutil.rmtree(grave)
    except OSError as error:
        raise ResultError(f"{error.filename or run} cannot be removed: {error.strerror or error}") from error
    return True


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
    journal = _locked_journal(run)
    try:
        yield
    finally:
        if journal is not None:
            os.close(journal)


def _locked_journal(run: Path) -> int | None:
    """Return a run's journal, locked; None if there is none, without which nobody writes."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            journal = os.open(run / JOURNAL, flags)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                raise
            return None
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(journal)  # not kept: whoever removes the run takes the file along
            if time.monotonic() >= deadline:
                raise _busy(run) from error
            time.sleep(_PAUSE_S)
        except OSError:  # a file system without locks
            return journal
        else:
            return journal


def _busy(run: Path) -> ResultError:
    return ResultError(f"{run} is being written by another process", hint="wait until it ends, or end it")
