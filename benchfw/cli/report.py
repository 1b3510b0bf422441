"""The results of one run on stdout: tables, what was skipped or failed, what warns, and what to type next."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchfw.cli.console import literal, make_console, print_json, print_table
from benchfw.store.files import run_argument

Row = Mapping[str, Any]
_SWEEPS = {
    "fixed": "fixed: artifacts made for one shape",
    "min-opt-max": "min-opt-max: the dynamic artifact at its three points",
    "random-batch": "random-batch: the dynamic artifact under a random order of sizes",
}
_UNITS = {"ms": 1e6, "µs": 1e3}
_LARGE = 1e15
"""Numbers beyond that nobody measures; they are shown so that they take no more room than others."""


def report(
    rows: Sequence[Row], run_id: str, folder: Path, *, warnings: Sequence[Row] = (), as_json: bool = False
) -> None:
    """Print the results of one run: one table per sweep, skips, failures, warnings, and what to type next.

    Results may come from a stranger: in a cell that says nothing or makes no sense is a `-`.

    Args:
        rows: Of the table `cases`.
        run_id: Its id.
        folder: Its folder.
        warnings: Rows of the table `warnings`.
        as_json: Print JSON instead.
    """
    if as_json:
        print_json({"run_id": run_id, "folder": str(folder), "cases": list(rows), "warnings": list(warnings)})
        return
    console = make_console()
    first = rows[0] if rows else {}
    scenario, model, device, threads, effort = (
        _text(first, column) for column in ("scenario", "model", "device", "threads", "effort")
    )
    console.print(
        literal(
            f"{scenario}: {model} on {device}, {threads} threads, effort {effort}; "
            "latency of one inference at a time, [95 % interval of the median]",
            style="bold",
        ),
        soft_wrap=True,
    )
    rough = _rough_speedups(rows)
    for kind, title in _SWEEPS.items():
        chosen = [row for row in rows if kind in _text(row, "sweep").split("+") and row.get("status") == "OK"]
        if chosen:
            console.print()
            print_table(console, _sweep_table(title, chosen, rough))
    if rough:
        console.print()
        console.print(
            literal(
                "~: this throughput, or the reference's, has too few blocks for an interval, so that nobody knows how "
                "certain the speed-up is; for more time: --set measure.budget=10min"
            ),
            soft_wrap=True,
        )
    _print_reasons(console, rows, folder)
    _print_warnings(console, warnings)
    console.print()
    code = f"import benchfw; print(benchfw.load({str(folder)!r}).cases)"
    code = f'"{code}"' if shlex.quote(str(folder)) == str(folder) else shlex.quote(code)
    for line in (
        f"results: {folder}",
        f"next:    {_program('benchfw')} show {run_argument(folder)}",
        f"         {_program('python')} -c {code}",
    ):
        console.print(literal(line), soft_wrap=True)


def _program(name: str) -> str:
    """Return what to type for a program of this environment: its path if it is not the one that PATH finds."""
    path = Path(sys.argv[0]).with_name(name)
    found = shutil.which(name)
    if not path.is_file() or (found and Path(found).absolute() == path.absolute()):
        return name
    return shlex.quote(os.path.relpath(path))


def _sweep_table(title: str, rows: Sequence[Row], rough: Collection[int]) -> Table:
    unit = "ms" if max(_finite(row.get("latency_p50_ns")) or 0 for row in rows) >= _UNITS["ms"] else "µs"
    table = Table(title=literal(title), title_justify="left", title_style="", show_edge=False, pad_edge=False, box=None)
    for name, justify in (
        ("shape" if any("=" in _shape(row) for row in rows) else "batch", "right"),
        ("backend", "left"),
        ("artifact", "left"),
        ("samples/s", "right"),
        (f"p50 {unit}", "right"),
        ("[95 %]", "left"),
        (f"p99 {unit}", "right"),
        ("speed-up", "right"),
        ("rel. L2", "right"),
        ("verdict", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True, header_style="underline")  # type: ignore[arg-type]
    last = None
    for row in sorted(rows, key=lambda row: (row.get("batch") or 0, _text(row, "shape"))):
        place = (row.get("batch"), row.get("shape"))
        if last is not None and place != last:
            table.add_section()
            table.add_row()
        last = place
        style = "" if row.get("verdict") == "VALID" else "dim"
        table.add_row(*(literal(cell) for cell in _cells(row, unit, rough=id(row) in rough)), style=style)
    return table


def _rough_speedups(rows: Sequence[Row]) -> frozenset[int]:
    """Return the ids of the rows whose speed-up is made of a throughput without an interval."""
    open_ended = [row for row in rows if row.get("status") == "OK" and not _has_interval(row)]
    cohorts = {row.get("cohort") for row in open_ended if _is_reference(row)}
    return frozenset(
        id(row)
        for row in [*open_ended, *(row for row in rows if row.get("cohort") in cohorts)]
        if _finite(row.get("speedup")) is not None and not _is_reference(row)
    )


def _has_interval(row: Row) -> bool:
    ends = (row.get("throughput_low_samples_s"), row.get("throughput_high_samples_s"))
    return all(_finite(end) is not None for end in ends)


def _is_reference(row: Row) -> bool:
    """Say whether speed-ups of this row's cohort are those over this row; its own is 1 whatever it measured."""
    return row.get("name") == row.get("reference") is not None and row.get("precision") == "fp32"


def _cells(row: Row, unit: str, *, rough: bool) -> Iterable[str]:
    speedup, median = _finite(row.get("speedup")), row.get("latency_p50_ns")
    low, high = _finite(row.get("latency_p50_low_ns")), _finite(row.get("latency_p50_high_ns"))
    yield _shape(row)
    yield _text(row, "name") + ("" if row.get("precision") in ("fp32", None) else f" {row['precision']}")
    yield _text(row, "profile")
    yield _number(row.get("throughput_samples_s"))
    yield _scaled(median, unit)
    yield "" if low is None or high is None else f"[{_scaled(low, unit, median)}, {_scaled(high, unit, median)}]"
    yield _scaled(row.get("latency_p99_ns"), unit, median)
    mark = "~" if rough else ""
    yield "-" if speedup is None else f"{mark}{speedup:.2f}x" if abs(speedup) < _LARGE else f"{mark}{speedup:.3e}x"
    yield _error(row)
    yield _text(row, "verdict")


def _error(row: Row) -> str:
    """Return the distance to the reference, or that this is the reference."""
    error = _finite(row.get("rel_l2"))
    if error is None:
        return "-"
    if error == 0:
        return "reference" if row.get("reference") == row.get("name") else "0"
    return f"{error:.0e}"


def _shape(row: Row) -> str:
    """Return the batch, or all axes if there are others: `8`, `1-8` for a mixture, `batch=4 words=16-19`."""
    try:
        shape = json.loads(_text(row, "shape"))
    except (ValueError, RecursionError):
        return "-"
    sizes = {axis: _size(size) for axis, size in shape.items()} if isinstance(shape, dict) else {}
    if set(sizes) == {"batch"}:
        return sizes["batch"]
    return " ".join(f"{axis}={size}" for axis, size in sorted(sizes.items())) or "-"


def _size(size: Any) -> str:
    ends = size if isinstance(size, list) and len(size) == 2 else [size]
    return "-".join(map(str, ends)) if all(type(end) is int for end in ends) else "-"


def _print_reasons(console: Console, rows: Sequence[Row], folder: Path) -> None:
    """Print one line per backend that was skipped and per case that failed, and one for those without a verdict."""
    seen = set()
    lines = []
    for row in rows:
        status, name, reason = key = (_text(row, "status"), _text(row, "name"), _text(row, "status_reason"))
        if status in ("SKIPPED", "UNSUPPORTED"):
            if key not in seen:
                lines.append(f"{status} {name}: {reason}")
        elif status == "INTERRUPTED":
            continue
        elif status != "OK":
            log = f", see {folder / str(row['log'])}" if row.get("log") else ""
            lines.append(f"{status} {_text(row, 'case_id')}: {reason}{log}")
        seen.add(key)
    stopped = [row for row in rows if row.get("status") == "INTERRUPTED"]
    if stopped:
        lines.append(f"INTERRUPTED {len(stopped)} cases: {_text(stopped[-1], 'status_reason')}")
    measured = [row for row in rows if row.get("status") == "OK"]
    contended = [row for row in measured if row.get("verdict") == "CONTENDED"]
    if contended:
        lines.append(
            f"CONTENDED {len(contended)} cases: {_text(contended[0], 'verdict_reason')}; "
            "these numbers are those of two runs that share a machine: measure them again alone"
        )
    loose = [row for row in measured if row.get("verdict") == "NOT_CONVERGED"]
    if loose:
        lines.append(
            f"NOT_CONVERGED {len(loose)} cases: in the time given they did not get as precise as effort "
            f"{_text(loose[0], 'effort')} wants (column verdict_reason); read their intervals, not their medians; "
            "for more time: --set measure.budget=10min"
        )
    if lines:
        console.print()
    for line in lines:
        console.print(literal(line, lines=True), soft_wrap=True)


def _print_warnings(console: Console, warnings: Sequence[Row]) -> None:
    """Print one line per code: how many cases have such a warning, and what the worst one says."""
    found: dict[str, list[Row]] = {}
    for row in warnings:
        found.setdefault(_text(row, "code"), []).append(row)
    if found:
        console.print()
    for code, rows in found.items():
        worst = max(rows, key=_excess)
        count = len({row.get("case_id") for row in rows})
        cases = f"{count} cases, worst {_text(worst, 'case_id')}" if count > 1 else _text(worst, "case_id")
        console.print(literal(f"{code} {cases}: {_text(worst, 'message')}", lines=True), soft_wrap=True)


def _excess(row: Row) -> tuple[float, float]:
    """Return how far a warning's value is beyond its threshold, for a comparison with others of its code."""
    value, threshold = _finite(row.get("value")), _finite(row.get("threshold"))
    if value is None or threshold is None:
        return 0.0, 0.0
    return (value / threshold, 0.0) if threshold > 0 else (math.inf, value)


def _scaled(value: float | None, unit: str, like: float | None = None) -> str:
    """Write nanoseconds in a unit, with the decimals of another value so that an interval lines up with it."""
    value, like = _finite(value), _finite(like)
    if value is None:
        return "-"
    scale = _UNITS[unit]
    if like is None or abs(value / scale) >= _LARGE:
        return _number(value / scale)
    return f"{value / scale:.{_decimals(like / scale)}f}"


def _number(value: float | None) -> str:
    """Write a number with four significant digits."""
    value = _finite(value)
    if value is None:
        return "-"
    return f"{value:.{_decimals(value)}f}" if abs(value) < _LARGE else f"{value:.3e}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    return "-" if value is None else str(value)


def _decimals(value: float) -> int:
    return min(6, max(0, 3 - math.floor(math.log10(abs(value))))) if value else 0
