"""How the budget of a run is shared out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.measure.budget import Budget
from benchfw.measure.member import Member
from benchfw.measure.observer import Observer
from benchfw.measure.session import LiveSession
from benchfw.measure.settings import Settings
from benchfw.scenario import Case, Scenario, make_plan
from benchfw.spec.backend import BackendInfo

SETTINGS = Settings(effort="quick", budget_s=None, interleave="all", threads=1, seed=0)


def cases(*batches: int, random: bool = False) -> list[Case]:
    sweeps: list[dict[str, Any]] = [{"kind": "fixed", "batch": list(batches)}] if batches else []
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "model": {"ref": "null:net"},
            "shapes": {"batch": {"min": 1, "opt": 8, "max": 64}},
            "sweep": sweeps + ([{"kind": "random-batch"}] if random else []),
            "backend": [{"use": "fake"}],
        }
    )
    info = BackendInfo(name="fake", summary="", factory="x:Y", accepts=("*",), provider="p")
    return list(make_plan(scenario, backends={"fake": info}).cases)


def never(*_: object) -> Any:
    raise AssertionError("no worker is started here")


def learnt(budget: Budget, case: Case, latency_ms: float) -> None:
    session = LiveSession(case.session, SETTINGS, never, Path(), Path(), ())
    member = Member(case, session, SETTINGS, Observer(None, 0))
    member.order.expect(0, latency_ms * 1e6)
    budget.learn(member)


def test_without_a_budget_there_is_no_bound() -> None:
    assert Budget(None).share(cases(1), cases(2)) is None


def test_at_first_every_case_gets_the_same() -> None:
    assert Budget(30.0).share(cases(1), cases(8, 16)) == pytest.approx(10.0)


def test_slow_cases_get_what_their_blocks_cost() -> None:
    budget = Budget(90.0)
    learnt(budget, cases(1)[0], 100.0)  # 400 ms a block at batch 1, 800 ms at batch 2
    assert budget.share(cases(1), cases(2)) == pytest.approx(30.0)


def test_a_random_sequence_costs_its_whole_chunk() -> None:
    budget = Budget(100.0)
    learnt(budget, cases(1)[0], 100.0)
    (random,) = cases(random=True)  # 1 + 2 + … + 8 = 36 inferences of batch 1, against 4
    assert budget.share([random], cases(1)) == pytest.approx(90.0)


def test_what_is_left_over_goes_to_those_who_follow() -> None:
    budget = Budget(30.0)
    budget.spend(2.0)
    assert budget.share(cases(8), cases(16)) == pytest.approx(14.0)
    budget.spend(100.0)
    assert budget.share(cases(8), cases(16)) == 0.0


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True), st.floats(0.01, 1000))
def test_shares_add_up_to_the_budget(batches: list[int], latency_ms: float) -> None:
    budget = Budget(60.0)
    every = cases(*batches)
    learnt(budget, every[0], latency_ms)
    total = 0.0
    for place in range(len(every)):
        share = budget.share(every[place : place + 1], every[place + 1 :])
        assert share is not None
        budget.spend(share)
        total += share
    assert total == pytest.approx(60.0)
