"""Reads results: one run, or every run below a folder, as pandas frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchfw.errors import ResultError
from benchfw.store.schema import SCHEMA_VERSION, TABLES

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "run="


def load(path: str | Path) -> Results:
    """Return the results below `path`: a folder of results, or the folder of one run.

    Raises:
        ResultError: There is no run.
    """
    return Results(find_runs(Path(path)))


def find_runs(path: Path) -> list[Path]:
    """Return the folders of runs at or below `path`, oldest first."""
    try:
        if path.name.startswith(PREFIX) and path.is_dir():
            return [path]
        runs = sorted(
            item for item in path.iterdir() if item.name.startswith(PREFIX) and (item / "manifest.json").is_file()
        )
    except OSError as error:
        raise ResultError(
            f"{path} cannot be read: {error.strerror}", hint="`benchfw run scenarios/res18.toml` makes results"
        ) from error
    if not runs:
        raise ResultError(f"no run in {path}", hint="`benchfw run scenarios/res18.toml` makes one")
    return runs


class Results:
    """The tables of one or more runs; each is read when it is first asked for.

    Attributes:
        runs: Folders of the runs.
    """

    def __init__(self, runs: list[Path]) -> None:
        self.runs = runs

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row per case: labels, status, verdict, statistics."""
        return self._frame("cases")

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
    def manifests(self) -> list[dict[str, Any]]:
        """The manifest of each run."""
        return [read_manifest(run) for run in self.runs]

    def table(self, name: str) -> pa.Table:
        """Return one table of `benchfw.store.schema.TABLES` as Arrow, over all runs."""
        parts = [part for run in self.runs for part in _parts(run, name)]
        return pa.concat_tables(parts).unify_dictionaries() if parts else TABLES[name].empty_table()

    def _frame(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.table(name).to_pandas()
        words = [column for column in frame.columns if str(frame[column].dtype) == "category"]
        if name != "iterations":  # millions of rows stay categorical, small tables are friendlier as text
            frame = frame.astype(dict.fromkeys(words, "object"))
        return frame


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a run.

    Raises:
        ResultError: It is missing, no JSON, or of a newer schema version.
    """
    path = run / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ResultError(f"{path} has schema version {version!r}, this benchfw reads up to {SCHEMA_VERSION}")
    return dict(manifest)


def _parts(run: Path, name: str) -> Iterator[pa.Table]:
    """Read the parts that the journal names."""
    read_manifest(run)
    schema = TABLES[name]
    for line in _journal(run):
        if name not in line["rows"]:
            continue
        path = run / name / Path(str(line["part"])).name
        try:
            table = pq.ParquetFile(path).read()  # pq.read_table imports pandas
        except (OSError, pa.ArrowException) as error:
            raise ResultError(f"{path} cannot be read: {error}") from error
        missing = [field for field in schema if field.name not in table.column_names]
        for field in missing:  # a column that a later benchfw of the same version added
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        yield table.select(schema.names).cast(schema)


def _journal(run: Path) -> Iterator[dict[str, Any]]:
    try:
        text = (run / "journal.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):  # the last line of a run that was killed while it wrote
            return
        fits = isinstance(entry, dict) and isinstance(entry.get("rows"), dict) and isinstance(entry.get("part"), str)
        if not fits:
            raise ResultError(f"{run / 'journal.jsonl'} has a line that is no cohort: {line[:80]!r}")
        yield entry
