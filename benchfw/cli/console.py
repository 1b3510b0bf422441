"""Tables and messages on stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
_SWEEPS = {
    "fixed": "fixed: artifacts made for one shape",
    "min-opt-max": "min-opt-max: the dynamic artifact at its three points",
    "random-batch": "random-batch: the dynamic artifact under a random order of sizes",
}
_WIDTH = 110


def make_console() -> Console:
    """Return a console on stdout: as wide as the terminal, or fixed elsewhere, and plain there."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False, soft_wrap=False)


def report(rows: Sequence[Row], run_id: str, folder: Path, *, as_json: bool) -> None:
    """Print the results of one run: one table per sweep, skips, failures, and what to type next."""
    if as_json:
        print_json({"run_id": run_id, "folder": str(folder), "cases": list(rows)})
        return
    console = make_console()
    first = rows[0] if rows else {}
    console.print(
        Text(
            f"{first.get('scenario')}: {first.get('model')} on {first.get('device')}, {first.get('threads')} threads, "
            f"effort {first.get('effort')}; latency in ms at one inference at a time, [95 % interval]",
            style="bold",
        )
    )
    for kind, title in _SWEEPS.items():
        chosen = [row for row in rows if kind in str(row["sweep"]).split("+") and row["status"] == "OK"]
        if chosen:
            console.print()
            console.print(_sweep_table(title, chosen))
    _print_reasons(console, rows)
    console.print()
    console.print(f"results: {folder}", soft_wrap=True)
    console.print(f"next:    benchfw show {run_id}", soft_wrap=True)
    console.print(f"         python -c \"import benchfw; print(benchfw.load('{folder}').cases)\"", soft_wrap=True)


def _sweep_table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="", show_edge=False, pad_edge=False, box=None)
    for name, justify in (
        ("batch", "right"),
        ("backend", "left"),
        ("artifact", "left"),
        ("samples/s", "right"),
        ("p50", "right"),
        ("", "left"),
        ("p99", "right"),
        ("speed-up", "right"),
        ("rel. L2", "right"),
        ("verdict", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True, header_style="underline")  # type: ignore[arg-type]
    last = None
    for row in sorted(rows, key=lambda row: (row["batch"] or 0, row["shape"])):
        place = (row["batch"], row["shape"])
        if last is not None and place != last:
            table.add_section()
            table.add_row()
        last = place
        table.add_row(*(Text(cell) for cell in _cells(row)), style="" if row["verdict"] == "VALID" else "dim")
    return table


def _cells(row: Row) -> Iterable[str]:
    speedup, error = row.get("speedup"), row.get("rel_l2")
    low, high = row.get("latency_p50_low_ns"), row.get("latency_p50_high_ns")
    yield _batch(row)
    yield str(row["name"]) + ("" if row["precision"] == "fp32" else f" {row['precision']}")
    yield str(row["profile"])
    yield _number(row.get("throughput_samples_s"))
    yield _ms(row.get("latency_p50_ns"))
    yield f"[{_ms(low)}, {_ms(high)}]" if low is not None and high is not None else ""
    yield _ms(row.get("latency_p99_ns"))
    yield "-" if speedup is None else f"{speedup:.2f}x"
    yield (
        "-" if error is None else "reference" if row.get("reference") == row["name"] and error == 0 else f"{error:.0e}"
    )
    yield str(row["verdict"])


def _batch(row: Row) -> str:
    if row.get("batch") is not None:
        return str(row["batch"])
    if row.get("sequence_sha256") is not None:  # random-batch1-8-permuted-seed7
        return str(row["cohort"]).removeprefix("random-batch").split("-permuted")[0].split("-iid")[0].split("-trace")[0]
    return "-"


def _print_reasons(console: Console, rows: Sequence[Row]) -> None:
    """Print one line per backend that was skipped, and one per case that failed or did not converge."""
    seen = set()
    lines = []
    for row in rows:
        key = (row["name"], row["status"], row["status_reason"])
        if row["status"] in ("SKIPPED", "UNSUPPORTED"):
            if key not in seen:
                lines.append(f"{row['status']} {row['name']}: {row['status_reason']}")
        elif row["status"] != "OK":
            log = f", see {row['log']}" if row.get("log") else ""
            lines.append(f"{row['status']} {row['case_id']}: {row['status_reason']}{log}")
        seen.add(key)
    loose = [row for row in rows if row["status"] == "OK" and row["verdict"] == "NOT_CONVERGED"]
    if loose:
        lines.append(
            f"NOT_CONVERGED {len(loose)} of {len(rows)} cases: the time given was too short for intervals as narrow as "
            f"effort {loose[0]['effort']} wants; trust the intervals, or give more time with --set measure.budget=10min"
        )
    if lines:
        console.print()
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON that any reader takes: not-a-number and infinities become null."""
    print(json.dumps(_clean(value), indent=1, ensure_ascii=False, default=str))


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _ms(value: float | None) -> str:
    return "-" if value is None else _number(value / 1e6)


def _number(value: float | None) -> str:
    """Write a number with four significant digits."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
