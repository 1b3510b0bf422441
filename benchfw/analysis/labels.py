"""Which labels and facts must agree before two numbers are compared, and which may differ and are told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchfw.analysis.runs import Row, Run
from benchfw.store.files import printable

MUST_AGREE = (
    *("model_hash", "precision", "precision_effective", "provider_effective", "shape", "sequence_sha256", "seed"),
    *("device", "threads", "io_scope", "graph", "sync", "cache", "timer", "depth", "clocks"),
)
"""Labels of a case that say what was measured and how: unlike ones make two quantities."""

TOLD = (
    *("name", "backend", "backend_version", "provider", "environment", "python", "profile", "interleave", "effort"),
    *("artifact_steps", "input_sets", "throughput_depth", "throughput_lanes"),
)
"""Labels that may differ, being what is compared, or how precisely; the table tells which do."""

MACHINE_MUST_AGREE = ("system", "architecture", "cpu", "cpus", "affinity", "cpu_quota", "smt", "governor")
"""Facts of the machine that decide how fast it is; of `affinity`, how many CPUs."""

MACHINE_TOLD = ("kernel",)

_ENTRY = frozenset({"name", "backend", "backend_version", "provider", "provider_effective", "environment", "python"})
BY: dict[str, frozenset[str]] = {
    "name": _ENTRY,
    "backend": _ENTRY,
    "provider": frozenset({"name", "provider", "provider_effective"}),
    "environment": _ENTRY - {"backend"},
    "backend_version": _ENTRY - {"backend"},
    "python": _ENTRY - {"backend"},
    "precision": frozenset({"precision", "precision_effective"}),
    "profile": frozenset({"profile"}),
    "threads": frozenset({"name", "threads"}),
    "cache": frozenset({"name", "cache"}),
    "graph": frozenset({"name", "graph"}),
    "sync": frozenset({"name", "sync"}),
    "io_scope": frozenset({"name", "io_scope"}),
}
"""What cases of one run can be compared by, and the labels that may differ then."""

_FOLLOWS = ("provider_effective", "precision_effective")
"""Labels that say the same as those without the ending, but after a fallback."""
_LONGEST = 60


@dataclass(frozen=True)
class Difference:
    """A label that differs.

    Attributes:
        label: Its name.
        baseline, current: Its values, as text.
        refused: The two are not compared unless somebody insists.
    """

    label: str
    baseline: str
    current: str
    refused: bool

    def __str__(self) -> str:
        return f"{self.label} {self.baseline} → {self.current}"


def label_differences(baseline: Row, current: Row, may_differ: frozenset[str] = frozenset()) -> list[Difference]:
    """Return the labels in which two rows of `cases` differ, those that forbid a comparison first."""
    found = [
        *_differing(MUST_AGREE, baseline, current, refused=True, may_differ=may_differ),
        *_differing(TOLD, baseline, current, refused=False),
        *_step_differences(baseline, current),
        *_tolerance_differences(baseline, current),
        *_differing([label for label in MUST_AGREE if label in may_differ], baseline, current, refused=False),
    ]
    labels = {item.label for item in found}
    fallen = {label for label in _FOLLOWS if any(_fell_back(row, label) for row in (baseline, current))}
    return [
        item
        for item in found
        if not _any_profile(item) and (item.label in fallen or not _said_already(item.label, labels))
    ]


def run_differences(baseline: Run, current: Run) -> list[Difference]:
    """Return the facts of machine, inputs and software in which two runs differ; none for one and the same."""
    if baseline is current:
        return []
    machines = [_facts(run.manifest.get("machine")) for run in (baseline, current)]
    inputs = [{"samples_sha256": run.manifest.get("samples_sha256"), **_inputs(run)} for run in (baseline, current)]
    software = [_software(run.manifest.get("software")) for run in (baseline, current)]
    shared = [name for name in inputs[0] if name in inputs[1]]
    return [
        *_differing(MACHINE_MUST_AGREE, *machines, refused=True),
        *_differing(shared, *inputs, refused=True),
        *_differing(MACHINE_TOLD, *machines, refused=False),
        *_differing(list(software[0] | software[1]), *software, refused=False),
    ]


def _differing(
    labels: Any, baseline: Row, current: Row, *, refused: bool, may_differ: frozenset[str] = frozenset()
) -> list[Difference]:
    found = []
    for label in labels:
        values = [_value(row, label) for row in (baseline, current)]
        if values[0] != values[1] and label not in may_differ:
            found.append(Difference(label, _shown(values[0]), _shown(values[1]), refused))
    return found


def _step_differences(baseline: Row, current: Row) -> list[Difference]:
    """Return the options in which steps differ that both artifacts were made by, as `OnnxFromTorch.opset`."""
    then, now = _tables(baseline, "step_options"), _tables(current, "step_options")
    found = []
    for step in then.keys() & now.keys():
        options = [{f"{step}.{name}": value for name, value in each[step].items()} for each in (then, now)]
        found += _differing([*(options[0] | options[1])], *options, refused=False)
    return sorted((replace(item, label=printable(item.label, _LONGEST)) for item in found), key=lambda item: item.label)


def _tolerance_differences(baseline: Row, current: Row) -> list[Difference]:
    """Return what outputs of one precision might differ by in one row and not in the other, as `tolerance.rel_l2`."""
    if baseline.get("precision") != current.get("precision"):
        return []  # each has its own
    values = [_json(row, "tolerance") for row in (baseline, current)]
    outputs = [_tables(value, "outputs") for value in values]
    found = []
    for name in ("", *sorted(outputs[0].keys() | outputs[1].keys())):
        at = f"tolerance.{name}." if name else "tolerance."
        told = [each.get(name, value) for each, value in zip(outputs, values, strict=True)]
        limits = [{at + key: item for key, item in each.items() if key != "outputs"} for each in told]
        if all(limits):
            found += _differing(sorted(limits[0] | limits[1]), *limits, refused=False)
    return [replace(item, label=printable(item.label, _LONGEST)) for item in found]


def _tables(row: Row, label: str) -> dict[str, dict[str, Any]]:
    """Return the tables of a JSON column by their names, as the options of steps; none for a row without it."""
    return {name: each for name, each in _json(row, label).items() if isinstance(each, dict)}


def _json(row: Row, label: str) -> dict[str, Any]:
    value = row.get(label)
    if isinstance(value, dict):
        return value
    try:
        found = json.loads(value or "{}")
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _value(row: Row, label: str) -> Any:
    value = row.get(label)
    if value is None and label == "precision_effective":  # a backend that says nothing else does what was asked for
        return row.get("precision")
    return value


def _fell_back(row: Row, label: str) -> bool:
    """Say whether what is in effect is not what was asked for, which `allow_fallback` lets count."""
    asked, effective = row.get(label.removesuffix("_effective")), row.get(label)
    return None not in (asked, effective) and asked != effective


def _any_profile(difference: Difference) -> bool:
    return difference.label == "profile" and "any" in (difference.baseline, difference.current)


def _said_already(label: str, labels: set[str]) -> bool:
    """Say whether another label tells the same: what is in effect follows what was asked for."""
    return label.endswith("_effective") and label.removesuffix("_effective") in labels


def _facts(machine: Any) -> dict[str, Any]:
    facts = dict(machine) if isinstance(machine, Mapping) else {}
    affinity = facts.get("affinity")
    return facts | {"affinity": f"{len(affinity)} CPUs" if isinstance(affinity, list) else None}


def _inputs(run: Run) -> dict[str, Any]:
    hashes = run.manifest.get("inputs")
    return {f"inputs of {name}": value for name, value in hashes.items()} if isinstance(hashes, Mapping) else {}


def _software(software: Any) -> dict[str, Any]:
    """Return the versions of benchfw itself; those of frameworks are labels of cases."""
    known = software if isinstance(software, Mapping) else {}
    return {"benchfw": known.get("benchfw"), "commit": known.get("commit")}


def _shown(value: Any) -> str:
    return "unknown" if value is None else printable(str(value), _LONGEST)
