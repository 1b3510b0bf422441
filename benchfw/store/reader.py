"""Reads results: one run, or every run below a folder, as pandas frames."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter, warn

import pyarrow as pa

from benchfw.errors import ResultError, UsageError
from benchfw.store.files import PREFIX as PREFIX
from benchfw.store.files import open_inside, printable, resume_command
from benchfw.store.journal import Entry, current, read_journal
from benchfw.store.parts import Untrusted, read_part
from benchfw.store.schema import SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import pandas as pd

_MAX_MANIFEST = 16 << 20


class ResultWarning(UserWarning):
    """A part of a run could not be read; the rest was."""


def load(path: str | Path) -> Results:
    """Return the results below `path`: a folder of results, or the folder of one run.

    Raises:
        ResultError: There is no run.
    """
    try:
        runs = find_runs(Path(path))
    except UsageError as error:  # of the command line; here it is an argument like any other
        raise ResultError(error.message, hint="`benchfw run` makes a folder of results") from error
    if not runs:
        raise ResultError(f"no run in {path}", hint="`benchfw run` makes one")
    return Results(runs)


def find_runs(path: Path) -> list[Path]:
    """Return the folders of runs at or below `path`, oldest first; none where there is no such folder.

    Raises:
        UsageError: It is no folder.
        ResultError: It cannot be read.
    """
    try:
        if path.name.startswith(PREFIX) and path.is_dir():
            return [path]
        return sorted(
            item for item in path.iterdir() if item.name.startswith(PREFIX) and (item / "manifest.json").is_file()
        )
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise UsageError(f"{path} is not a folder", hint="--results FOLDER is where runs are") from error
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from error


class Results:
    """The tables of one or more runs; each is read when it is first asked for.

    Results may come from a stranger. A part that is missing, damaged or not to be trusted costs its own rows; each is
    a `ResultWarning` too.

    Attributes:
        runs: Folders of the runs.
        problems: What could not be read, why, and what to do; grows as tables are read.
    """

    def __init__(self, runs: list[Path]) -> None:
        self.runs = runs
        self.problems: list[str] = []
        self._known: set[str] = set()

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row per case: labels, status, verdict, statistics."""
        return self._frame("cases")

    @cached_property
    def invocations(self) -> pd.DataFrame:
        """One row per case and worker process that measured it: what comparisons across runs go by."""
        return self._frame("invocations")

    @cached_property
    def blocks(self) -> pd.DataFrame:
        """One row per block, with host counters."""
        return self._frame("blocks")

    @cached_property
    def iterations(self) -> pd.DataFrame:
        """One row per iteration: the raw stamps that every statistic can be recomputed from."""
        return self._frame("iterations")

    @cached_property
    def shapes(self) -> pd.DataFrame:
        """One row per size of a random sequence."""
        return self._frame("shapes")

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """One row per case, output, size and moment."""
        return self._frame("accuracy")

    @cached_property
    def warnings(self) -> pd.DataFrame:
        """One row per warning, with what was measured and the threshold."""
        return self._frame("warnings")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """One row per comparison of `benchfw ab`, with interval, margin and verdict."""
        return self._frame("comparisons")

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """One row per field of each reading of a sampler, of a cohort in time order; none unless `samplers` are set."""
        return self._frame("telemetry")

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row per layer of each profiled case: time, share, kernel, operations; none unless `profile` is set."""
        return self._frame("layers")

    @cached_property
    def manifests(self) -> list[dict[str, Any]]:
        """The manifest of each run."""
        return [read_manifest(run) for run in self.runs]

    def table(self, name: str) -> pa.Table:
        """Return one table of `benchfw.store.schema.TABLES` as Arrow, over all runs.

        Raises:
            ResultError: The manifest of a run cannot be read.
        """
        tables = [TABLES[name].empty_table()]
        for run, run_id, entries in self._journals:
            for entry in entries:
                rows, problems = _read(run, name, entry, run_id)
                tables += rows
                self._report(problems)
        return pa.concat_tables(tables).unify_dictionaries()

    @cached_property
    def _journals(self) -> list[tuple[Path, str, list[Entry]]]:
        """Per run its folder, its id and the cohorts that count: read once, so that all tables have the same ones."""
        found = []
        for run in self.runs:
            run_id = stored_id(run)
            entries, problems = read_journal(run)
            found.append((run, run_id, list(current(entries).values())))
            self._report(problems)
        return found

    def _report(self, problems: list[str]) -> None:
        new = [problem for problem in problems if problem not in self._known]  # not again for the same table
        self.problems += new
        self._known.update(new)
        for problem in new:
            warn(problem, ResultWarning, stacklevel=2)

    def _frame(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.table(name).to_pandas()
        words = [column for column in frame.columns if str(frame[column].dtype) == "category"]
        if name != "iterations":  # millions of rows stay categorical, small tables are friendlier as text
            frame = frame.astype(dict.fromkeys(words, "object"))
        return frame


def read_cases(run: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of `cases` of one run, and what could not be read; for a program that tells this by itself.

    Raises:
        ResultError: The manifest cannot be read.
    """
    results = Results([run])
    with catch_warnings():
        simplefilter("ignore", ResultWarning)
        rows: list[dict[str, Any]] = results.table("cases").to_pylist()
    return rows, results.problems


def read_statuses(run: Path) -> tuple[list[str | None], list[str]]:
    """Return the status of each case of one run, and what could not be read.

    The journal has them; parts are read only where it is from before it did.

    Raises:
        ResultError: The manifest cannot be read.
    """
    entries, problems = read_journal(run)
    counted = current(entries).values()
    if any(len(entry.cases) != entry.rows.get("cases", 0) for entry in counted):
        rows, problems = read_cases(run)
        return [row["status"] for row in rows], problems
    return [case["status"] for entry in counted for case in entry.cases.values()], problems


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a run.

    Raises:
        ResultError: It is missing, no JSON, or of a newer schema version.
    """
    path = run / "manifest.json"
    try:
        with open_inside(run, path.name) as file:
            data = file.read(_MAX_MANIFEST + 1)
        if len(data) > _MAX_MANIFEST:
            raise ValueError(f"it is larger than {_MAX_MANIFEST >> 20} MiB")
        manifest = json.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version > SCHEMA_VERSION:
        raise ResultError(f"{path} has schema version {version!r:.80}, this benchfw reads up to {SCHEMA_VERSION}")
    return dict(manifest)


def intact_cohorts(run: Path) -> tuple[dict[str, Entry], list[str]]:
    """Return what of a run need not be measured again, and what is wrong with the rest.

    Every part is read and checked. A cohort of which one part is not intact is missing from the answer.

    Raises:
        ResultError: The manifest cannot be read.
    """
    run_id = stored_id(run)
    entries, problems = read_journal(run)
    intact = {}
    for cohort, entry in current(entries).items():
        found = [problem for name in entry.rows for problem in _read(run, name, entry, run_id)[1]]
        problems += found
        if not found:
            intact[cohort] = entry
    return intact, problems


def stored_id(run: Path) -> str:
    """Return the id that the rows of a run carry. A folder that was renamed keeps the id of its manifest.

    Raises:
        ResultError: The manifest cannot be read.
    """
    run_id = read_manifest(run).get("run_id")
    return run_id if isinstance(run_id, str) else run.name.removeprefix(PREFIX)


def _read(run: Path, name: str, entry: Entry, run_id: str) -> tuple[list[pa.Table], list[str]]:
    """Return the rows of a table that a cohort has, or the problem."""
    if not entry.rows.get(name):
        return [], []
    try:
        return [read_part(run, name, entry, run_id)], []
    except Untrusted as error:
        path = run / name / entry.part
        lost = f"cohort {entry.cohort!r:.80} is read without its {name}"
        return [], [printable(f"{path}: {error}; {lost}") + f", `{resume_command(run)}` measures it again"]
