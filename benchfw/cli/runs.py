"""Finding runs by what people type, and reading them with the problems told on stderr."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchfw.cli.text import printable, say
from benchfw.errors import ResultError, UsageError
from benchfw.store import reader
from benchfw.store.files import bytes_below, size_text
from benchfw.store.journal import is_being_written
from benchfw.store.reader import PREFIX, find_runs
from benchfw.store.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

_DATE = re.compile(r"\d{8}", re.ASCII)
"""The beginning of an id: the day on which the run began."""


def find_run(run: str, results: Path, *, with_date: bool = False) -> Path:
    """Return the folder of a run.

    Args:
        run: Its id, the beginning of one, its folder, or `latest`.
        results: Folder of results.
        with_date: Take only such beginnings of ids that hold the date.

    Raises:
        UsageError: There is no such run, or more than one, or no name at all.
        ResultError: The folder of results cannot be read.
    """
    hint = "`benchfw results ls` lists them; --results FOLDER if they are elsewhere"
    if Path(run).name.startswith(PREFIX) and Path(run).is_dir():
        return Path(run)
    start = run.removeprefix(PREFIX)
    if not start.strip():
        raise UsageError("the name of a run is empty", hint=hint)
    runs = find_runs(results)
    if run == "latest" and runs:
        return runs[-1]
    ids = {folder.name.removeprefix(PREFIX): folder for folder in runs}
    if start in ids:
        return ids[start]
    if with_date and runs and not _DATE.match(start):
        raise UsageError(
            f"no run in {results} has the id {run!r}",
            hint=f"a run's whole id, or its beginning with all of the date, as in {_example(runs[-1])}",
        )
    found = [folder for run_id, folder in ids.items() if run_id.startswith(start)]
    if not found:
        what = f"no run in {results} begins with {run!r}" if runs and run != "latest" else f"no runs in {results}"
        raise UsageError(
            what, hint=hint if runs else "`benchfw run` makes them; --results FOLDER if they are elsewhere"
        )
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs in {results} begin with {run!r}", hint=hint)
    return found[0]


def distinct(runs: Iterable[Path]) -> list[Path]:
    """Return folders of runs, each once, however it was named."""
    found: dict[tuple[str, str], Path] = {}
    for run in runs:
        found.setdefault((os.path.realpath(run.parent), run.name), run)
    return list(found.values())


def _example(run: Path) -> str:
    run_id = run.name.removeprefix(PREFIX)
    return run_id[:8] if _DATE.match(run_id) else run_id


def state_of(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return the state of a run; `killed` for one that says `running` although nobody writes to it."""
    state = str(manifest.get("state"))
    return "killed" if state == "running" and not is_being_written(folder) else state


def read_rows(folder: Path, *tables: str) -> list[list[dict[str, Any]]]:
    """Return the rows of tables of one run; what cannot be read is told on stderr.

    Raises:
        ResultError: The manifest cannot be read.
    """
    results = reader.Results([folder])
    found = [_table(results, name).to_pylist() for name in tables]
    tell(results.problems)
    return found


@contextlib.contextmanager
def opened(*folders: Path) -> Iterator[list[reader.Results]]:
    """Give the results of each run; what cannot be read of them is told on stderr at the end."""
    found = [reader.Results([folder]) for folder in folders]
    with warnings.catch_warnings():  # they are told as `problems`
        warnings.simplefilter("ignore", reader.ResultWarning)
        yield found
    for results in found:
        tell(results.problems)


def read_table(runs: list[Path], name: str) -> pa.Table:
    """Return a table of `benchfw.store.schema.TABLES` over these runs; what cannot be read is told on stderr.

    Raises:
        UsageError: There is no such table.
        ResultError: The manifest of a run cannot be read.
    """
    check_table(name)
    results = reader.Results(runs)
    table = _table(results, name)
    tell(results.problems)
    return table


def check_table(name: str | None) -> str:
    """Return the name of a table of `benchfw.store.schema.TABLES`.

    Raises:
        UsageError: There is none, with the nearest name and all of them.
    """
    from benchfw.store.export import did_you_mean

    hint = f"there are: {', '.join(TABLES)}"
    if name is None:
        raise UsageError("no table was given: --table TABLE", hint=hint)
    if name not in TABLES:
        raise UsageError(f"there is no table {name!r}{did_you_mean(name, TABLES)}", hint=hint)
    return name


def no_runs(results: Path) -> str:
    """Return the sentence for a folder without runs, for a terminal."""
    return printable(f"no runs in {results}")


def show_list(results: Path, *, as_json: bool) -> None:
    """Print what runs a folder of results has, newest first."""
    from benchfw.cli.console import literal, make_console, print_json, print_table, simple_table

    rows = [_listed(folder) for folder in reversed(find_runs(results))]
    if as_json:
        print_json(rows)
        return
    if not rows:
        print(no_runs(results))
        return
    columns = ("run", "scenario", "state", "cases", "OK", "started", "size")
    table = simple_table(*columns, right=("cases", "OK", "size"))
    for row in rows:
        started = (row["started"] or "-").replace("+00:00", "Z")
        cells = (
            row["run_id"],
            row["scenario"],
            row["state"],
            row["cases"],
            row["ok"],
            started,
            size_text(row["bytes"]),
        )
        table.add_row(*map(literal, cells))
    print_table(make_console(), table)


def _listed(folder: Path) -> dict[str, Any]:
    try:
        manifest = reader.read_manifest(folder)
    except ResultError as error:  # one run that cannot be read shall not hide the others
        manifest = {"state": error.message}
    statuses: list[str | None] = []
    if "schema_version" in manifest:
        statuses, problems = reader.read_statuses(folder)
        tell(problems)
    scenario = manifest.get("scenario")
    return {
        "run_id": folder.name.removeprefix(PREFIX),
        "scenario": str(scenario.get("name") if isinstance(scenario, dict) else None),
        "state": state_of(folder, manifest),
        "cases": len(statuses),
        "ok": statuses.count("OK"),
        "started": _started(manifest),
        "bytes": bytes_below(folder),
    }


def _table(results: reader.Results, name: str) -> pa.Table:
    with warnings.catch_warnings():  # they are told as `problems`
        warnings.simplefilter("ignore", reader.ResultWarning)
        return results.table(name)


def tell(problems: Iterable[str]) -> None:
    """Tell on stderr what of results could not be read."""
    for problem in problems:
        say(f"warning: {problem}")


def _started(manifest: Mapping[str, Any]) -> str | None:
    """Return when the first attempt began, ISO 8601 in UTC; None where the manifest does not say."""
    attempts = manifest.get("attempts")
    first = attempts[0] if isinstance(attempts, list) and attempts else None
    started = first.get("started") if isinstance(first, dict) else None
    return started if isinstance(started, str) else None
