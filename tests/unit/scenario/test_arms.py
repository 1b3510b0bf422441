"""Two scenarios as the arms of one comparison."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.errors import UsageError
from benchfw.scenario import Loaded, Plan, Scenario, make_plan
from benchfw.scenario.arms import merge, only
from benchfw.spec.backend import BackendInfo, Capabilities

INFOS = {
    name: BackendInfo(
        name=name,
        summary="",
        factory="x:Y",
        accepts=("*",),
        capabilities=Capabilities(precisions=("fp32", "fp16"), specializes=specializes),
    )
    for name, specializes in (("any", False), ("special", True))
}


def scenario(*backends: dict[str, Any], batch: tuple[int, ...] = (2,), **more: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "s",
            "model": {"ref": "null:net"},
            "shapes": {"batch": {"min": 1, "opt": 4, "max": 8}},
            "sweep": [{"kind": "fixed", "batch": list(batch)}],
            "backend": list(backends) or [{"use": "any"}],
            **more,
        }
    )


def plan(*backends: dict[str, Any], **more: Any) -> Plan:
    return make_plan(scenario(*backends, **more), backends=INFOS)


def named(*names: str, use: str = "any") -> list[dict[str, Any]]:
    return [{"use": use, "name": name} for name in names]


def test_a_plan_of_two_arms_holds_the_baseline_twice() -> None:
    merged, pairs = merge(plan(batch=(2, 4)), plan(batch=(2, 4)))
    assert [cohort.cohort_id for cohort in merged.cohorts] == ["batch2", "batch4"]
    for cohort, pair in zip(merged.cohorts, pairs, strict=True):
        tail = f"net/any/fp32/any/{cohort.cohort_id}"
        assert [case.case_id for case in cohort.cases] == [f"a/{tail}", f"control/{tail}", f"b/{tail}"]
        assert (pair.cohort_id, pair.baseline, pair.control, pair.candidate) == (
            cohort.cohort_id,
            f"a/{tail}",
            f"control/{tail}",
            f"b/{tail}",
        )
    assert {(session.session_id, session.arm) for session in merged.sessions.values()} == {
        ("a-any-fp32", "a"),
        ("control-any-fp32", "control"),
        ("b-any-fp32", "b"),
    }


def test_the_control_is_the_baseline_and_not_the_candidate() -> None:
    merged, _ = merge(plan(*named("x"), threads=1), plan(*named("x", use="special"), threads=2))
    uses = {case.session.arm: case.session.entry.use for case in merged.cases}
    assert uses == {"a": "any", "control": "any", "b": "special"}


def test_single_backends_are_compared_whatever_they_are_called() -> None:
    _, (pair,) = merge(plan(*named("old")), plan(*named("new", use="special")))
    assert (pair.baseline, pair.candidate) == ("a/net/old/fp32/any/batch2", "b/net/new/fp32/static/batch2")


def test_of_several_backends_those_of_one_name_are_compared() -> None:
    _, pairs = merge(plan(*named("x", "y")), plan(*named("y", "x")))
    assert [(pair.baseline, pair.candidate) for pair in pairs] == [
        (f"a/net/{name}/fp32/any/batch2", f"b/net/{name}/fp32/any/batch2") for name in "xy"
    ]


def test_precisions_are_compared_with_themselves() -> None:
    both = {"use": "any", "precision": ["fp32", "fp16"]}
    _, pairs = merge(plan(both), plan(both))
    assert [(pair.baseline, pair.candidate) for pair in pairs] == [
        (f"a/net/any/{precision}/any/batch2", f"b/net/any/{precision}/any/batch2") for precision in ("fp32", "fp16")
    ]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="only one of the arms has the shapes batch4, batch8") as error:
        merge(plan(batch=(2, 4)), plan(batch=(2, 8)))
    assert "same sweeps" in str(error.value.hint)


@pytest.mark.parametrize(
    ("ours", "theirs", "alone"),
    [
        (named("x", "y"), named("x", "z"), r"y-fp32 \(any\), z-fp32 \(any\)"),
        (named("x", "y"), named("x"), r"y-fp32 \(any\)"),
        (named("x"), named("x", "y"), r"y-fp32 \(any\)"),
        (named("x", "y"), [*named("x"), *named("y", use="special")], r"y-fp32 \(any\), y-fp32 \(static\)"),
    ],
)
def test_backends_without_a_partner_are_refused(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], alone: str
) -> None:
    with pytest.raises(UsageError, match=f"only one of the arms has {alone}") as error:
        merge(plan(*ours), plan(*theirs))
    assert "--a backend=NAME" in str(error.value.hint)


BACKENDS = st.lists(st.sampled_from("pqrs"), min_size=1, max_size=4, unique=True)
SIZES = st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(BACKENDS, BACKENDS, SIZES, SIZES)
def test_each_case_has_one_partner_and_one_control_or_the_arms_are_refused(
    ours: list[str], theirs: list[str], batch: list[int], other: list[int]
) -> None:
    a, b = plan(*named(*ours), batch=tuple(batch)), plan(*named(*theirs), batch=tuple(other))
    fits = set(batch) == set(other) and (set(ours) == set(theirs) or len(ours) == len(theirs) == 1)
    if not fits:
        with pytest.raises(UsageError, match="only one of the arms has"):
            merge(a, b)
        return
    merged, pairs = merge(a, b)
    cases = {case.case_id: case for case in merged.cases}
    assert len(cases) == len(merged.cases) == 3 * len(pairs) == 3 * len(a.cases)
    assert Counter(case.session.arm for case in merged.cases) == dict.fromkeys(("a", "control", "b"), len(pairs))
    assert len(merged.sessions) == 3 * len(ours), "no two arms share a process"
    for pair in pairs:
        members = [cases[name] for name in (pair.baseline, pair.control, pair.candidate)]
        assert [case.session.arm for case in members] == ["a", "control", "b"]
        assert {case.cohort_id for case in members} == {pair.cohort_id}
        assert members[0].session.entry == members[1].session.entry
        assert len({str(case.sizes) for case in members}) == 1


# --- some of the backends ---------------------------------------------------------------------------------------


def loaded(reference: str | None = "x") -> Loaded:
    made = scenario(*named("x", "y", "z"), accuracy={"reference": reference} if reference else {})
    return Loaded(scenario=made, document={}, root=Path("."), source="s.toml")


def labels(found: Loaded) -> list[str]:
    return [entry.label for entry in found.scenario.backend]


def test_no_names_keep_all() -> None:
    whole = loaded()
    assert only(whole, frozenset()) is whole


def test_some_backends_are_kept_in_the_order_of_the_file() -> None:
    whole = loaded()
    assert labels(only(whole, frozenset({"z", "x"}))) == ["x", "z"]
    assert labels(whole) == ["x", "y", "z"]


def test_a_reference_that_goes_leaves_the_choice_to_the_rest() -> None:
    """Otherwise an arm would have outputs compared with a backend that is not there."""
    kept, without = only(loaded(), frozenset({"x", "y"})), only(loaded(), frozenset({"y"}))
    assert kept.scenario.accuracy.reference == "x"
    assert without.scenario.accuracy.reference is None
    assert without.scenario.reference == "y"


def test_what_outputs_may_be_stays_when_the_reference_goes() -> None:
    given = {"reference": "x", "may_repeat": True, "tolerance": {"fp32": {"rel_l2": 0.1}}}
    whole = Loaded(scenario=scenario(*named("x", "y"), accuracy=given), document={}, root=Path("."), source="s.toml")
    kept = only(whole, frozenset({"y"})).scenario.accuracy
    assert (kept.reference, kept.may_repeat) == (None, True)
    assert kept.tolerance == whole.scenario.accuracy.tolerance
