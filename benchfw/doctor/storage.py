"""Folders that benchfw writes to, and the terminal that it prints to."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchfw.doctor.findings import Check, Finding, Level
from benchfw.store.files import bytes_below, size_text

_LOW_DISK = 5 << 30
"""A few exports of a large model, the weights of another one, or a night of raw iterations."""

_NO_DISK = 500 << 20
"""Less than the artifacts, weights and results of one small scenario."""

_WIDTH = 110
"""Below that the tables of `benchfw run` lose the ends of their cells, with backends of ordinary names."""


@dataclass(frozen=True)
class Folder:
    """A folder that benchfw writes to.

    Attributes:
        what: What lies there.
        path: None if there is none.
        remedy: How to choose another one.
        notice: What is odd about this one; empty if nothing.
        sized: Tell how much is in it.
        needed: Nothing goes without it.
    """

    what: str
    path: Path | None
    remedy: str
    notice: str = ""
    sized: bool = False
    needed: bool = True


@dataclass(frozen=True)
class Terminal:
    """Where output goes.

    Attributes:
        width: Columns; None if it is no terminal.
        colour: What kind of colours it has; None for none.
        encoding: Of standard output, as Python calls it.
    """

    width: int | None
    colour: str | None
    encoding: str


def temporary(find: Callable[[], str] = tempfile.gettempdir) -> Path | None:
    """Return the folder for temporary files; None if none can be written."""
    try:
        return Path(find())
    except OSError:
        return None


def checks(
    folders: list[Folder], free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> list[Check]:
    """Return the checks of folders.

    Args:
        folders: What to look at.
        free: Tells the free bytes of the file system of a folder.
    """
    return [Check("storage", folder.what, functools.partial(_folder, folder, free)) for folder in folders]


def terminal_check(terminal: Terminal) -> Check:
    """Return the check of the terminal."""
    return Check("terminal", "output", functools.partial(_terminal, terminal))


def _folder(folder: Folder, free: Callable[[Path], int]) -> Iterator[Finding]:
    bad: Level = "FAIL" if folder.needed else "WARN"
    if folder.path is None:
        yield Finding("storage", folder.what, bad, "there is no folder that can be written", folder.remedy)
        return
    there = _nearest(folder.path)
    why_not = _why_not_writable(there)
    if why_not:
        yield Finding("storage", folder.what, bad, f"{folder.path} cannot be written: {why_not}", folder.remedy)
        return
    left = free(there)
    text = f"{folder.path}, {size_text(left)} free"
    if folder.sized and there == folder.path:
        text += f", {size_text(bytes_below(there))} in it"
    elif there != folder.path:
        text += ", made when it is needed"
    if folder.needed and left < _LOW_DISK:
        level: Level = "FAIL" if left < _NO_DISK else "WARN"
        yield Finding("storage", folder.what, level, text, f"free some space there, or: {folder.remedy}")
    elif folder.notice:
        yield Finding("storage", folder.what, "WARN", folder.notice, folder.remedy)
    else:
        yield Finding("storage", folder.what, "OK", text)


def _nearest(path: Path) -> Path:
    """Return the folder itself, or the one above it that it would be made in."""
    return next((place for place in (path, *path.absolute().parents) if place.exists()), path)


def _why_not_writable(path: Path) -> str:
    """Write a file without a name; rights alone do not tell of read-only file systems and used-up quotas."""
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _terminal(terminal: Terminal) -> Iterator[Finding]:
    colour = f"colours: {terminal.colour}" if terminal.colour else "no colours"
    if terminal.width is None:
        yield Finding("terminal", "output", "OK", "not a terminal: plain text of a fixed width")
    elif terminal.width < _WIDTH:
        text = f"{terminal.width} columns, {colour}: tables of results are cut"
        yield Finding("terminal", "output", "WARN", text, f"make the window at least {_WIDTH} columns wide")
    else:
        yield Finding("terminal", "output", "OK", f"{terminal.width} columns, {colour}")
    if terminal.encoding.lower().replace("-", "").replace("_", "") == "utf8":
        yield Finding("terminal", "encoding", "OK", terminal.encoding)
    else:
        text = f"{terminal.encoding}: letters such as µ and ± are written as escapes"
        yield Finding(
            "terminal", "encoding", "WARN", text, "export PYTHONUTF8=1, or a UTF-8 locale: export LC_ALL=C.UTF-8"
        )
