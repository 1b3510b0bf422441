"""Going on with a run: what of it is done, and whether this is still the same experiment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchfw.errors import UsageError
from benchfw.scenario import Plan
from benchfw.store.reader import intact_cohorts

_NOT_TRIED = frozenset({"OK", "SKIPPED", "UNSUPPORTED"})
_PASSING = frozenset({"machine.memory_bytes", "machine.container"})
"""What differs between two looks at one machine, or says nothing about speed."""
_MAY_COME = ("model_hash", "plugins.", "workers.")
_MOST_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Resume:
    """A run to go on with.

    Attributes:
        folder: Its folder.
        retry_failed: Measure the cohorts of failed cases again.
        force: Go on although something has changed; the rows say what.
    """

    folder: Path
    retry_failed: bool = False
    force: bool = False


def earlier_statuses(
    resume: Resume, plan: Plan, hashes: Mapping[str, str], tell: Callable[[str], None]
) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Return the statuses of the cases of each cohort that is done, and all cohorts whose results are to be kept.

    What of the run is damaged is told.

    A cohort is done if the journal says that it was finished, its files are intact, it has just the cases of the plan,
    and these have the same hashes. Cases of one cohort are compared with each other, so that they are measured again
    together or not at all.
    """
    intact, problems = intact_cohorts(resume.folder)
    for problem in problems:
        tell(problem)
    done, kept = {}, set()
    for cohort in plan.cohorts:
        entry = intact.get(cohort.cohort_id)
        if entry is None or entry.state != "finished":
            continue
        if {case_id: case["hash"] for case_id, case in entry.cases.items()} != {
            case.case_id: hashes[case.case_id] for case in cohort.cases
        }:
            continue
        kept.add(cohort.cohort_id)
        statuses = {case_id: str(case["status"]) for case_id, case in entry.cases.items()}
        failed = set(statuses.values()) - _NOT_TRIED
        if "INTERRUPTED" in failed or (failed and resume.retry_failed):
            continue
        done[cohort.cohort_id] = statuses
    return done, kept


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name every field that differs, with both values. A plugin or package that has come since is no difference, nor
    is a model that was broken."""
    old, new = dict(_flat(then)), dict(_flat(json.loads(json.dumps(now, default=str))))
    return [
        f"{key}: {old.get(key, _NOTHING)} then, {new.get(key, _NOTHING)} now"
        for key in dict.fromkeys((*old, *new))
        if key not in _PASSING
        and old.get(key, _NOTHING) != new.get(key, _NOTHING)
        and not (key.startswith(_MAY_COME) and old.get(key, _NOTHING) in (_NOTHING, "null"))
    ]


def refuse(run_id: str, changes: list[str]) -> UsageError:
    """Return the error that says what has changed."""
    lines = [f"  {change}" for change in changes[:_MOST_SHOWN]]
    if len(changes) > _MOST_SHOWN:
        lines.append(f"  and {len(changes) - _MOST_SHOWN} more")
    return UsageError(
        "\n".join([f"run {run_id} cannot go on as the same experiment:", *lines]),
        hint="start a new run; or --force measures what is left all the same, and its rows say what had changed",
    )


_NOTHING = "nothing"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf with its path, as JSON text."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{path}[{place}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False, sort_keys=True)
