"""The profile of a run by layer: the longest layers, operators summed, and what their sum says of the latency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from benchfw.analysis.text import UNITS, Row, finite, latency_unit, number, scaled, shape_text, text
from benchfw.cli.console import fitting, literal, make_console, print_json, print_table, simple_table
from benchfw.cli.report import report
from benchfw.cli.runs import read_rows
from benchfw.spec.executor import Outcome

_OPTIONAL = ("GFLOP/s", "MFLOP", "precision", "calls", "run by")
"""Columns that go where there is no room for them, the first one first."""
_LEFT = ("layer", "operator", "precision", "run by")
_NAME = 48
"""Characters of a layer's name that are shown; its end says more than its beginning."""


def print_profiles(cases: Sequence[Row], layers: Sequence[Row], top: int) -> None:
    """Print the profile of every case that has one.

    Args:
        cases: Rows of the table `cases`.
        layers: Rows of the table `layers`.
        top: Layers that are shown of each.
    """
    console = make_console()
    for case in cases:
        mine = [row for row in layers if row.get("case_id") == case.get("case_id")]
        if mine:
            _print_profile(console, case, mine, top)


def print_profile_report(outcome: Outcome, top: int, *, as_json: bool) -> bool:
    """Print what a run measured, then its profiles; say whether there is one."""
    warnings, layers = read_rows(outcome.folder, "warnings", "layers")
    if as_json:
        print_json(
            {
                "run_id": outcome.run_id,
                "folder": str(outcome.folder),
                "cases": outcome.rows,
                "warnings": warnings,
                "layers": layers,
                "operators": operators(layers),
                "sums": sums(outcome.rows[0], layers) if layers else None,
            }
        )
    else:
        report(outcome.rows, outcome.run_id, outcome.folder, warnings=warnings)
        print_profiles(outcome.rows, layers, top)
    return bool(layers)


def sums(case: Row, layers: Sequence[Row]) -> dict[str, float | None]:
    """Return what layers, the profiled inference and the latency without profiling took, in ns, and how they differ.

    `gaps_ns` is what a profiled inference spent outside of layers, `profiling_ns` what profiling added to the latency;
    the latency is the sum of layers, plus the gaps, less what profiling added.
    """
    together, whole = (finite(layers[0].get(f"{name}_p50_ns")) for name in ("layers", "inference"))
    latency = finite(case.get("latency_p50_ns"))
    return {
        "layers_ns": together,
        "inference_ns": whole,
        "latency_ns": latency,
        "gaps_ns": None if whole is None or together is None else whole - together,
        "profiling_ns": None if whole is None or latency is None else whole - latency,
    }


def operators(layers: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the layers summed by operator, the longest first: layers, calls, time, share and operations."""
    found: dict[str, list[Row]] = {}
    for row in layers:
        found.setdefault(text(row, "op"), []).append(row)
    rows = [
        {
            "op": op,
            "layers": len(mine),
            "calls": int(_sum(mine, "calls")),
            "time_p50_ns": _sum(mine, "time_p50_ns"),
            "share": _sum(mine, "share"),
            "flops": _sum(mine, "flops") if any(finite(row.get("flops")) for row in mine) else None,
        }
        for op, mine in found.items()
    ]
    return sorted(rows, key=lambda row: -float(row["time_p50_ns"]))


def _sum(rows: Sequence[Row], column: str) -> float:
    return sum(finite(row.get(column)) or 0.0 for row in rows)


def _print_profile(console: Console, case: Row, layers: Sequence[Row], top: int) -> None:
    ordered = sorted(layers, key=lambda row: -(finite(row.get("time_p50_ns")) or 0.0))
    unit = latency_unit([row.get("time_p50_ns") for row in layers])
    shape = shape_text(case)
    shape = f"batch={shape}" if shape.isdecimal() else shape  # a title says which axis a bare number is
    labels = f"{text(case, 'model')} on {text(case, 'name')}, {text(case, 'precision_effective')}, {shape}"
    console.print()
    console.print(literal(f"layers: {labels}; {text(layers[0], 'n')} inferences, median times", "bold"), soft_wrap=True)
    _print_rows(console, [_layer_cells(row, unit) for row in ordered[:top]])
    rest = ordered[top:]
    if rest:
        left = _time(_sum(rest, "time_p50_ns"), unit)
        console.print(literal(f"and {len(rest)} more, {left} {unit} in all; --top N shows more"))
    console.print()
    _print_rows(console, [_operator_cells(row, unit) for row in operators(layers)])
    console.print()
    for line in [*_comparison(case, layers), *_graph(case)]:
        console.print(literal(line), soft_wrap=True)


def _print_rows(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    filled = [name for name in rows[0] if any(row[name] not in ("", "-") for row in rows)]
    rows = [{name: row[name] for name in filled} for row in rows]
    columns = fitting(rows, console.width, [name for name in _OPTIONAL if name in filled])
    table = simple_table(*columns, right=[name for name in columns if name not in _LEFT])
    for row in rows:
        table.add_row(*(literal(row[name]) for name in columns))
    print_table(console, table)


def _layer_cells(row: Row, unit: str) -> dict[str, str]:
    name = text(row, "layer")
    return {
        "layer": name if len(name) <= _NAME else f"…{name[1 - _NAME :]}",
        "operator": text(row, "op"),
        f"time {unit}": _time(row.get("time_p50_ns"), unit),
        **_figures(row),
        "calls": text(row, "calls") if row.get("calls") != 1 else "",
        "precision": text(row, "precision"),
        "run by": text(row, "kernel" if row.get("kernel") else "provider"),
    }


def _operator_cells(row: Row, unit: str) -> dict[str, str]:
    return {
        "operator": text(row, "op"),
        "layers": text(row, "layers"),
        f"time {unit}": _time(row.get("time_p50_ns"), unit),
        **_figures(row),
    }


def _figures(row: Row) -> dict[str, str]:
    """Return share, operations, and operations per second, of layers that multiply."""
    share, flops, taken = (finite(row.get(column)) for column in ("share", "flops", "time_p50_ns"))
    return {
        "share": "-" if share is None else f"{share:.1%}",
        "MFLOP": number(flops / 1e6) if flops else "",
        "GFLOP/s": number(flops / taken) if flops and taken else "",
    }


def _comparison(case: Row, layers: Sequence[Row]) -> list[str]:
    """Return how the sum of the layers comes to the latency."""
    found = sums(case, layers)
    unit = latency_unit([found["inference_ns"], found["latency_ns"]])
    together, whole, latency, gaps, added = (
        found[key] for key in ("layers_ns", "inference_ns", "latency_ns", "gaps_ns", "profiling_ns")
    )
    lines = [f"sum of layers       {_time(together, unit)} {unit}"]
    if gaps is not None:
        why = "between and around layers: scheduling, inputs and outputs, the profiler itself"
        line = f"profiled inference  {_time(whole, unit)} {unit}: "
        lines.append(line + (f"{_time(gaps, unit)} {unit} {why}" if gaps >= 0 else "layers ran at the same time"))
    if latency is None or added is None or together is None or not latency:
        return [*lines, f"latency             none to compare with: {text(case, 'verdict')}"]
    low, high = (finite(case.get(f"latency_p50_{end}_ns")) for end in ("low", "high"))
    if low is not None and high is not None and low <= latency + added <= high:
        what = "the profiled inference is within this interval"
    elif added >= 0:
        what = f"profiling added {_time(added, unit)} {unit} ({added / latency:.0%})"
    else:
        what = f"the profiled pass was faster by {_time(-added, unit)} {unit} ({-added / latency:.0%})"
    interval = f"[{_time(low, unit)}, {_time(high, unit)}]" if low is not None else "(too few blocks for an interval)"
    lines.append(f"latency             {_time(latency, unit)} {unit} {interval} without profiling: {what}")
    return [*lines, f"                    the sum of layers is {together / latency:.0%} of it"]


def _graph(case: Row) -> list[str]:
    """Return what the model's graph has to do, and how fast that was done."""
    flops, moved, parameters = (finite(case.get(f"graph_{name}")) for name in ("flops", "bytes", "parameters"))
    if flops is None or moved is None or parameters is None:
        return []
    latency = finite(case.get("latency_p50_ns"))
    speed = f"; {number(flops / latency)} GFLOP/s at this latency" if latency else ""
    return [
        "",
        f"graph: {_scaled(flops / 2, 'MAC')} = {_scaled(flops, 'FLOP')}, {_scaled(parameters)} parameters, "
        f"{_scaled(moved, 'B')} through its nodes{f', {flops / moved:.1f} FLOP/byte' if moved else ''}{speed}",
    ]


def _scaled(value: float, unit: str = "") -> str:
    """Write a count with four digits and a prefix of the SI."""
    power = min(4, int(math.log10(value) // 3)) if value >= 1 else 0
    return f"{number(value / 1000**power)} {('', 'k', 'M', 'G', 'T')[power]}{unit}".strip()


def _time(value: float | None, unit: str) -> str:
    """Write nanoseconds in a unit with three decimals, so that they line up."""
    return scaled(finite(value), unit, UNITS[unit])
