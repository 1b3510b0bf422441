"""Reads one part of a table, believing nothing: the file may be torn, damaged, or a stranger's trap.

Parquet compresses: a few kilobytes can hold a text of a megabyte a million times, or claim a trillion rows. So what the
footer and the pages announce is held against limits that depend on the size of the file before anything is decoded, and
text stays a dictionary until the length of the whole is known.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchfw.store.files import PREFIX, encodable, open_inside
from benchfw.store.footer import decompressed, read_footer
from benchfw.store.journal import Entry
from benchfw.store.schema import TABLES, kind_of

_MIB = 1 << 20
_MAX_COLUMNS = 1000
_MAX_CHUNKS = 10_000
_LARGE = {"iterations", "telemetry"}


class Untrusted(Exception):
    """A part that is not read; the text says why."""


def read_part(run: Path, name: str, entry: Entry, run_id: str) -> pa.Table:
    """Return one table of one cohort.

    Args:
        run: Folder of the run; its name becomes the column `run_id`.
        name: Name of the table.
        entry: The cohort's line in the journal.
        run_id: Id that the rows must have: that of the manifest.

    Raises:
        Untrusted: The part is missing, damaged, not what the journal says, or larger than is reasonable.
    """
    try:
        with open_inside(run, f"{name}/{entry.part}") as file:
            return _read(file, name, entry.rows[name], run_id, encodable(run.name.removeprefix(PREFIX)))
    except Untrusted:
        raise
    except OSError as error:
        raise Untrusted(error.strerror or str(error)) from error
    except Exception as error:  # pyarrow on damaged bytes: ArrowException, MemoryError, UnicodeDecodeError, KeyError, …
        raise Untrusted(str(error) or type(error).__name__) from error


def _read(file: BinaryIO, name: str, rows: int, run_id: str, shown_id: str) -> pa.Table:
    schema = TABLES[name]
    columns, limit = _announced(file, schema, name, rows)
    file.seek(0)
    footer = pq.read_metadata(file)
    stored = footer.schema.to_arrow_schema()
    for column in columns:
        if kind_of(stored.field(column).type) not in (kind_of(schema.field(column).type), "null"):
            raise Untrusted(f"column {column!r} is {stored.field(column).type}")
    texts = [column for column in columns if kind_of(schema.field(column).type) == "text"]
    file.seek(0)
    part = pq.ParquetFile(
        file, metadata=footer, read_dictionary=texts, pre_buffer=False, page_checksum_verification=True
    )
    table = part.read(columns=columns, use_threads=False)
    if table.num_rows != rows:
        raise Untrusted(f"{table.num_rows} rows, the journal says {rows}")
    table.validate(full=True)  # pyarrow checks neither UTF-8 nor indices when it reads
    if {value for chunk in table["run_id"].chunks for value in chunk.unique().to_pylist()} - {run_id}:
        raise Untrusted(f"rows of another run than {run_id}")
    length = sum(_text_length(table[column]) for column in texts if table[column].type != pa.null())
    if length > limit:
        raise Untrusted(f"text of {length >> 20} MiB")
    arrays = {column: table[column] for column in columns}
    arrays["run_id"] = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([shown_id]))
    return pa.Table.from_arrays(
        [
            # a column that a later benchfw of the same version added is null
            arrays[field.name].cast(field.type) if field.name in arrays else pa.nulls(rows, field.type)
            for field in schema
        ],
        schema=schema,
    )


def _announced(file: BinaryIO, schema: pa.Schema, name: str, rows: int) -> tuple[list[str], int]:
    """Return the columns to read and how many bytes they may take, once the file announces nothing that cannot be.

    Raises:
        Untrusted, ValueError: It does.
    """
    size = os.fstat(file.fileno()).st_size
    large = name in _LARGE
    # true rows differ from each other: those of large tables by a few bits, those of others by bytes
    if rows > (min(100_000_000, 1_000_000 + 16 * size) if large else min(1_000_000, 10_000 + size)):
        raise Untrusted(f"{rows} rows in a file of {size} bytes")
    limit = min((8192 if large else 1024) * _MIB, 64 * _MIB + 1000 * size)
    if size > limit:
        raise Untrusted(f"larger than {limit >> 20} MiB")
    footer = read_footer(file, size)
    if footer.rows != rows:
        raise Untrusted(f"{footer.rows} rows, the journal says {rows}")
    if len(footer.columns) > _MAX_COLUMNS or len(footer.chunks) > _MAX_CHUNKS:
        raise Untrusted(f"{len(footer.columns)} columns in {len(footer.chunks)} chunks")
    first = schema.names[:2]  # whose rows they are: the run's, and there the case's or the cohort's
    if not set(first) <= set(footer.columns):
        raise Untrusted(f"it has no column {' or '.join(first)}")
    columns = [column for column in schema.names if column in footer.columns]
    known = len(columns) == len(schema.names) or len(columns) == len(footer.columns)
    if not known:  # columns are only ever added, so that a part has too few or too many: a name is damaged
        raise Untrusted(f"it lacks {sorted(set(schema.names) - set(columns))}, and has columns that are not known")
    decompressed(file, [chunk for chunk in footer.chunks if chunk.column in columns], limit)
    return columns, limit


def _text_length(column: Any) -> int:
    """Return the bytes of all texts of a dictionary column, each counted as often as it is used."""
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
        total += pc.sum(lengths.cast(pa.int64())).as_py() or 0
    return total
