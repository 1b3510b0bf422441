"""A case while one process measures it: what of its blocks counts, and when it is steady."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchfw.errors import BuildFailed, OutOfMemory
from benchfw.measure.member import Failure
from benchfw.measure.record import throughput_interval


def test_only_measured_iterations_after_the_rewarm_count(members: Any) -> None:
    member = members.member()
    member.blocks += [
        members.block([900], phase="first"),
        members.block([800, 700], phase="warmup"),
        members.block([500, 10, 20, 30], rewarm=1),
        members.block([600, 40, 50, 60], rewarm=1),
    ]
    assert member.samples.tolist() == member.evidence().latencies.tolist() == [10, 20, 30, 40, 50, 60]
    assert member.count == 6
    assert len(member.measured) == 2
    assert member.measured_s == pytest.approx(210e-9)
    assert member.throughput == pytest.approx(6 * 4 / 210e-9)


def test_warming_up_between_rounds_is_not_its_warm_up(members: Any) -> None:
    member = members.member()
    member.blocks += [
        members.block([900], phase="first", round_=-1),
        members.block([800], phase="warmup", round_=-1),
        members.block([500, 10, 20, 30]),
        members.block([7000], phase="warmup", round_=-1),
    ]
    assert member.warmup_s == pytest.approx(1700e-9)


def test_without_blocks_there_is_nothing(members: Any) -> None:
    member = members.member()
    assert (member.count, member.measured_s, member.throughput, throughput_interval(member)) == (0, 0.0, None, None)
    assert (member.steady, member.steady_kind, member.steady_blocks) == (None, None, [])
    assert len(member.samples) == 0


def test_throughput_counts_the_samples_of_a_mixture(members: Any) -> None:
    member = members.member(members.RANDOM)
    member.blocks.append(members.block([99, 10, 20, 30, 40], rewarm=1, sizes=[4, 1, 2, 3, 4]))
    assert member.throughput == pytest.approx((1 + 2 + 3 + 4) / 100e-9)
    assert member.evidence().latencies.tolist() == [100], "a sequence is judged by the time of its chunks"


def test_the_interval_of_the_throughput_holds_it(members: Any) -> None:
    member = members.measured([1000.0] * 30, n=50)
    interval = throughput_interval(member)
    assert interval is not None and interval.value == member.throughput
    assert interval.low < interval.value < interval.high
    assert interval.high / interval.low < 1.05


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(100, 10_000), min_size=1, max_size=30), st.integers(1, 8))
def test_throughput_is_work_over_time_never_a_mean_of_rates(members: Any, lengths: list[int], depth: int) -> None:
    member = members.member(depth=depth)
    member.blocks.append(members.block([10] * 8, rewarm=1))
    if depth == 1:
        member.blocks = [members.block([length] * 4, rewarm=1) for length in lengths]
        work, wall = 3 * 4 * len(lengths), 3 * sum(lengths)
    else:
        member.blocks += [members.window(length, 5, depth=depth) for length in lengths]
        work, wall = 5 * 4 * len(lengths), sum(lengths)
    assert member.throughput == pytest.approx(work / wall * 1e9)
    assert member.evidence().windows.tolist() == [block.duration_ns / member.work(block) for block in member.windows]


def test_windows_give_the_throughput_and_blocks_the_latency(members: Any) -> None:
    member = members.measured([1000.0] * 20, depth=2)
    assert member.throughput is None and throughput_interval(member) is None
    samples = member.samples.copy()
    member.blocks += [members.window(500_000, 1000, round_=round_) for round_ in range(0, 20, 2)]
    member.blocks.append(members.window(1, 1000, round_=-1, phase="warmup"))
    assert member.throughput == pytest.approx(4 * 1000 / 500e-6)
    assert member.samples.tolist() == samples.tolist()
    assert member.measured_s == pytest.approx(sum(block.duration_ns for block in member.blocks[2:-1]) / 1e9)


# --- the steady part --------------------------------------------------------------------------------------------


def test_a_level_that_was_left_early_does_not_count(members: Any) -> None:
    member = members.measured([1300.0] * 10 + [1000.0] * 40, depth=2)
    member.blocks += [members.window(10, 1, round_=round_) for round_ in range(0, 50, 2)]
    assert (member.steady_kind, member.steady.start) == ("warmup", 10)
    assert len(member.steady_blocks) == 40
    assert [block.round for block in member.windows] == list(range(10, 50, 2))
    assert np.median(member.samples) == pytest.approx(1000, rel=0.02)
    evidence = member.evidence()
    assert (evidence.blocks, len(evidence.windows), len(evidence.latencies)) == (40, 20, 40 * 95)
    assert member.count == 50 * 95, "what was done counts for the limits, steady or not"


@pytest.mark.parametrize(
    ("levels", "kind", "steady"),
    [
        ([1000.0] * 19, None, None),
        ([1000.0] * 30, "flat", "flat"),
        ([800.0] * 10 + [1000.0] * 40, "slowdown", "slowdown"),
        ([1000.0] * 30 + [1300.0] * 20, "no_steady", "no_steady"),
        # most blocks are of the last level, but they are less than 20: more of them are wanted, nothing is wrong
        ([1300.0] * 8 + [1000.0] * 15, None, "no_steady"),
    ],
)
def test_the_class_of_a_case(levels: list[float], kind: str | None, steady: str | None, members: Any) -> None:
    member = members.measured(levels)
    assert member.steady_kind == kind
    assert (member.steady.kind if member.steady else None) == steady


def test_the_class_follows_the_blocks(members: Any) -> None:
    member = members.measured([1300.0] * 8 + [1000.0] * 15)
    before = len(member.steady_blocks)
    more = members.measured([1000.0] * 20, number=1)
    member.blocks += more.measured
    assert member.steady_kind == "warmup"
    assert len(member.steady_blocks) == before + 20


# --- failures ---------------------------------------------------------------------------------------------------


def test_the_first_failure_stays(members: Any) -> None:
    member = members.member()
    member.fail(OutOfMemory("too large", hint="a smaller batch"))
    member.fail(BuildFailed("later"))
    assert member.failure == Failure(status="OOM", status_reason="too large (a smaller batch)")
    assert not member.alive and not member.ready
