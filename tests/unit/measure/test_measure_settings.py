"""Efforts, their limits, and what one of several processes has to do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.measure.settings import EFFORTS, LIMITS, Settings, effort_of
from benchfw.scenario.schema import Measure


def _settings(effort: str = "quick", *, cpus: int = 1, **limits: Any) -> Settings:
    return Settings(effort=effort, budget_s=None, interleave="all", threads=1, seed=0, cpus=cpus, limits=limits)


def test_efforts_become_stricter() -> None:
    efforts = [EFFORTS[name] for name in ("quick", "standard", "report")]
    assert [effort.median_width for effort in efforts] == [0.01, 0.005, 0.0025]
    assert [effort.p99_width for effort in efforts] == [None, 0.02, 0.01]
    assert [effort.throughput_width for effort in efforts] == [0.01, 0.005, 0.0025]
    assert [effort.min_time for effort in efforts] == [1.0, 3.0, 30.0]
    assert [effort.max_time for effort in efforts] == [10.0, 60.0, 300.0]
    assert [effort.invocations for effort in efforts] == [1, 3, 5]
    assert {(effort.min_blocks, effort.min_effective, effort.min_tail) for effort in efforts} == {(20, 50.0, 20.0)}


@given(st.sampled_from(sorted(EFFORTS)), st.integers(1, 30))
def test_one_of_several_processes_does_its_part(name: str, invocations: int) -> None:
    """All of them together take the time of the effort, and the mean of K is sqrt(K) times as sure as each."""
    whole = effort_of(name, {"invocations": invocations})
    part = whole.of_one_invocation()
    assert part.min_time * invocations == pytest.approx(whole.min_time)
    assert part.max_time * invocations == pytest.approx(whole.max_time)
    assert part.max_iterations * invocations <= whole.max_iterations < (part.max_iterations + 1) * invocations
    assert part.median_width**2 == pytest.approx(whole.median_width**2 * invocations)
    assert part.throughput_width**2 == pytest.approx(whole.throughput_width**2 * invocations)
    assert (part.p99_width is None) == (whole.p99_width is None)
    assert part.p99_width is None or part.p99_width**2 == pytest.approx((whole.p99_width or 0) ** 2 * invocations)
    assert (part.min_blocks, part.min_effective, part.min_tail, part.settle_time) == (
        whole.min_blocks,
        whole.min_effective,
        whole.min_tail,
        whole.settle_time,
    )
    assert invocations > 1 or part == whole


def test_every_limit_is_a_key_of_measure_and_overrides_the_effort() -> None:
    assert set(LIMITS) <= set(Measure.model_fields)
    given_limits: dict[str, Any] = {
        "median_width": 0.1,
        "p99_width": 0.2,
        "throughput_width": 0.3,
        "min_time": 0.4,
        "max_time": 0.5,
        "settle_time": 0.6,
        "max_iterations": 7,
        "min_blocks": 8,
        "invocations": 9,
        "builds": 2,
        "depths": (1, 3),
    }
    assert set(given_limits) == set(LIMITS)
    for name in LIMITS:
        rule = _settings(**{name: given_limits[name]}).rule
        changed = {key for key in LIMITS if getattr(rule, key) != getattr(EFFORTS["quick"], key)}
        assert changed == ({name, "invocations"} if name == "builds" else {name}), "each build has its process"
        assert getattr(rule, name) == given_limits[name]
    nothing: dict[str, Any] = dict.fromkeys(LIMITS)
    assert _settings(**nothing).rule == EFFORTS["quick"], "a limit that is not given stays"


@pytest.mark.parametrize(
    ("effort", "cpus", "limits", "depths"),
    [
        ("quick", 16, {}, (1,)),
        ("standard", 1, {}, (1,)),
        ("standard", 2, {}, (1, 2)),
        ("standard", 6, {}, (1, 2, 4)),
        ("report", 64, {}, (1, 2, 4, 8)),
        ("quick", 1, {"depths": [1, 16]}, (1, 16)),
        ("standard", 8, {"depths": [3]}, (3,)),
    ],
)
def test_depths_are_as_many_as_there_are_cpus_unless_they_are_named(
    effort: str, cpus: int, limits: dict[str, Any], depths: tuple[int, ...]
) -> None:
    assert _settings(effort, cpus=cpus, **limits).depths == depths
