"""Finding runs by what people type, and reading them with the problems told on stderr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchfw.cli.text import say
from benchfw.errors import ResultError
from benchfw.store import reader
from benchfw.store.journal import is_being_written
from benchfw.store.reader import PREFIX, find_runs


def find_run(run: str, results: Path) -> Path:
    """Return the folder of a run.

    Args:
        run: Its id, the beginning of one, its folder, or `latest`.
        results: Folder of results.

    Raises:
        ResultError: There is no such run, or more than one.
    """
    if Path(run).name.startswith(PREFIX) and Path(run).is_dir():
        return Path(run)
    runs = find_runs(results)
    if run == "latest":
        return runs[-1]
    ids = {folder.name.removeprefix(PREFIX): folder for folder in runs}
    found = [ids[run]] if run in ids else [folder for run_id, folder in ids.items() if run_id.startswith(run)]
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise ResultError(f"{what} in {results} begin with {run!r}", hint="`benchfw show --list` lists them")
    return found[0]


def state_of(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return the state of a run; `killed` for one that says `running` although nobody writes to it."""
    state = str(manifest.get("state"))
    return "killed" if state == "running" and not is_being_written(folder) else state


def read_cases(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the table `cases` of one run; what cannot be read is told on stderr."""
    rows, problems = reader.read_cases(folder)
    for problem in problems:
        say(f"warning: {problem}")
    return rows
