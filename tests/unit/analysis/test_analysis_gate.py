"""Verdicts: thresholds, families, exit codes, and how often the gate cries wolf."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import benchfw
from benchfw.analysis.gate import COLUMNS, exit_code, invocations_needed
from benchfw.analysis.runs import Row, records_of
from benchfw.analysis.thresholds import parse_duration_ns, parse_fail_on
from benchfw.errors import UsageError
from benchfw.stats import shift_effect
from tests.unit.analysis.synthetic import Synthetic

LIMITS = {"p50": 0.03}


def run(seed: int, *factors: float, **more: Any) -> Synthetic:
    made = Synthetic(seed, **more)
    for place, factor in enumerate(factors):
        made.case(f"b{place}", factor)
    return made


def verdicts(*factors: float, limits: dict[str, float] | None = None, **more: Any) -> list[str]:
    frame = benchfw.gate(
        run(2, *factors).frames("b"), run(1, *[1.0] * len(factors)).frames("a"), fail_on=limits or LIMITS, **more
    )
    return list(frame["verdict"])


def test_verdicts_are_those_of_the_interval_and_the_limit() -> None:
    assert verdicts(1.0, 1.2, 0.8, 1.03) == ["PASS", "REGRESSION", "IMPROVED", "INCONCLUSIVE"]


def test_less_throughput_is_a_regression() -> None:
    assert verdicts(1.2, 0.8, limits={"throughput": 0.05}) == ["REGRESSION", "IMPROVED"]
    frame = benchfw.gate(run(2, 1.25).frames("b"), run(1, 1.0).frames("a"), fail_on={"throughput": 0.05})
    assert frame["limit"][0] == pytest.approx(-0.05)
    assert frame["change_low"][0] < -0.2 < frame["change_high"][0] < -0.15


def test_a_small_absolute_change_does_not_fail() -> None:
    assert verdicts(1.2, min_delta_ns=300_000) == ["PASS"]  # of 1 ms
    frame = benchfw.gate(
        run(2, 1.2).frames("b"), run(1, 1.0).frames("a"), fail_on={"p50": 0.03, "throughput": 0.03}, min_delta_ns=3e5
    )
    assert list(frame["limit_from"]) == ["min-delta", "fail-on"]


def test_what_is_missing_or_failed_stays_in_the_family() -> None:
    baseline = run(1, 1.0, 1.0, 1.0)
    baseline.fail("crashed", "CRASH")
    baseline.fail("skipped", "SKIPPED")
    current = run(2, 1.0, 1.0)
    current.fail("b2", "OOM")
    current.case("new", 1.0)
    frame = benchfw.gate(current.frames("b"), baseline.frames("a"), fail_on=LIMITS).set_index("name")
    assert list(frame.columns) == [column for column in COLUMNS if column != "name"]
    assert dict(frame["verdict"]) == {
        **dict.fromkeys(("b0", "b1"), "PASS"),
        **dict.fromkeys(("b2", "crashed", "skipped", "new"), "NOT_COMPARABLE"),
    }
    assert dict(frame["in_family"]) == {
        "b0": True,
        "b1": True,
        "b2": True,
        "crashed": True,
        "skipped": False,
        "new": False,
    }
    assert frame.loc["new", "reason"] == "new: the baseline a has no such case"
    assert frame["confidence"].dropna().min() == pytest.approx(1 - 0.05 / 4)
    assert exit_code(frame.reset_index()) == 4


def test_a_family_too_large_for_its_invocations_is_inconclusive_and_says_how_many_it_takes() -> None:
    frame = benchfw.gate(run(2, *[2.0] * 7).frames("b"), run(1, *[1.0] * 7).frames("a"), fail_on=LIMITS)
    assert set(frame["verdict"]) == {"INCONCLUSIVE"}
    assert frame["reason"].str.contains("too few for a family of 7: 6 of each run decide it").all()
    six = run(2, *[2.0] * 7, invocations=6), run(1, *[1.0] * 7, invocations=6)
    assert set(benchfw.gate(six[0].frames("b"), six[1].frames("a"), fail_on=LIMITS)["verdict"]) == {"REGRESSION"}


@pytest.mark.parametrize(("family", "count"), [(1, 5), (6, 5), (7, 6), (23, 6), (24, 7), (85, 7), (86, 8), (321, 8)])
def test_the_invocations_of_the_guide_are_enough_and_one_less_is_not(family: int, count: int) -> None:
    assert invocations_needed(family) == count
    for size, enough in ((count, True), (count - 1, False)):
        arm = np.exp(np.linspace(0, 0.01, size))
        assert shift_effect(arm, 2 * arm, 1 - 0.05 / family).finite == enough or size < 5


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["PASS", "IMPROVED"], 0),
        (["PASS", "REGRESSION", "INCONCLUSIVE"], 1),
        (["PASS", "INCONCLUSIVE"], 4),
        (["NOT_COMPARABLE"], 4),
    ],
)
def test_a_regression_wins_over_what_is_undecided(verdicts: list[str], code: int) -> None:
    frame = pd.DataFrame({"verdict": [*verdicts, "NOT_COMPARABLE"], "in_family": [True] * len(verdicts) + [False]})
    assert exit_code(frame) == code


def test_arms_of_one_run_are_gated_by_their_rounds_against_their_noise() -> None:
    made = arms(1.08)
    frame = benchfw.gate(made.frames(), fail_on={"p50": 0.03, "p99": 0.03})
    assert list(frame["verdict"]) == ["REGRESSION", "REGRESSION"]
    assert set(frame["level"]) == {"round"}
    assert (frame["noise_floor"] < 0.03).all()
    noisy = benchfw.gate(arms(1.08, control=1.1).frames(), fail_on={"p50": 0.03})
    assert list(noisy["verdict"]) == ["INCONCLUSIVE"]  # noise is no reason to pass
    assert noisy["reason"].str.contains("may be noise").all()
    assert list(noisy["limit_from"]) == ["noise floor"]
    assert noisy["limit"][0] > 0.09


def test_arms_that_did_not_take_turns_are_undecided() -> None:
    """However many invocations there are: whatever the machine did between the arms is in them."""
    made = arms(1.08, invocations=6)
    for row in made.tables["cases"]:
        row |= {"interleave": "session", "session_id": f"{row['arm']}-ort-fp32"}
    frame = benchfw.gate(made.frames(), fail_on=LIMITS)
    assert list(frame["verdict"]) == ["INCONCLUSIVE"]
    assert frame["reason"].str.startswith("the arms did not take turns: ").all()


def test_an_arm_that_failed_is_in_the_family() -> None:
    made = arms(1.0)
    made.tables["cases"][1] |= {"status": "CRASH", "status_reason": "signal 11"}
    frame = benchfw.gate(made.frames(), fail_on=LIMITS)
    assert list(frame["verdict"]) == ["NOT_COMPARABLE"]
    assert list(frame["reason"]) == ["the case is CRASH: signal 11"]


def arms(slower: float, control: float = 1.0, *, invocations: int = 1) -> Synthetic:
    made = Synthetic(5, invocations=invocations, rounds=40, between=0.0)
    a, b, again = (
        made.case("ort", factor, arm=arm, iterations=60)
        for arm, factor in (("a", 1.0), ("b", slower), ("control", control))
    )
    made.tables["comparisons"] = [
        {"case_id": b, "baseline": a, "metric": "p50", "role": "effect"},
        {"case_id": again, "baseline": a, "metric": "p50", "role": "control"},
    ]
    return made


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "has no arms to compare"),
        ({"baseline": run(1, 1.0).frames("b")}, "its own baseline"),
        ({"fail_on": {}}, "nothing to fail on"),
        ({"fail_on": {"p51": 0.1}}, "there is no metric 'p51'"),
        ({"fail_on": {"throughput": 1.0}}, "no limit for throughput"),
        ({"fail_on": {"p50": math.nan}}, "no limit for p50"),
        ({"min_delta_ns": -1.0}, "is no time"),
    ],
)
def test_what_cannot_be_gated_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        benchfw.gate(run(1, 1.0).frames("b"), **{"fail_on": LIMITS} | more)
    assert error.value.hint


def test_equal_runs_are_rarely_called_different() -> None:
    """Without any margin, at most 5 % of families have a false verdict; here 200 pairs of runs with five processes."""
    wrong = 0
    for seed in range(200):
        pair = [
            {name: frames[name] for name in ("cases", "invocations")}
            for frames in (run(2 * seed + side, *[1.0] * 4, rounds=1).frames(str(side)) for side in (0, 1))
        ]
        frame = benchfw.gate(*pair, fail_on={"p50": 0.0})
        wrong += bool(set(frame["verdict"]) & {"REGRESSION", "IMPROVED"})
    assert wrong <= 10


@given(
    st.dictionaries(
        st.sampled_from(["p50", "p99", "throughput"]), st.integers(0, 9999).map(lambda n: n / 100), min_size=1
    ),
    st.sampled_from(["", " "]),
)
def test_limits_read_back(limits: dict[str, float], blank: str) -> None:
    text = f",{blank}".join(f"{name}:{percent}%" for name, percent in limits.items())
    assert parse_fail_on(text) == pytest.approx({name: percent / 100 for name, percent in limits.items()})


@given(st.text(max_size=20))
def test_any_text_is_a_limit_or_refused(text: str) -> None:
    for parse in (parse_fail_on, parse_duration_ns):  # nothing else is raised
        try:
            parse(text)
        except UsageError:
            continue


@pytest.mark.parametrize(
    ("text", "value"), [("20us", 2e4), ("1.5ms", 1.5e6), ("3 ns", 3), ("0s", 0), ("7µs", 7e3), (" .5s ", 5e8)]
)
def test_times_are_read_with_their_units(text: str, value: float) -> None:
    assert parse_duration_ns(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["p50", "p50:3", "p50:-3%", "p50:3%,", "p50:3%,p50:4%", "p50:nan%", "throughput:100%", ""]
)
def test_limits_that_read_otherwise_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fail_on(text)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from([1.0, 1.2]), min_size=1, max_size=6), st.integers(0, 3))
def test_a_larger_family_never_makes_an_interval_narrower(factors: list[float], more: int) -> None:
    small = _gated(factors)
    large = _gated([*factors, *[1.0] * more])[: len(factors)]
    for before, after in zip(small, large, strict=True):
        assert after["confidence"] >= before["confidence"] - 1e-12
        assert after["p_adjusted"] >= before["p_adjusted"] - 1e-12
        assert not (after["verdict"] == "REGRESSION" != before["verdict"])


def _gated(factors: list[float]) -> list[Row]:
    """Gate cases of which the k-th has the same data however many there are."""
    runs = []
    for side in (0, 1):
        rows: dict[str, list[Any]] = {"cases": [], "invocations": []}
        for place, factor in enumerate(factors):
            one = Synthetic(100 * side + place, rounds=1)
            one.case(f"b{place}", factor if side else 1.0)
            for name, found in rows.items():
                found += one.tables[name]
        runs.append({name: pd.DataFrame(found).assign(run_id=str(side)) for name, found in rows.items()})
    return records_of(benchfw.gate(runs[1], runs[0], fail_on=LIMITS))
