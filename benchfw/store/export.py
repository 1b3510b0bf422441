"""Tables of results as text: CSV, Markdown, JSON. Integers stand there in full, reals so that they read back equal."""

from __future__ import annotations

import difflib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from benchfw.errors import UsageError
from benchfw.store.files import printable
from benchfw.store.schema import kind_of

_ROWS = 10_000
"""Rows that are turned into text at a time."""

_FORMULA = "^[=+\\-@\t\r]"
"""Beginnings of a cell that spreadsheets calculate instead of showing them."""

_MAX_CELL = 10_000


def select(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return a table with these columns, in this order.

    Raises:
        UsageError: There is no such column.
    """
    unknown = [name for name in columns if name not in table.column_names]
    if unknown:
        near = did_you_mean(unknown[0], table.column_names)
        raise UsageError(f"no column {unknown[0]!r}{near}", hint=f"there are: {', '.join(table.column_names)}")
    return table.select(list(dict.fromkeys(columns)))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message on an unknown name: the nearest that is known, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def to_csv(table: pa.Table) -> Iterator[str]:
    """Yield CSV with a header: text in quotes, nothing for null and for not-a-number.

    Text that a spreadsheet would take for a formula gets an apostrophe before it, since results may come from a
    stranger; JSON and Parquet have it as it is.
    """
    yield ",".join(f'"{name}"' for name in table.column_names) + "\n"
    for batch in table.to_batches(max_chunksize=_ROWS):
        columns = [_harmless(column) for column in batch.columns]
        text = io.BytesIO()
        part = pa.RecordBatch.from_arrays(columns, names=table.column_names)
        csv.write_csv(part, text, csv.WriteOptions(include_header=False))
        yield text.getvalue().decode()


def to_json(table: pa.Table) -> Iterator[str]:
    """Yield a list of objects, one line each: null for what is not there, not a number or infinite."""
    separator = "[\n"
    for row in _rows(table):
        yield separator + json.dumps(dict(zip(table.column_names, row, strict=True)), ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def to_markdown(table: pa.Table) -> Iterator[str]:
    """Yield a table in GitHub's Markdown, numbers to the right."""
    cells = [[_escaped(name) for name in table.column_names]]
    cells += [["" if value is None else _escaped(str(value)) for value in row] for row in _rows(table)]
    right = [kind_of(field.type) != "text" for field in table.schema]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width - 1) + ":" if to_right else "-" * width for width, to_right in zip(widths, right, strict=True)]
    for row in (cells[0], rule, *cells[1:]):
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        yield f"| {' | '.join(padded)} |\n"


FORMATS: dict[str, Callable[[pa.Table], Iterator[str]]] = {"csv": to_csv, "md": to_markdown, "json": to_json}


def _rows(table: pa.Table) -> Iterator[list[Any]]:
    for batch in table.to_batches(max_chunksize=_ROWS):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield [None if isinstance(value, float) and not math.isfinite(value) else value for value in row]


def _harmless(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_finite(column), column, None)
    if kind_of(column.type) != "text":
        return column
    column = column.cast(pa.string())
    return pc.replace_substring_regex(column, f"({_FORMULA})", "'\\1")


def _escaped(text: str) -> str:
    return printable(text, _MAX_CELL).replace("|", "\\|").replace("<", "&lt;")
