"""Writes one run: a folder, a manifest, per cohort one part of each table, and a journal line for each cohort."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchfw.errors import ResultError
from benchfw.store.schema import SCHEMA_VERSION, TABLES

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Any]
_DELTA = {"iterations": {"start_ns": "DELTA_BINARY_PACKED", "host_latency_ns": "DELTA_BINARY_PACKED"}}


class RunWriter:
    """The only writer of a run's folder.

    A part is written to a temporary name, synced and renamed; then the journal gets its line. What the journal
    does not name is not trusted.

    Args:
        out: Folder of results; made if it is not there.

    Raises:
        ResultError: The folder cannot be made.
    """

    def __init__(self, out: Path) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.run_id = f"{stamp}-{secrets.token_hex(3)}"
        self.folder = out / f"run={self.run_id}"
        try:
            (self.folder / "logs").mkdir(parents=True)
        except OSError as error:
            raise ResultError(
                f"{self.folder} cannot be made: {error.strerror}", hint="choose another folder with --out"
            ) from error
        self._parts = 0

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write `manifest.json` whole; called at the start and again at the end of a run."""
        data = {"schema_version": SCHEMA_VERSION, "run_id": self.run_id, **manifest}
        text = json.dumps(data, indent=1, ensure_ascii=False, default=str)
        self._replace("manifest.json", lambda path: path.write_text(text + "\n", encoding="utf-8"))

    def write_cohort(self, cohort: str, tables: Mapping[str, Rows]) -> None:
        """Write the tables of a finished cohort, then its line in the journal.

        Args:
            cohort: Its id.
            tables: Per table its rows, or its columns; `run_id` is filled in.
        """
        part = f"part-{self._parts:05d}.parquet"
        self._parts += 1
        written = {}
        for name, rows in tables.items():
            table = to_arrow(name, rows, self.run_id)
            if table.num_rows:
                (self.folder / name).mkdir(exist_ok=True)
                self._replace(f"{name}/{part}", lambda path, t=table, n=name: _write(path, n, t))
                written[name] = table.num_rows
        line = {"cohort": cohort, "part": part, "rows": written, "time": datetime.now(UTC).isoformat()}
        with (self.folder / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def _replace(self, name: str, write: Any) -> None:
        """Write a file under a temporary name, sync it, rename it, sync the folder."""
        path = self.folder / name
        draft = path.with_name(f".{path.name}.tmp")
        try:
            write(draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise ResultError(f"{path} cannot be written: {error}", hint="choose another folder with --out") from error


def to_arrow(name: str, rows: Rows, run_id: str) -> pa.Table:
    """Return rows or columns as a table of the schema; missing columns are null, unknown ones an error."""
    schema = TABLES[name]
    columns = dict(rows) if isinstance(rows, Mapping) else _columns(rows, schema)
    length = len(next(iter(columns.values()), ()))
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise ResultError(f"table {name!r} has no columns {sorted(unknown)}")
    arrays = []
    for field in schema:
        if field.name == "run_id":
            arrays.append(pa.array([run_id] * length, pa.string()).cast(field.type))
        elif field.name not in columns:
            arrays.append(pa.nulls(length, field.type))
        else:
            array = pa.array(columns[field.name], from_pandas=True)
            arrays.append(array.cast(field.type) if array.type != field.type else array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _columns(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> dict[str, list[Any]]:
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ResultError(f"unknown columns {sorted(unknown)}")
    return {name: [row.get(name) for row in rows] for name in schema.names if name != "run_id"} if rows else {}


def _write(path: Path, name: str, table: pa.Table) -> None:
    encoding = _DELTA.get(name)
    dictionary = [f.name for f in table.schema if pa.types.is_dictionary(f.type)] + (["batch"] if encoding else [])
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=dictionary if encoding else True,
        column_encoding=encoding,
    )
