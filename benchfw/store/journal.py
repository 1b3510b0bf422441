"""The journal of a run: one synced line per cohort that was written. What it does not name is not trusted.

A line counts once its newline is there. After a power loss the last one may be torn; its cohort was not finished.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchfw.errors import ResultError
from benchfw.store.files import open_inside, printable, resume_command, sync_folder, writing
from benchfw.store.schema import TABLES

State = Literal["finished", "interrupted"]

NAME = "journal.jsonl"
PART = re.compile(r"part-([0-9]{5,9})\.parquet")

_MAX_BYTES = 64 << 20
_MAX_LINE = 8 << 20  # parsed JSON takes some fifty times its text
_MAX_PROBLEMS = 20
_PATIENCE_S = 1.0  # `is_being_written` of another process holds the lock too, for an instant
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cohort that was written.

    Attributes:
        cohort: Its id.
        part: Name of its file in the folder of each table.
        rows: Rows per table; a table without rows has no file.
        state: Whether all of the cohort was measured.
        cases: `hash` and `status` of each case by its id; empty in runs of before there was `--resume`.
        time: When it was written, ISO 8601 in UTC.
    """

    cohort: str
    part: str
    rows: Mapping[str, int]
    state: State = "finished"
    cases: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    time: str | None = None

    def line(self) -> bytes:
        """Return the entry as a line of the journal."""
        keys = ("cohort", "state", "part", "rows", "cases", "time")
        return json.dumps({key: getattr(self, key) for key in keys}).encode() + b"\n"


def read_journal(run: Path) -> tuple[list[Entry], list[str]]:
    """Return the entries of a run's journal in their order, and what is wrong with it; never raises."""
    try:
        with open_inside(run, NAME) as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:  # a run before its first cohort, unless there are parts
        lost = any((run / name).is_dir() for name in TABLES)
        return [], [_problem(run, "is missing: no cohort is read")] if lost else []
    except OSError as error:
        return [], [_problem(run, f"cannot be read: {error.strerror}")]
    if len(data) > _MAX_BYTES:
        return [], [_problem(run, f"is larger than {_MAX_BYTES >> 20} MiB: no cohort is read")]
    entries: list[Entry] = []
    problems: list[str] = []
    parts: set[str] = set()
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            entry = _entry(line)
            if entry.part in parts:
                raise ValueError(f"{entry.part} belongs to an earlier line")
        except (ValueError, RecursionError) as error:
            problems.append(_problem(run, f"line {number}: {error}; its cohort is not read"))
        else:
            parts.add(entry.part)
            entries.append(entry)
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [_problem(run, f"{len(problems) - _MAX_PROBLEMS} more lines are like that")]
    return entries, problems


def current(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return per cohort the entry that counts: the last one. What may replace what is for the writer to decide."""
    return {entry.cohort: entry for entry in entries}


def is_being_written(run: Path) -> bool:
    """Say whether a process is writing to a run now; False too where the file system has no locks."""
    try:
        file = os.open(run / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


class Journal:
    """The journal of a run that is being written, locked against a second writer until it is closed.

    Args:
        run: Folder of the run. A torn last line is cut off.

    Raises:
        ResultError: It cannot be opened, or another process writes to the run.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / NAME
        with writing(run, self.path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._file = os.open(self.path, flags, 0o666)
        self._torn: int | None = None  # length without what a failed write left, while that could not be cut off
        self._closer = weakref.finalize(self, os.close, self._file)
        try:
            with writing(run, self.path):
                self._lock()
                self._cut(_end_of_lines(self._file))
                sync_folder(run)
        except BaseException:
            self.close()
            raise

    def append(self, entry: Entry) -> None:
        """Write a line and sync it.

        Raises:
            ResultError: It cannot be written; the journal is as it was, as far as the disk allows.
        """
        if not self._closer.alive:
            raise ResultError(f"{self.path} is closed")
        with writing(self.run, self.path):
            if not os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                raise FileNotFoundError(errno.ENOENT, "it was replaced while the run wrote to it")
            if self._torn is not None:
                self._cut(self._torn)
            length = os.fstat(self._file).st_size
            try:
                rest = memoryview(entry.line())
                while rest:
                    rest = rest[os.write(self._file, rest) :]
                os.fsync(self._file)
            except BaseException:
                self._torn = length
                with contextlib.suppress(OSError):
                    self._cut(length)
                raise

    def close(self) -> None:
        """Close the file, which also unlocks it; does nothing the second time."""
        self._closer()

    def _lock(self) -> None:
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise OSError(errno.EPERM, "it is not a regular file")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise ResultError(
                        f"another process is writing to {self.run}", hint="wait until it ends, or end it"
                    ) from error
                time.sleep(0.02)
            except OSError as error:
                if error.errno not in _NO_LOCKS:  # file systems without locks: nothing keeps a second writer out
                    raise
                return
            else:
                return

    def _cut(self, length: int) -> None:
        if os.fstat(self._file).st_size > length:
            os.ftruncate(self._file, length)
            os.fsync(self._file)
        self._torn = None


def _end_of_lines(file: int) -> int:
    """Return the length of a file up to its last newline."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - (1 << 16))
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _problem(run: Path, what: str) -> str:
    return printable(f"{run / NAME} {what}") + f" (`{resume_command(run)}` measures again what is missing)"


def _entry(line: bytes) -> Entry:
    """Parse a line.

    Raises:
        ValueError, RecursionError: It is not the line of a cohort.
    """
    if len(line) > _MAX_LINE:
        raise ValueError("it is too long")
    try:
        data = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    state, part, time = data.get("state", "finished"), data.get("part"), data.get("time")
    if not isinstance(data.get("cohort"), str):
        raise ValueError("`cohort` is not text")
    if state not in ("finished", "interrupted"):
        raise ValueError(f"`state` is {state!r:.80}")
    if not isinstance(part, str) or not PART.fullmatch(part):
        raise ValueError(f"`part` is not the name of a part: {part!r:.80}")
    if not (time is None or isinstance(time, str)):
        raise ValueError("`time` is not text")
    return Entry(
        cohort=data["cohort"],
        part=part,
        rows=_rows(data.get("rows")),
        state=state,
        cases=_cases(data.get("cases", {})),
        time=time,
    )


def _rows(data: Any) -> dict[str, int]:
    if not isinstance(data, dict):
        raise ValueError("`rows` is not an object")
    for name, count in data.items():
        if name not in TABLES:
            raise ValueError(f"no table has the name {name!r:.80}")
        if type(count) is not int or count < 0:
            raise ValueError(f"`rows` of {name} is not a count")
    return data


def _cases(data: Any) -> dict[str, dict[str, str | None]]:
    if not isinstance(data, dict):
        raise ValueError("`cases` is not an object")
    cases = {}
    for case_id, case in data.items():
        if not isinstance(case, dict) or not all(isinstance(case.get(key), str | None) for key in ("hash", "status")):
            raise ValueError(f"case {case_id!r:.80} is not an object of texts")
        cases[case_id] = {"hash": case.get("hash"), "status": case.get("status")}
    return cases
