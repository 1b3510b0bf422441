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
from benchfw.analysis.verdicts import counted, differences_of, places, verdicts_text, with_artifact
from benchfw.cli.console import fitting, literal, make_console, print_json, print_table, simple_table

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
        print_table(console, _table(metric, [row for row in rows if row["metric"] == metric], console.width))
    _print_means(console, means, by)
    lines = [*_basis(compared), *_uncertain(compared), *_notes(rows)]
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


def _table(metric: str, rows: Sequence[Row], width: int) -> Table:
    unit = latency_unit([row.get(column) for row in rows for column in ("value", "baseline_value")])
    measured = "samples/s" if metric == "throughput" else f"{metric} {unit}"
    cells = [_cells(row, metric, unit) for row in rows]
    empty = _empty(cells)
    narrow = [each | {"verdict": max(each["verdict"].split(" → "), key=len)} for each in cells]  # it may be wrapped
    names = fitting(narrow, width, (*empty, "baseline", "artifact", "value"))
    names = [name for name in names if name not in empty]
    if "artifact" not in names:
        cells = [each | {"backend": with_artifact(each)} for each in cells]
    merged = () if "artifact" in names else ("backend",)
    heads = {"value": measured, "interval": "[95 %]"}
    table = simple_table(
        *(heads.get(name, name) for name in names),
        title=metric,
        right=("batch", "baseline", measured, "speed-up", "rel. L2"),
    )
    table.title_style = ""
    for column, name in zip(table.columns, names, strict=True):
        column.no_wrap = name not in ("verdict", *merged)
    shown = list(zip(rows, cells, strict=True))
    last = None
    for row, each in sorted(shown, key=lambda item: (item[0].get("batch") or 0, text(item[0], "shape"))):
        if last not in (None, row.get("shape")):
            table.add_row()
        last = row.get("shape")
        plain = (
            row.get("speedup") is not None and row.get("case_verdict") == row.get("baseline_case_verdict") == "VALID"
        )
        table.add_row(*(literal(each[name]) for name in names), style="" if plain else "dim")
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
    """Return the columns that would say nothing, or the only run again."""
    same = {"run"} if len({row["run"] for row in cells}) == 1 else set()
    return same | {name for name in ("rel. L2", "interval") if {row[name] for row in cells} <= {"-", ""}}


def _verdict(row: Row) -> str:
    """Return what both measurements are worth, in short; `!` marks a comparison that was forced."""
    states = [
        text(row, f"{side}case_verdict") if row.get(f"{side}status") == "OK" else text(row, f"{side}status")
        for side in ("baseline_", "")
    ]
    shown = ["missing" if state == "-" else state for state in states]
    both = shown[0] if shown[0] == shown[1] else " → ".join(shown)
    return f"{both}{' !' if row.get('forced') else ''}"


def _print_means(console: Console, means: Sequence[Row], by: str | None) -> None:
    """Print a line per run, or per backend and artifact of a run: the mean of each metric, and of how many cases."""
    lines: dict[str, list[str]] = {}
    for row in means:
        of = " ".join(part for part in (name_text(row), text(row, "profile")) if part != "-") if by else ""
        mean = factor(row.get("speedup"), places=_PLACES)
        shown = f"{text(row, 'metric')} {mean} over {row['cases']} of {row['of']} cases"
        lines.setdefault(of or text(row, "run_id"), []).append(shown)
    if means:
        console.print()
    for of, shown_means in lines.items():
        console.print(literal(f"geometric mean, {of}: {', '.join(shown_means)}"), soft_wrap=True)


def _uncertain(rows: Sequence[Row]) -> list[str]:
    """Return what `~` means here."""
    rough = [row for row in rows if not _has_interval(row)]
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


def _basis(rows: Sequence[Row]) -> list[str]:
    """Return what the intervals are made of."""
    lines = []
    for level, of in (
        ("invocation", "the medians of {} invocations (processes)"),
        ("round", "ratios within {} rounds"),
    ):
        counts = {(row["n_baseline"], row["n"]) for row in rows if row.get("level") == level and _has_interval(row)}
        if counts:
            least, most = min(map(min, counts)), max(map(max, counts))
            count = str(least) if least == most else f"{least} to {most}"
            lines.append(f"[95 %]: of each row by itself, from {of.format(count)}; gate decides several at once")
    return lines


def _has_interval(row: Row) -> bool:
    return row.get("speedup_low") is not None


def _notes(rows: Sequence[Row]) -> list[str]:
    metrics = {text(row, "metric") for row in rows[:1]}  # the others say the same
    both = [row for row in rows if row["metric"] in metrics and row.get("status") == row.get("baseline_status") == "OK"]
    return [
        *_reasons([row for row in rows if row.get("speedup") is None]),
        *differences_of([row for row in both if row.get("speedup") is not None]),
        *counted("verdict", [verdicts_text(row) for row in both]),
    ]


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Return a line per reason for which there is no speed-up, with its cases."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(text(row, "reason"), []).append(row)
    return [f"not compared, {places(those)}: {reason}" for reason, those in found.items()]
