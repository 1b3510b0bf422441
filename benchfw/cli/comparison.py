"""A comparison on stdout: a table per metric, and beneath it what a reader must know to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchfw.analysis.compare import geometric_means
from benchfw.analysis.evidence import MIN_INVOCATIONS
from benchfw.analysis.runs import Row, records_of
from benchfw.analysis.text import error_text, factor, finite, latency_unit, name_text, number, scaled, shape_text, text
from benchfw.analysis.verdicts import counted, mixed_verdicts
from benchfw.cli.console import literal, make_console, print_json, print_table, simple_table

if TYPE_CHECKING:
    import pandas as pd

_NOT_COMPARABLE = 4
_PLACES = 3


def report_comparison(frame: pd.DataFrame, *, by: str | None, geomean: bool = False, as_json: bool = False) -> int:
    """Print what `benchfw.compare` returned, and return the exit code: 4 if nothing could be compared.

    Args:
        frame: What it returned.
        by: The label that was compared by; None between runs.
        geomean: Add geometric means.
        as_json: Print JSON instead.
    """
    rows, means = records_of(frame), records_of(geometric_means(frame)) if geomean else []
    compared = [row for row in rows if row.get("speedup") is not None]
    code = 0 if compared else _NOT_COMPARABLE
    if as_json:
        print_json({"comparisons": rows, **({"geometric_means": means} if geomean else {})})
        return code
    console = make_console()
    console.print(literal(_title(rows, by), style="bold"), soft_wrap=True)
    for metric in dict.fromkeys(text(row, "metric") for row in rows):
        console.print()
        print_table(console, _table(metric, [row for row in rows if row["metric"] == metric], by))
    _print_means(console, means, by)
    lines = [*_uncertain(compared), *_notes(rows)]
    if lines:
        console.print()
    for line in lines:
        console.print(literal(line, lines=True), soft_wrap=True)
    return code


def _title(rows: Sequence[Row], by: str | None) -> str:
    runs = list(dict.fromkeys(text(row, "run_id") for row in rows))
    baselines = list(dict.fromkeys(text(row, "baseline_run_id") for row in rows))
    if by:
        names = dict.fromkeys(name_text({"name": row.get("baseline_name")}) for row in rows)
        over = ", ".join(name for name in names if name != "-") or "nothing"
        return f"{', '.join(runs)} by {by}, over {over}; speed-up: above 1 is faster"
    return f"{', '.join(runs)} over the baseline {', '.join(baselines)}; speed-up: above 1 is faster"


def _table(metric: str, rows: Sequence[Row], by: str | None) -> Table:
    unit = latency_unit([row.get(column) for row in rows for column in ("value", "baseline_value")])
    measured = "samples/s" if metric == "throughput" else f"{metric} {unit}"
    shown = [(row, _cells(row, metric, unit)) for row in rows]
    columns = [name for name in shown[0][1] if name not in _empty([cells for _, cells in shown])]
    heads = {"value": measured, "interval": "[95 %]"}
    table = simple_table(
        *(heads.get(name, name) for name in columns),
        title=metric,
        right=("batch", "shape", "baseline", measured, "speed-up", "rel. L2"),
    )
    table.title_style = ""
    for column, name in zip(table.columns, columns, strict=True):
        column.no_wrap = name not in ("backend", "run", "verdict")
        column.overflow = "fold"
    last = None
    for row, cells in sorted(shown, key=lambda item: (item[0].get("batch") or 0, text(item[0], "shape"))):
        if last not in (None, row.get("shape")):
            table.add_row()
        last = row.get("shape")
        plain = row.get("speedup") is not None and row.get("verdict") == row.get("baseline_verdict") == "VALID"
        table.add_row(*(literal(cells[name]) for name in columns), style="" if plain else "dim")
    return table


def _cells(row: Row, metric: str, unit: str) -> dict[str, str]:
    throughput = metric == "throughput"
    value, base = row.get("value"), row.get("baseline_value")
    low, high = finite(row.get("speedup_low")), finite(row.get("speedup_high"))
    return {
        "run": text(row, "run_id"),
        "batch": shape_text(row),
        "backend": name_text(row),
        "artifact": text(row, "profile"),
        "baseline": number(base) if throughput else scaled(base, unit),
        "value": number(value) if throughput else scaled(value, unit, base),
        "speed-up": factor(row.get("speedup"), rough=low is None, places=_PLACES),
        "interval": "" if low is None or high is None else f"[{low:.{_PLACES}f}, {high:.{_PLACES}f}]",
        "rel. L2": error_text(row),
        "verdict": _verdict(row),
    }


def _empty(cells: Sequence[dict[str, str]]) -> set[str]:
    """Return the columns that would say nothing, or the same thing in each row."""
    same = {name for name in ("run", "artifact") if len({row[name] for row in cells}) == 1}
    return same | {name for name in ("rel. L2", "interval") if {row[name] for row in cells} <= {"-", ""}}


def _verdict(row: Row) -> str:
    """Return what both measurements are worth, in short; `!` marks a comparison that was forced."""
    states = [
        text(row, f"{side}verdict") if row.get(f"{side}status") == "OK" else text(row, f"{side}status")
        for side in ("baseline_", "")
    ]
    shown = ["missing" if state == "-" else state for state in states]
    both = shown[0] if shown[0] == shown[1] else " → ".join(shown)
    return f"{both}{' !' if row.get('forced') else ''}"


def _print_means(console: Console, means: Sequence[Row], by: str | None) -> None:
    if not means:
        return
    console.print()
    for row in means:
        of = " ".join(part for part in (name_text(row), text(row, "profile")) if part != "-") if by else ""
        where = f"{text(row, 'metric')} {of or text(row, 'run_id')}"
        left_out = f", {row['of'] - row['cases']} of {row['of']} left out" if row["of"] > row["cases"] else ""
        mean = factor(row.get("speedup"), places=_PLACES)
        console.print(literal(f"geometric mean, {where}: {mean} over {row['cases']} cases{left_out}"), soft_wrap=True)


def _uncertain(rows: Sequence[Row]) -> list[str]:
    """Return what `~` means here."""
    rough = [row for row in rows if row.get("speedup_low") is None]
    between = [row for row in rough if row.get("level") == "invocation"]
    lines = []
    if between:
        lines.append(
            f"~: no interval, so that nobody knows how certain the speed-up is: it takes {MIN_INVOCATIONS} invocations "
            f"(processes) of each side; measure with --set measure.invocations={MIN_INVOCATIONS}"
        )
    if len(rough) > len(between):
        lines.append("~: no interval: too few rounds or samples; for more time: --set measure.budget=10min")
    return lines


def _notes(rows: Sequence[Row]) -> list[str]:
    missing = [row for row in rows if row.get("speedup") is None]
    both = [row for row in rows if row.get("status") == row.get("baseline_status") == "OK"]
    return [
        *_reasons(missing),
        *counted("differs", [row.get("differs") for row in both]),
        *counted("! compared because of --force, in spite of", [row.get("forced") for row in both]),
        *counted("verdict", [mixed_verdicts(row, "verdict", "baseline_verdict") for row in both]),
        *counted("reason", [row.get("baseline_verdict_reason") or row.get("verdict_reason") for row in both]),
    ]


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Return a line per reason for which there is no speed-up, with its cases."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(text(row, "reason"), []).append(row)
    lines = []
    for reason, those in found.items():
        cases = list(dict.fromkeys(text(row, "case_id") for row in those))
        metrics = ", ".join(dict.fromkeys(text(row, "metric") for row in those))
        shown = cases[0] if len(cases) == 1 else f"{len(cases)} cases ({cases[0]}, …)"
        lines.append(f"not compared, {metrics} of {shown}: {reason}")
    return lines
