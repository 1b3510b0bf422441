"""Writes one run: a folder, a manifest, per cohort one part of each table, and a journal line for each cohort."""

from __future__ import annotations

import contextlib
import json
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchfw.errors import ResultError
from benchfw.store.files import PREFIX, encodable, is_inside, make_folder, replace, sync_folder, writing
from benchfw.store.journal import PART, Entry, Journal, State, current, read_journal
from benchfw.store.reader import read_manifest, stored_id
from benchfw.store.schema import SCHEMA_VERSION, TABLES, kind_of

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Any]
_DELTA = {"iterations": {"start_ns": "DELTA_BINARY_PACKED", "host_latency_ns": "DELTA_BINARY_PACKED"}}
_FIELDS = {
    name: {
        field.name: (kind_of(field.type), field.type.bit_width if kind_of(field.type) == "integer" else 0)
        for field in schema
    }
    for name, schema in TABLES.items()
}
"""Per table and column what it holds, and the size of an integer."""
_STAMP = "%Y%m%dT%H%M%SZ"


class RunWriter:
    """The only writer of a run's folder.

    A part is written to a temporary name, synced and renamed; then the journal gets its line. What the journal
    does not name is not trusted.

    Args:
        out: Folder of results; made if it is not there.

    Attributes:
        run_id: Id of the run, in every row.
        folder: Its folder.
        keep: Cohorts that an interrupted one must not replace: those that the journal calls finished, and those that
            are finished from now on. Who goes on with a run may set it, as a finished cohort may be damaged or
            outdated.

    Raises:
        ResultError: The folder cannot be made.
    """

    def __init__(self, out: Path) -> None:
        run_id = _new_id(out)
        folder = out / f"{PREFIX}{run_id}"
        try:
            (folder / "logs").mkdir(parents=True)
            sync_folder(out)
        except OSError as error:
            raise ResultError(
                f"{folder} cannot be made: {error.strerror}", hint="choose another folder with --results, or make room"
            ) from error
        self._open(folder, run_id)

    @classmethod
    def reopen(cls, folder: Path) -> RunWriter:
        """Return a writer that continues the run in `folder`.

        Raises:
            ResultError: There is no run, or one of another schema version, or another process writes to it, or it
                cannot be written.
        """
        version = read_manifest(folder)["schema_version"]
        if version != SCHEMA_VERSION:
            raise ResultError(
                f"{folder} has schema version {version}, this benchfw writes {SCHEMA_VERSION}", hint="start a new run"
            )
        writer = cls.__new__(cls)
        writer._open(folder, stored_id(folder))
        try:
            make_folder(folder, "logs")  # a copy of the results may lack it
        except BaseException:
            writer.close()
            raise
        return writer

    def _open(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id
        self._journal = Journal(folder)  # from here on no other process writes
        entries, _ = read_journal(folder)
        self.keep = {cohort for cohort, entry in current(entries).items() if entry.state == "finished"}
        parts = [entry.part for entry in entries]
        for place in (folder, *(folder / name for name in TABLES)):
            with writing(folder, place):
                if not place.is_dir() or not is_inside(folder, place):
                    continue
                names = [path.name for path in place.iterdir()]
            parts += names
            for draft in names:
                if draft.startswith(".") and draft.endswith(".tmp"):
                    with writing(folder, place / draft):
                        (place / draft).unlink()
        numbers = [int(found[1]) for found in map(PART.fullmatch, parts) if found]
        self._parts = max(numbers, default=-1) + 1

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the run. Does nothing the second time."""
        self._journal.close()

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write `manifest.json` whole; called at the start and again at the end of a run.

        Raises:
            ResultError: It cannot be written; the one before is still there.
        """
        data = {"schema_version": SCHEMA_VERSION, "run_id": self.run_id, **manifest}
        text = json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n"
        # of what is not Unicode a backslash escape is left, which JSON reads back as it was
        content = text.encode("utf-8", "backslashreplace")
        replace(self.folder, self.folder / "manifest.json", lambda file: file.write(content))

    def write_cohort(self, cohort: str, tables: Mapping[str, Rows], *, state: State = "finished") -> bool:
        """Write the tables of a cohort, then its line in the journal.

        Args:
            cohort: Its id.
            tables: Per table its rows, or its columns; `run_id` is filled in.
            state: `interrupted` if not all of it was measured. Such a cohort is not written if it is in `keep`.

        Returns:
            Whether it was written.

        Raises:
            ResultError: It cannot be written, or a value does not fit its column; the run is as it was.
        """
        if state == "interrupted" and cohort in self.keep:
            return False
        part = f"part-{self._parts:05d}.parquet"
        self._parts += 1
        made = {name: to_arrow(name, rows, self.run_id) for name, rows in tables.items()}
        made = {name: table for name, table in made.items() if table.num_rows}
        for name, table in made.items():
            path = make_folder(self.folder, name) / part
            replace(self.folder, path, lambda file, n=name, t=table: _write(file, n, t))  # type: ignore[misc]
        entry = Entry(
            cohort=cohort,
            state=state,
            part=part,
            rows={name: table.num_rows for name, table in made.items()},
            cases=_cases(made["cases"]) if "cases" in made else {},
            time=datetime.now(UTC).isoformat(),
        )
        self._journal.append(entry)
        if state == "finished":
            self.keep.add(cohort)
        return True


def to_arrow(name: str, rows: Rows, run_id: str) -> pa.Table:
    """Return rows or columns as a table of the schema; missing columns are null.

    Raises:
        ResultError: A column is unknown, or a value does not fit its column; see `row_faults`.
    """
    schema = TABLES[name]
    columns = dict(rows) if isinstance(rows, Mapping) else _columns(name, rows)
    length = len(next(iter(columns.values()), ()))
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise ResultError(f"table {name!r} has no columns {sorted(unknown)}")
    columns["run_id"] = [encodable(run_id)] * length
    arrays = [
        _array(name, field, columns[field.name]) if field.name in columns else pa.nulls(length, field.type)
        for field in schema
    ]
    for field, array in zip(schema, arrays):
        if len(array) != length:
            raise ResultError(f"column {field.name!r} of table {name!r} has {len(array)} rows, others {length}")
    return pa.Table.from_arrays(arrays, schema=schema)


def row_faults(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Return the place of each row that does not fit its table, and why: the column and the type of the value.

    Rows that are not among them can be written, together or each by itself.
    """
    faults = {}
    for place, row in enumerate(rows):
        try:
            _fitted(name, row)
        except ResultError as error:
            faults[place] = error.message
    return faults


def _fitted(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its values as plain Python of the types that their columns hold.

    Raises:
        ResultError: A column is unknown, or a value does not fit its column.
    """
    fields = _FIELDS[name]
    fitted = {}
    for column, value in row.items():
        if column not in fields:
            raise ResultError(f"table {name!r} has no column {column!r:.80}")
        try:
            fitted[column] = _plain(value, *fields[column])
        except (TypeError, ValueError, OverflowError) as error:
            kind, bits = fields[column]
            raise ResultError(
                f"column {column!r} of table {name!r} holds {kind}{f' of {bits} bits' if bits else ''}, "
                f"not this {type(value).__name__}"
            ) from error
    return fitted


def _plain(value: Any, kind: str, bits: int) -> Any:
    """Return None, text, an integer or a real.

    Raises:
        TypeError, ValueError, OverflowError: The value does not fit.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "text" and isinstance(value, str):
        return encodable(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "real":
            return float(value)
        if kind == "integer" and int(value) == value and -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            return int(value)
    raise TypeError


def _array(name: str, field: pa.Field, values: Any) -> pa.Array:
    try:
        try:
            array = pa.array(values, from_pandas=True)
        except UnicodeEncodeError:
            array = pa.array(
                [encodable(value) if isinstance(value, str) else value for value in values], from_pandas=True
            )
        return array.cast(field.type) if array.type != field.type else array
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ResultError(f"column {field.name!r} of table {name!r} cannot hold this: {error}") from error


def _columns(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    fitted = [_fitted(name, row) for row in rows]
    return {column: [row.get(column) for row in fitted] for column in _FIELDS[name]} if rows else {}


def _write(file: BinaryIO, name: str, table: pa.Table) -> None:
    encoding = _DELTA.get(name)
    dictionary = [f.name for f in table.schema if pa.types.is_dictionary(f.type)] + (["batch"] if encoding else [])
    pq.write_table(
        table,
        file,
        compression="zstd",
        use_dictionary=dictionary if encoding else True,
        column_encoding=encoding,
        write_page_checksum=True,
    )


def _cases(table: pa.Table) -> dict[str, dict[str, str | None]]:
    """Return what the journal says of each case."""
    rows = table.select(["case_id", "case_hash", "status"]).to_pylist()
    return {
        row["case_id"]: {"hash": row["case_hash"], "status": row["status"]}
        for row in rows
        if row["case_id"] is not None
    }


def _new_id(out: Path) -> str:
    """Return an id that sorts after those in `out`, even if the clock was set back since they were made."""
    stamp = datetime.now(UTC).replace(microsecond=0)
    try:
        newest = max(filter(None, (_stamp(path.name) for path in out.iterdir())), default=None)
    except OSError:  # not there yet
        newest = None
    if newest and newest >= stamp:
        with contextlib.suppress(OverflowError):  # someone made a run at the end of time
            stamp = newest + timedelta(seconds=1)
    return f"{stamp.strftime(_STAMP)}-{secrets.token_hex(3)}"


def _stamp(name: str) -> datetime | None:
    found = re.match(rf"{PREFIX}([0-9]{{8}}T[0-9]{{6}}Z)-", name)
    try:
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
