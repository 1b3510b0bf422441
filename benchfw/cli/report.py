"""The results of one run on stdout: tables, what was skipped or failed, what warns, and what to type next."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchfw.analysis.text import (
    Row,
    error_text,
    factor,
    finite,
    latency_unit,
    name_text,
    number,
    scaled,
    shape_text,
    text,
)
from benchfw.cli.console import literal, make_console, print_json, print_table
from benchfw.store.files import run_argument

_SWEEPS = {
    "fixed": "fixed: artifacts made for one shape",
    "min-opt-max": "min-opt-max: the dynamic artifact at its three points",
    "random-batch": "random-batch: the dynamic artifact under a random order of sizes",
}
_CODES = (5, 2, 0)
"""Codes of warnings in a row, at most, as there is room; the lines below the table tell of all."""
_SAID_BY_VERDICT = ("W01", "V07")


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
        text(first, column) for column in ("scenario", "model", "device", "threads", "effort")
    )
    console.print(
        literal(
            f"{scenario}: {model} on {device}, {threads} threads, effort {effort}; "
            "latency of one inference at a time, [95 % interval of the median]",
            style="bold",
        ),
        soft_wrap=True,
    )
    rough, codes = _rough_speedups(rows), _codes(warnings)
    for kind, title in _SWEEPS.items():
        chosen = [row for row in rows if kind in text(row, "sweep").split("+") and row.get("status") == "OK"]
        if chosen:
            console.print()
            tables = (_sweep_table(title, chosen, rough, codes, most=most) for most in _CODES)
            print_table(console, *tables)
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
        f"next:    {_program('benchfw')} {_look_again(first)} {run_argument(folder)}",
        f"         {_program('python')} -c {code}",
    ):
        console.print(literal(line), soft_wrap=True)


def _look_again(row: Row) -> str:
    """Return the command that shows a run again; the arms of a comparison are judged by the gate."""
    return "gate --fail-on p50:1%" if row.get("arm") else "show"


def _program(name: str) -> str:
    """Return what to type for a program of this environment: its path if it is not the one that PATH finds."""
    path = Path(sys.argv[0]).with_name(name)
    found = shutil.which(name)
    if not path.is_file() or (found and Path(found).absolute() == path.absolute()):
        return name
    return shlex.quote(os.path.relpath(path))


def _codes(warnings: Sequence[Row]) -> dict[str, list[str]]:
    """Return the codes of the warnings of each case, without those that its verdict says already."""
    codes: dict[str, list[str]] = {}
    for row in warnings:
        known, code = codes.setdefault(text(row, "case_id"), []), text(row, "code")
        if code not in (*_SAID_BY_VERDICT, *known):
            known.append(code)
    return codes


def _sweep_table(
    title: str, rows: Sequence[Row], rough: Collection[int], codes: Mapping[str, Collection[str]], *, most: int
) -> Table:
    """Return the table of a sweep, with so many codes of warnings in a row at most."""
    unit = latency_unit([row.get("latency_p50_ns") for row in rows])
    on_device = any(finite(row.get("enqueue_p50_ns")) for row in rows)
    table = Table(title=literal(title), title_justify="left", title_style="", show_edge=False, pad_edge=False, box=None)
    for name, justify in (
        ("shape" if any("=" in shape_text(row) for row in rows) else "batch", "right"),
        ("backend", "left"),
        ("artifact", "left"),
        ("samples/s", "right"),
        (f"p50 {unit}", "right"),
        ("[95 %]", "left"),
        (f"p99 {unit}", "right"),
        *((("enqueue", "right"), ("device", "right")) if on_device else ()),
        ("speed-up", "right"),
        ("rel. L2", "right"),
        ("verdict", "left"),
        *((("warnings", "left"),) if most and any(codes.get(text(row, "case_id")) for row in rows) else ()),
    ):
        table.add_column(name, justify=justify, no_wrap=True, header_style="underline")
    last = None
    for row in sorted(rows, key=lambda row: (row.get("batch") or 0, text(row, "shape"))):
        place = (row.get("batch"), row.get("shape"))
        if last is not None and place != last:
            table.add_section()
            table.add_row()
        last = place
        style = "" if row.get("verdict") == "VALID" else "dim"
        mine = sorted(codes.get(text(row, "case_id"), ()))
        mine = mine[:most] + ([f"+{len(mine) - most}"] if len(mine) > most else [])
        cells = list(_cells(row, unit, mine, rough=id(row) in rough, on_device=on_device))[: len(table.columns)]
        table.add_row(*(literal(cell) for cell in cells), style=style)
    return table


def _rough_speedups(rows: Sequence[Row]) -> frozenset[int]:
    """Return the ids of the rows whose speed-up is made of a throughput without an interval."""
    open_ended = [row for row in rows if row.get("status") == "OK" and not _has_interval(row)]
    cohorts = {row.get("cohort") for row in open_ended if _is_reference(row)}
    return frozenset(
        id(row)
        for row in [*open_ended, *(row for row in rows if row.get("cohort") in cohorts)]
        if finite(row.get("speedup")) is not None and not _is_reference(row)
    )


def _has_interval(row: Row) -> bool:
    ends = (row.get("throughput_low_samples_s"), row.get("throughput_high_samples_s"))
    return all(finite(end) is not None for end in ends)


def _is_reference(row: Row) -> bool:
    """Say whether speed-ups of this row's cohort are those over this row; its own is 1 whatever it measured."""
    return row.get("name") == row.get("reference") is not None and row.get("precision") == "fp32"


def _cells(row: Row, unit: str, codes: Collection[str], *, rough: bool, on_device: bool) -> Iterable[str]:
    median = row.get("latency_p50_ns")
    low, high = finite(row.get("latency_p50_low_ns")), finite(row.get("latency_p50_high_ns"))
    yield shape_text(row)
    yield (f"{row['arm']}: " if row.get("arm") else "") + name_text(row)
    yield text(row, "profile")
    depth = row.get("throughput_depth")
    yield number(row.get("throughput_samples_s")) + (f" ×{depth}" if isinstance(depth, int) and depth > 1 else "")
    yield scaled(median, unit)
    yield "" if low is None or high is None else f"[{scaled(low, unit, median)}, {scaled(high, unit, median)}]"
    yield scaled(row.get("latency_p99_ns"), unit, median)
    if on_device:
        yield scaled(row.get("enqueue_p50_ns"), unit, median)
        yield scaled(row.get("device_p50_ns"), unit, median)
    yield factor(row.get("speedup"), rough=rough)
    yield error_text(row)
    yield text(row, "verdict")
    yield " ".join(codes)


def _print_reasons(console: Console, rows: Sequence[Row], folder: Path) -> None:
    """Print one line per backend that was skipped and per case that failed, and one for those without a verdict."""
    seen = set()
    lines = []
    for row in rows:
        status, name, reason = key = (text(row, "status"), text(row, "name"), text(row, "status_reason"))
        if status in ("SKIPPED", "UNSUPPORTED"):
            if key not in seen:
                lines.append(f"{status} {name}: {reason}")
        elif status == "INTERRUPTED":
            continue
        elif status != "OK":
            log = f", see {folder / str(row['log'])}" if row.get("log") else ""
            lines.append(f"{status} {text(row, 'case_id')}: {reason}{log}")
        seen.add(key)
    stopped = [row for row in rows if row.get("status") == "INTERRUPTED"]
    if stopped:
        lines.append(f"INTERRUPTED {len(stopped)} cases: {text(stopped[-1], 'status_reason')}")
    measured = [row for row in rows if row.get("status") == "OK"]
    contended = [row for row in measured if row.get("verdict") == "CONTENDED"]
    if contended:
        lines.append(
            f"CONTENDED {len(contended)} cases: {text(contended[0], 'verdict_reason')}; "
            "these numbers are those of two runs that share a machine: measure them again alone"
        )
    unsteady = [row for row in measured if row.get("verdict") == "NO_STEADY_STATE"]
    if unsteady:
        lines.append(
            f"NO_STEADY_STATE {len(unsteady)} cases have no number, as it would depend on when it was taken: "
            f"{text(unsteady[0], 'case_id')}: {text(unsteady[0], 'verdict_reason')}; see what else runs on the "
            "machine, or measure for longer: --set measure.budget=10min"
        )
    loose = [row for row in measured if row.get("verdict") == "NOT_CONVERGED"]
    if loose:
        lines.append(
            f"NOT_CONVERGED {len(loose)} cases: in the time given they did not get as precise as effort "
            f"{text(loose[0], 'effort')} wants (column verdict_reason); read their intervals, not their medians; "
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
        if text(row, "code") != "V07":  # told with the verdict
            found.setdefault(text(row, "code"), []).append(row)
    if found:
        console.print()
    for code, rows in found.items():
        worst = max(rows, key=_excess)
        count = len({row.get("case_id") for row in rows})
        cases = f"{count} cases, worst {text(worst, 'case_id')}" if count > 1 else text(worst, "case_id")
        console.print(literal(f"{code} {cases}: {text(worst, 'message')}", lines=True), soft_wrap=True)


def _excess(row: Row) -> tuple[float, float]:
    """Return how far a warning's value is beyond its threshold, for a comparison with others of its code."""
    value, threshold = finite(row.get("value")), finite(row.get("threshold"))
    if value is None or threshold is None:
        return 0.0, 0.0
    return (value / threshold, 0.0) if threshold > 0 else (math.inf, value)
