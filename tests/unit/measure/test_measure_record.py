"""A case over all its processes: which numbers it has, and which it must not have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchfw.errors import WorkerCrashed
from benchfw.measure.rows import case_row
from benchfw.measure.statistics import statistics
from benchfw.measure.tables import block_rows, iteration_columns
from benchfw.stats import across_builds, across_invocations, quantile_interval

HEADLINE = ("latency_p50_ns", "latency_p50_low_ns", "latency_p99_ns", "throughput_samples_s", "latency_mean_ns", "n")
LEVELS = (1000.0, 1050.0, 980.0)


def test_one_process_speaks_for_itself(members: Any) -> None:
    member = members.measured()
    record = members.record(member)
    assert record.p50 == quantile_interval(member.samples, 0.5)
    assert record.p99 == quantile_interval(member.samples, 0.99)
    assert record.variance is None


def test_several_processes_speak_of_the_next_one(members: Any) -> None:
    """The interval comes from the medians of the processes, not from their samples: these are much surer."""
    every = [members.measured([level] * 20, number=number) for number, level in enumerate(LEVELS)]
    record = members.record(*every)
    within = [quantile_interval(member.samples, 0.5) for member in every]
    interval, expected = record.p50, across_invocations(np.array([one.value for one in within]))
    assert (interval.value, interval.low, interval.high) == (expected.value, expected.low, expected.high)
    assert interval.effective_n == sum(one.effective_n for one in within)
    assert interval.relative_half_width > 3 * max(one.relative_half_width for one in within)
    rates = [member.throughput for member in every]
    assert record.throughput() == across_invocations(np.array(rates))
    row = statistics(record)
    assert (row["invocations"], row["blocks"], row["n"]) == (3, 60, 3 * 1900)
    assert row["latency_p50_ns"] == expected.value
    assert row["throughput_low_samples_s"] < min(rates) or row["throughput_high_samples_s"] > max(rates)
    assert row["latency_min_ns"] == min(member.samples.min() for member in every)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0.8, 1.25), min_size=2, max_size=5), st.integers(0, 1000))
def test_components_of_the_variance_tell_between_from_within(members: Any, ratios: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    every = []
    for number, ratio in enumerate(ratios):
        noisy = 10_000 * ratio * np.exp(0.002 * random.standard_normal(30))
        every.append(members.measured(noisy.tolist(), number=number, spread=0.0, n=6))
    record = members.record(*every)
    variance = record.variance
    assert variance is not None
    assert np.sqrt(variance.within) == pytest.approx(0.002, rel=0.5)
    assert np.sqrt(variance.between) == pytest.approx(np.log(ratios).std(ddof=1), abs=0.002)
    row = statistics(record)
    if row["verdict"] != "NO_STEADY_STATE":
        assert row["variation_within"] == np.sqrt(variance.within)
        assert row["variation_between"] == np.sqrt(variance.between)


def test_processes_of_the_same_build_speak_of_the_next_one_together(members: Any) -> None:
    """Two builds, twice each: the interval comes from two numbers, however many processes there are."""
    levels = (1000.0, 1100.0, 1002.0, 1102.0)
    every = [members.measured([level] * 20, number=number) for number, level in enumerate(levels)]
    for member in every:
        member.instance.made = replace(member.instance.made, build=member.number % 2)
    record = members.record(*every)
    within = [quantile_interval(member.samples, 0.5).value for member in every]
    expected = across_builds([np.array(within[0::2]), np.array(within[1::2])])
    interval = record.p50
    assert (interval.value, interval.low, interval.high) == (expected.value, expected.low, expected.high)
    rates = [member.throughput for member in every]
    assert record.throughput() == across_builds([np.array(rates[0::2]), np.array(rates[1::2])])
    row = statistics(record)
    assert (row["builds"], row["invocations"]) == (2, 4)
    assert row["variation_builds"] == pytest.approx(np.log(1.1) / np.sqrt(2.0), rel=0.05)
    assert row["variation_between"] < 0.1 * row["variation_builds"]
    for member in every:
        member.stopping.converged = True
    record.note_differences()
    (warning,) = (row["message"] for row in record.warnings if row["code"] == "W22")
    assert warning.startswith("the interval over 2 builds is ±") and "more `builds` make it narrower" in warning


def test_a_failure_in_a_later_process_is_that_of_the_case(tmp_path: Path, members: Any) -> None:
    first, second = members.measured(), members.measured(number=1)
    second.fail(WorkerCrashed("gone"))
    record = members.record(first, second)
    row = case_row(record, members.COMMON, tmp_path)
    assert (row["status"], row["status_reason"]) == ("CRASH", "gone")
    assert not any(row.get(column) for column in (*HEADLINE, "verdict"))
    assert len(block_rows(record)) == 2 * 22, "what was measured is there all the same"


def test_a_quantile_is_quoted_only_if_every_process_knows_it(members: Any) -> None:
    every = [members.measured(number=0), members.measured([1000.0] * 20, number=1, n=15)]  # 10 samples a block
    record = members.record(*every)
    assert [member.samples.size for member in every] == [1900, 200]
    assert record.p99 is None
    row = statistics(record)
    assert "latency_p99_ns" not in row
    assert row["latency_p50_ns"] is not None


def test_a_throughput_that_one_process_lacks_is_none(members: Any) -> None:
    every = [members.measured(number=0, depth=2), members.measured(number=1, depth=2)]
    every[0].blocks += [members.window(500_000, 1000, round_=round_) for round_ in range(0, 20, 2)]
    assert members.record(*every).throughput() is None
    assert members.record(every[0]).throughput() is not None


# --- the steady state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        (([1000.0] * 30, [1300.0] * 10 + [1000.0] * 40), "warmup"),
        (([800.0] * 10 + [1000.0] * 40, [1300.0] * 10 + [1000.0] * 40), "slowdown"),
        (([1000.0] * 30, [1000.0] * 30 + [1300.0] * 20), "no_steady"),
        (([1000.0] * 30, [1000.0] * 10), None),
        (([1000.0] * 10, [1000.0] * 30 + [1300.0] * 20), "no_steady"),
    ],
)
def test_the_class_is_that_of_the_worst_process(levels: Any, kind: str | None, members: Any) -> None:
    every = [members.measured(of_one, number=number) for number, of_one in enumerate(levels)]
    assert members.record(*every).steady_kind == kind


def test_without_a_steady_state_there_is_no_headline_but_raw_data(tmp_path: Path, members: Any) -> None:
    every = [members.measured(), members.measured([1000.0] * 30 + [1300.0] * 20, number=1)]
    record = members.record(*every)
    row = case_row(record, members.COMMON, tmp_path)
    assert (row["status"], row["verdict"], row["steady_state"]) == ("OK", "NO_STEADY_STATE", "no_steady")
    assert row["verdict_reason"].startswith("V07: from block 0 -2")
    assert not any(row.get(column) for column in HEADLINE)
    assert (row["blocks"], row["invocations"]) == (70, 2)
    assert len(iteration_columns([record])["phase"]) == 2 * 3 + 70 * 100


def test_statistics_are_those_of_the_steady_part(members: Any) -> None:
    record = members.record(members.measured([2000.0] * 10 + [1000.0] * 40))
    row = statistics(record)
    assert (row["verdict"], row["steady_state"]) == ("VALID", "warmup")
    assert row["latency_p50_ns"] == pytest.approx(1000, rel=0.02)
    assert row["latency_max_ns"] < 1500
    assert (row["blocks"], row["n"]) == (50, 40 * 95)
    assert row["throughput_samples_s"] == pytest.approx(4 / 1000e-9, rel=0.02)


@pytest.mark.parametrize(
    ("levels", "contended", "converged", "verdict"),
    [
        ([1000.0] * 20, None, True, "VALID"),
        ([1000.0] * 20, None, False, "NOT_CONVERGED"),
        ([1000.0] * 20, "another run", False, "CONTENDED"),
        ([1000.0] * 30 + [1300.0] * 20, "another run", False, "CONTENDED"),
        ([1300.0] * 8 + [1000.0] * 15, None, False, "NOT_CONVERGED"),
    ],
)
def test_the_verdict(levels: list[float], contended: str | None, converged: bool, verdict: str, members: Any) -> None:
    first, second = members.measured(), members.measured(levels, number=1)
    second.contended = contended
    second.stopping.converged = converged
    row = statistics(members.record(first, second))
    assert row["verdict"] == verdict
    assert (row["verdict_reason"] is None) == (verdict == "VALID")


def test_warnings_of_several_processes_are_told_once(members: Any) -> None:
    every = [members.member(number=number) for number in range(3)]
    for member in every:
        member.warn("R02", None, None, "outputs were not checked")
    every[2].warn("G2", 0.1, 0.02, "restless")
    assert [row["code"] for row in members.record(*every).warnings] == ["R02", "G2"]
