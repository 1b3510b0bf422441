"""Numbers and labels for people, the same in every table; `-` for what makes no sense, as results may be strangers'.

Light: standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

UNITS = {"ms": 1e6, "µs": 1e3}
"""Nanoseconds of the units that latencies are shown in."""

LARGE = 1e15
"""Numbers beyond that nobody measures; they are shown so that they take no more room than others."""


def finite(value: Any) -> float | None:
    """Return a number that can be shown, else None."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def text(row: Row, column: str) -> str:
    """Return a cell as text, `-` for null."""
    value = row.get(column)
    return "-" if value is None else str(value)


def scaled(value: float | None, unit: str, like: float | None = None) -> str:
    """Write nanoseconds in a unit, with the decimals of another value so that an interval lines up with it."""
    value, like = finite(value), finite(like)
    if value is None:
        return "-"
    scale = UNITS[unit]
    if like is None or abs(value / scale) >= LARGE:
        return number(value / scale)
    return f"{value / scale:.{decimals(like / scale)}f}"


def number(value: float | None) -> str:
    """Write a number with four significant digits."""
    value = finite(value)
    if value is None:
        return "-"
    return f"{value:.{decimals(value)}f}" if abs(value) < LARGE else f"{value:.3e}"


def decimals(value: float) -> int:
    """Return the decimals that four significant digits need."""
    return min(6, max(0, 3 - math.floor(math.log10(abs(value))))) if value else 0


def factor(value: float | None, *, rough: bool = False, places: int = 2) -> str:
    """Write a speed-up like `1.52x`; `~` before one that nobody knows the uncertainty of."""
    value = finite(value)
    if value is None:
        return "-"
    return f"{'~' if rough else ''}{f'{value:.{places}f}' if abs(value) < LARGE else f'{value:.3e}'}x"


def latency_unit(values: list[Any]) -> str:
    """Return the unit that suits the largest of these nanoseconds."""
    return "ms" if max((finite(value) or 0 for value in values), default=0) >= UNITS["ms"] else "µs"


def error_text(row: Row) -> str:
    """Return the distance to the reference, or that this is the reference."""
    error = finite(row.get("rel_l2"))
    if error is None:
        return "-"
    if error == 0:
        return "reference" if row.get("reference") == row.get("name") else "0"
    return f"{error:.0e}"


def name_text(row: Row) -> str:
    """Return the name of a backend, and what of precision and labels is not the usual: `torch-eager fp16 graph`."""
    on_stream = finite(row.get("enqueue_p50_ns"))
    unusual = [
        *([] if row.get("precision") in ("fp32", None) else [str(row["precision"])]),
        *(["pinned"] if row.get("io_scope") == "pinned" else []),
        *(["graph"] if row.get("graph") == "on" else []),
        *(["blocking"] if row.get("sync") == "blocking" and on_stream else []),
        *([str(row["cache"])] if row.get("cache") in ("warm", "flush") and on_stream else []),
    ]
    return " ".join([text(row, "name"), *unusual])


def shape_text(row: Row) -> str:
    """Return the batch, or all axes if there are others: `8`, `1-8` for a mixture, `batch=4 words=16-19`."""
    try:
        shape = json.loads(text(row, "shape"))
    except (ValueError, RecursionError):
        return "-"
    sizes = {axis: _size(size) for axis, size in shape.items()} if isinstance(shape, dict) else {}
    if set(sizes) == {"batch"}:
        return sizes["batch"]
    return " ".join(f"{axis}={size}" for axis, size in sorted(sizes.items())) or "-"


def _size(size: Any) -> str:
    ends = size if isinstance(size, list) and len(size) == 2 else [size]
    return "-".join(map(str, ends)) if all(type(end) is int for end in ends) else "-"
