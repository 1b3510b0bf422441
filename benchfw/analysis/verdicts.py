"""Verdict frames as text: a sentence, Markdown for a pull request, JUnit XML for CI; strings may be strangers'."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from benchfw.analysis.gate import VERDICTS
from benchfw.analysis.runs import records_of
from benchfw.analysis.text import finite, name_text, number, scaled, shape_text, text
from benchfw.store.files import printable

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST = 500
_EDGE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""An underscore that begins or ends a word; within one it means nothing."""

_ORDER = {verdict: place for place, verdict in enumerate(VERDICTS)}
HEAD = ("verdict", "metric", "batch", "backend", "artifact", "baseline", "now", "change", "interval", "limit")


def summary(frame: pd.DataFrame) -> str:
    """Return the verdicts of a gate in one sentence: `1 REGRESSION, 5 PASS of 6 (2 cases x 3 metrics …)`."""
    rows = _family(frame)
    counts = [f"{sum(row['verdict'] == verdict for row in rows)} {verdict}" for verdict in VERDICTS]
    found = ", ".join(count for count in counts if not count.startswith("0 "))
    metrics = dict.fromkeys(text(row, "metric") for row in rows)
    cases = len({row.get("baseline_case_id") for row in rows})
    return f"{found} of {len(rows)}: {_counted(cases, 'case')}, {' and '.join(metrics)}"


def headline(frame: pd.DataFrame) -> str:
    """Return what the gate says, as the first line of a report."""
    verdicts = {row["verdict"] for row in _family(frame)}
    for verdict, said in (("REGRESSION", "slower"), ("NOT_COMPARABLE", "undecided"), ("INCONCLUSIVE", "undecided")):
        if verdict in verdicts:
            return f"{said}: {summary(frame)}"
    return f"not slower: {summary(frame)}"


def sorted_rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a gate, those that matter most first and those outside of the family last."""
    return sorted(records_of(frame), key=lambda row: (not row["in_family"], _ORDER.get(text(row, "verdict"), 0)))


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row under `HEAD`."""
    return (
        text(row, "verdict"),
        text(row, "metric"),
        shape_text(row),
        name_text(row),
        text(row, "profile"),
        amount(row.get("baseline_value"), text(row, "metric")),
        amount(row.get("value"), text(row, "metric"), row.get("baseline_value")),
        percent(row.get("change")),
        interval(row.get("change_low"), row.get("change_high")),
        percent(row.get("limit")),
    )


def with_artifact(shown: Mapping[str, str]) -> str:
    """Return backend and artifact as one cell, for tables without room for two."""
    return shown["backend"] + (f" {shown['artifact']}" if shown["artifact"] not in ("any", "-") else "")


def amount(value: Any, metric: str, like: Any = None) -> str:
    """Write what was measured, with its unit."""
    if metric == "throughput":
        shown = number(value)
        return shown if shown == "-" else f"{shown}/s"
    unit = "ms" if (finite(like) or finite(value) or 0) >= 1e6 else "µs"
    shown = scaled(value, unit, like)
    return shown if shown == "-" else f"{shown} {unit}"


def percent(change: Any) -> str:
    """Write a relative change with its sign: `+3.4 %`."""
    value = finite(change)
    return "-" if value is None else f"{100 * value:+.{_places(value)}f} %"


def interval(low: Any, high: Any) -> str:
    """Write an interval of relative changes: `[+1.2, +5.8] %`."""
    ends = finite(low), finite(high)
    if ends[0] is None or ends[1] is None:
        return "-"
    places = min(map(_places, (ends[0], ends[1])))
    return f"[{100 * ends[0]:+.{places}f}, {100 * ends[1]:+.{places}f}] %"


def markdown(frame: pd.DataFrame, title: str = "benchfw gate") -> str:
    """Return a gate as Markdown: a line that says it all, a table, and why for what is neither PASS nor IMPROVED."""
    rows = sorted_rows(frame)
    lines = [f"**{_cell(title)}: {_cell(headline(frame))}**", ""]
    lines += [f"| {' | '.join(HEAD)} |", "| --- | --- | ---: | --- | --- | ---: | ---: | ---: | --- | ---: |"]
    lines += [f"| {' | '.join(map(_cell, cells(row)))} |" for row in rows if row["in_family"]]
    reasons = reason_lines(rows)
    if reasons:
        lines += ["", "<details><summary>Why</summary>", ""]
        lines += [f"- {_cell(reason)}" for reason in reasons]
        lines += ["", "</details>"]
    notes = notes_of(rows)
    lines += ["", *(f"{_cell(note)}  " for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def notes_of(rows: Sequence[Row]) -> list[str]:
    """Return what readers of the table must know: runs, what differs, what was forced, disturbed measurements."""
    first = rows[0]
    cases = [row for row in rows if row["metric"] == first["metric"] and row["in_family"]]  # other metrics say the same
    count = sum(row["in_family"] for row in rows)
    notes = [f"the intervals hold with 95 %{f' for all {count} together' if count > 1 else ''}"]
    if first.get("run_id") != first.get("baseline_run_id"):
        notes.append(f"run {text(first, 'run_id')} over the baseline {text(first, 'baseline_run_id')}")
    for source in ("min-delta", "noise floor"):
        those = [row for row in rows if row.get("limit_from") == source]
        notes += [f"limit from the {source}: {places(those)}"] if those else []
    both = [row for row in cases if row.get("change") is not None]
    return [*notes, *differences_of(both), *counted("verdict", [verdicts_text(row) for row in cases])]


def differences_of(rows: Sequence[Row]) -> list[str]:
    """Return what differs between cases and baselines that were compared, and what was forced."""
    differs = [row.get("differs") if row.get("differs") != row.get("forced") else None for row in rows]
    forced = [row.get("forced") for row in rows]
    return counted("differs:", differs) + counted("! compared because of --force, in spite of", forced)


def counted(label: str, found: Sequence[Any]) -> list[str]:
    """Return a line per distinct text: for how many cases it holds."""
    texts = [str(item) for item in found if isinstance(item, str)]
    return [f"{label} {item} ({texts.count(item)} of {_counted(len(found), 'case')})" for item in dict.fromkeys(texts)]


def verdicts_text(row: Row) -> str | None:
    """Return what a case and its baseline are worth and why, if one is not VALID, else None.

    Where rounds were compared it does not matter whether each case by itself is known well enough: the interval of
    the comparison says how well their ratio is.
    """
    found = [(row.get(f"{side}case_verdict"), row.get(f"{side}verdict_reason")) for side in ("baseline_", "")]
    harmless = {"VALID", None} | ({"NOT_CONVERGED"} if row.get("level") == "round" else set())
    if {verdict for verdict, _ in found} <= harmless:
        return None
    shown = f"{found[0][0]} → {found[1][0]}" if found[0][0] != found[1][0] else f"{found[0][0]} in both"
    reasons = dict.fromkeys(reason for _, reason in found if reason)
    return f"{shown}: {'; '.join(reasons)}" if reasons else shown


def reason_lines(rows: Sequence[Row]) -> list[str]:
    """Return a line per verdict and reason with its cases, of what is undecided or outside of the family."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["verdict"] in ("INCONCLUSIVE", "NOT_COMPARABLE"):
            verdict = text(row, "verdict") if row["in_family"] else "outside of the family"
            found.setdefault((verdict, text(row, "reason")), []).append(row)
    return [f"{verdict}, {places(those)}: {reason}" for (verdict, reason), those in found.items()]


def places(rows: Sequence[Row]) -> str:
    """Return metrics and cases of rows: `p50, p99 of net/ort/fp32/static/b1`, `p50 of 3 cases (…)`."""
    ids = list(dict.fromkeys(str(row.get("case_id") or row.get("baseline_case_id")) for row in rows))
    shown = ids[0] if len(ids) == 1 else f"{len(ids)} cases ({ids[0]}, …)"
    return f"{', '.join(dict.fromkeys(text(row, 'metric') for row in rows))} of {shown}"


def junit(frame: pd.DataFrame, name: str = "benchfw gate") -> str:
    """Return a gate as JUnit XML, one test case per case and metric.

    `REGRESSION` is a failure, `NOT_COMPARABLE` an error, `INCONCLUSIVE` and whatever is outside of the family are
    skipped; `PASS` and `IMPROVED` pass.
    """
    rows = sorted_rows(frame)
    suite = ET.Element("testsuite", name=_xml(name))
    kinds = [_kind(row) for row in rows]
    suite.attrib |= {"tests": str(len(rows)), "failures": str(kinds.count("failure"))}
    suite.attrib |= {"errors": str(kinds.count("error")), "skipped": str(kinds.count("skipped"))}
    for row, kind in zip(rows, kinds, strict=True):
        case_id = text(row, "case_id" if row.get("case_id") else "baseline_case_id")
        case = ET.SubElement(suite, "testcase", classname=_xml(case_id), name=_xml(text(row, "metric")))
        if kind:
            message = f"{text(row, 'verdict')}: {text(row, 'reason')}"
            found = ET.SubElement(case, kind, message=_xml(message))
            if kind != "skipped":
                found.set("type", _xml(text(row, "verdict")))
        shown = "\n".join(f"{key}: {value}" for key, value in zip(HEAD, cells(row), strict=True))
        ET.SubElement(case, "system-out").text = _xml(shown)
    suites = ET.Element("testsuites", suite.attrib)
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _kind(row: Row) -> str | None:
    verdict = row["verdict"]
    if not row["in_family"] or verdict == "INCONCLUSIVE":
        return "skipped"
    return {"REGRESSION": "failure", "NOT_COMPARABLE": "error"}.get(verdict)


def _family(frame: pd.DataFrame) -> list[Row]:
    return [row for row in records_of(frame) if row["in_family"]]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _places(value: float) -> int:
    return 2 if abs(value) < 0.01 else 1


def _cell(value: str) -> str:
    """Return text that means nothing in GitHub's Markdown: no cell, no HTML, no link, nobody mentioned."""
    shown = printable(value, _LONGEST).replace("&", "&amp;").replace("<", "&lt;")
    for before, after in (("\\", "\\\\"), ("|", "\\|"), ("`", "\\`"), ("*", "\\*"), ("~~", "\\~\\~"), ("](", "]\\(")):
        shown = shown.replace(before, after)
    shown = _EDGE.sub(r"\_", shown)
    return shown.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "@<!-- -->")


def _xml(value: str) -> str:
    """Return text that XML 1.0 can hold; the rest, and what acts on a terminal, as escapes."""
    shown = "\n".join(printable(line, _LONGEST) for line in value.split("\n"))
    return _NO_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), shown)
