"""Finding runs by what people type, and reading them with the problems told on stderr."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchfw.cli.text import say
from benchfw.errors import ResultError, UsageError
from benchfw.store import reader
from benchfw.store.journal import is_being_written
from benchfw.store.reader import PREFIX, find_runs
from benchfw.store.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import JustifyMethod

_COLUMNS: dict[str, JustifyMethod] = {
    "run": "left",
    "scenario": "left",
    "state": "left",
    "cases": "right",
    "OK": "right",
    "started": "left",
    "size": "right",
}


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
        raise ResultError(f"{what} in {results} begin with {run!r}", hint="`benchfw results ls` lists them")
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


def read_table(runs: list[Path], name: str) -> pa.Table:
    """Return a table of `benchfw.store.schema.TABLES` over these runs; what cannot be read is told on stderr.

    Raises:
        UsageError: There is no such table.
        ResultError: The manifest of a run cannot be read.
    """
    if name not in TABLES:
        raise UsageError(f"there is no table {name!r}", hint=f"there are: {', '.join(TABLES)}")
    results = reader.Results(runs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", reader.ResultWarning)
        table = results.table(name)
    for problem in results.problems:
        say(f"warning: {problem}")
    return table


def show_list(results: Path, *, as_json: bool) -> None:
    """Print what runs a folder of results has, newest first."""
    from rich.table import Table

    from benchfw.cli.console import literal, make_console, print_json, print_table

    rows = [_listed(folder) for folder in reversed(find_runs(results))]
    if as_json:
        print_json(rows)
        return
    table = Table(show_edge=False, pad_edge=False, box=None)
    for name, justify in _COLUMNS.items():
        table.add_column(name, justify=justify, header_style="underline")
    for row in rows:
        started = (row["started"] or "-").replace("+00:00", "Z")
        cells = (row["run_id"], row["scenario"], row["state"], row["cases"], row["ok"], started, _size(row["bytes"]))
        table.add_row(*map(literal, cells))
    print_table(make_console(), table)


def _listed(folder: Path) -> dict[str, Any]:
    try:
        manifest = reader.read_manifest(folder)
    except ResultError as error:  # one run that cannot be read shall not hide the others
        manifest = {"state": error.message}
    statuses = [row["status"] for row in read_cases(folder)] if "schema_version" in manifest else []
    scenario = manifest.get("scenario")
    return {
        "run_id": folder.name.removeprefix(PREFIX),
        "scenario": str(scenario.get("name") if isinstance(scenario, dict) else None),
        "state": state_of(folder, manifest),
        "cases": len(statuses),
        "ok": statuses.count("OK"),
        "started": _started(manifest),
        "bytes": _bytes_of(folder),
    }


def _started(manifest: Mapping[str, Any]) -> str | None:
    """Return when the first attempt began, ISO 8601 in UTC; None where the manifest does not say."""
    attempts = manifest.get("attempts")
    first = attempts[0] if isinstance(attempts, list) and attempts else None
    started = first.get("started") if isinstance(first, dict) else None
    return started if isinstance(started, str) else None


def _bytes_of(folder: Path) -> int:
    """Return the sizes of all files below, together; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / (1 << 10):.0f} KiB"
