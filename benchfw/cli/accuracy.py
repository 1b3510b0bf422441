"""Accuracy tables and bisections on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchfw.analysis.accuracy import summarize
from benchfw.analysis.text import finite
from benchfw.cli.console import fitting, literal, make_console, print_json, print_table, simple_table

if TYPE_CHECKING:
    from benchfw.executors.bisecting import Bisection
    from benchfw.executors.checking import Checked
    from benchfw.executors.departures import Departure, Tensor
    from benchfw.scenario import Scenario

_COLUMNS = {
    "max abs": ("max_abs_err", "worst"),
    "p99 abs": ("p99_abs_err", "worst"),
    "mean abs": ("mean_abs_err", "mean"),
    "mean rel": ("mean_rel_err", "mean"),
    "rel. L2": ("rel_l2", "worst"),
    "mean L2": ("rel_l2", "mean"),
    "cosine": ("cosine", "worst"),
    "SNR dB": ("snr_db", "worst"),
    "top-1": ("top1_agreement", "mean"),
    "top-5": ("top5_agreement", "mean"),
}
_EXPENDABLE = ("mean L2", "p99 abs", "top-5", "SNR dB", "top-1", "mean abs")


def show(
    scenario: Scenario, found: Sequence[Checked], bisections: Sequence[Bisection] | None, *, as_json: bool
) -> None:
    """Print what a check has found.

    Args:
        scenario: Of the check; its first backend is the reference.
        found: Backends, precisions and shapes.
        bisections: Of those that failed; None if nobody asked.
        as_json: Print JSON instead.
    """
    lines = [(item, summarize(item.rows)) for item in found]
    if as_json:
        print_json(
            {
                "model": scenario.model.ref,
                "reference": scenario.backend[0].use,
                "checks": [{**_labels(item), "outputs": outputs, "rows": item.rows} for item, outputs in lines],
                **({} if bisections is None else {"bisections": [_as_json(item) for item in bisections]}),
            }
        )
        return
    console = make_console()
    sets = max((output["inputs"] for _, outputs in lines for output in outputs), default=0)
    console.print(
        literal(f"{scenario.model_name}: {sets} inputs per shape, against {scenario.backend[0].use} in fp32", "bold"),
        soft_wrap=True,
    )
    cells = [_cells(item, output) for item, outputs in lines for output in outputs]
    if cells:
        _print_table(console, cells)
        _say(console, "errors: the worst input's; columns that begin with `mean` and top-N: the mean over the inputs")
    for item, outputs in lines:
        _print_reasons(console, item, outputs)
    for note in dict.fromkeys(f"{_name(item)}: {note}" for item in found for note in item.notes):  # once for all shapes
        _say(console, note)
    for bisection in bisections or ():
        _print_bisection(console, bisection)
    if bisections == []:
        _say(console, "nothing to bisect: no output has failed")


def _labels(item: Checked) -> dict[str, Any]:
    session = item.case.session
    return {
        "backend": session.entry.label,
        "precision": session.precision,
        "shape": dict(item.case.sizes),
        "status": item.status,
        "reason": item.reason,
        "verdict": item.verdict,
        "steps": item.steps,
        "warnings": item.notes,
        "facts": item.facts,
    }


def _name(item: Checked | Bisection) -> str:
    session = item.case.session
    return f"{session.entry.label} {session.precision}"


def _shape(item: Checked | Bisection) -> str:
    return " ".join(f"{axis}={size}" for axis, size in item.case.sizes.items()) or "fixed"


def _cells(item: Checked, output: Mapping[str, Any]) -> dict[str, str]:
    return {
        "backend": _name(item),
        "shape": _shape(item),
        "output": output["output"],
        **{title: _number(output[kind][metric], metric) for title, (metric, kind) in _COLUMNS.items()},
        "verdict": output["verdict"],
    }


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    if finite(value) is None:
        return str(value)
    if metric in ("cosine", "snr_db", "top1_agreement", "top5_agreement"):
        return {"cosine": f"{value:.6f}", "snr_db": f"{value:.1f}"}.get(metric, f"{value:.1%}")
    return f"{value:.1e}" if value else "0"


def _print_table(console: Console, cells: Sequence[Mapping[str, str]]) -> None:
    idle = [name for name in _COLUMNS if all(row[name] == "-" for row in cells)]
    rows = [{name: text for name, text in row.items() if name not in idle} for row in cells]
    names = fitting(rows, console.width, [name for name in _EXPENDABLE if name not in idle])
    table = simple_table(*names, right=_COLUMNS)
    for row in rows:
        table.add_row(*(literal(row[name]) for name in names))
    print_table(console, table)


def _print_reasons(console: Console, item: Checked, outputs: Sequence[Mapping[str, Any]]) -> None:
    if item.status != "OK":
        _say(console, f"{item.status} {_name(item)} at {_shape(item)}: {item.reason}")
    for output in outputs:
        if output["reason"]:
            many = f"{output['failed']} of {output['inputs']} inputs, " if output["failed"] else ""
            where = f"{output['output']}: {many}worst is input {output['input_set']}"
            _say(console, f"{output['verdict']} {_name(item)} at {_shape(item)}, {where}: {output['reason']}")


def _print_bisection(console: Console, found: Bisection) -> None:
    where = f"{_name(found)} at {_shape(found)}, input {found.input_set}"
    if found.note:
        _say(console, f"bisect {where}: {found.note}")
        return
    first = found.departures[0]
    _say(
        console,
        f"bisect {where}, against the model as ONNX on {found.against}: "
        f"{first.tensor.name!r} is the first of {found.common} common tensors that departs",
        style="bold",
    )
    for departure in found.departures:
        _print_departure(console, departure)


def _print_departure(console: Console, departure: Departure) -> None:
    kind = "begins in" if departure.begins else "goes on in"
    _say(console, f"  {kind} {departure.op} {departure.node!r}: {_error(departure.tensor)}: {departure.tensor.reason}")
    for tensor in departure.inputs:
        _say(console, f"    input {_error(tensor)}{': departs' if tensor.departs else ''}")
    if departure.weights:
        _say(console, f"    weights {', '.join(departure.weights)}")
    if departure.unknown:
        _say(console, f"    not compared {', '.join(departure.unknown)}")


def _error(tensor: Tensor) -> str:
    if tensor.rel_l2 is None:
        return repr(tensor.name)
    return f"{tensor.name!r} rel. L2 {tensor.rel_l2:.1e}, max abs {tensor.max_abs_err:.1e}"


def _as_json(found: Bisection) -> dict[str, Any]:
    return {
        "backend": found.case.session.entry.label,
        "precision": found.case.session.precision,
        "shape": dict(found.case.sizes),
        "input_set": found.input_set,
        "against": found.against,
        "common": found.common,
        "compared": found.compared,
        "note": found.note,
        "departures": [{**asdict(item), "begins": item.begins} for item in found.departures],
    }


def _say(console: Console, text: str, *, style: str = "") -> None:
    console.print(literal(text, style), soft_wrap=True)
