"""When a case has enough data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchfw.measure.settings import Effort
from benchfw.measure.stopping import LOOK_GROWTH, Evidence, Stopping, Target, targets
from benchfw.stats import Steady, steady_state

RULE = Effort(
    median_width=0.01, throughput_width=0.01, min_time=1.0, max_time=10.0, settle_time=0.0, max_iterations=100_000
)


def _samples(n: int, cv: float = 0.01, seed: int = 0) -> NDArray[np.int64]:
    return np.asarray(1e6 * (1 + cv * np.random.default_rng(seed).standard_normal(n)), np.int64)


def _evidence(
    latencies: NDArray[np.int64],
    windows: NDArray[np.float64] | None = None,
    *,
    blocks: int = 20,
    steady: Steady | None = None,
) -> Evidence:
    return Evidence(
        latencies=latencies,
        windows=np.array([100.0, 101.0, 99.5, 100.5] * 5) if windows is None else windows,
        blocks=blocks,
        steady=steady,
    )


def _of(n: int, **more: Any) -> Callable[[], Evidence]:
    return lambda: _evidence(_samples(n, **more))


def _median(rule: Effort = RULE, width: float | None = None) -> Stopping:
    return Stopping(rule, (Target("p50", rule.median_width if width is None else width, q=0.5),))


def _never() -> Evidence:
    raise AssertionError("the samples were looked at")


def test_stops_when_everything_holds() -> None:
    stopping = _median()
    stopping.look(1000, 20, 1.0, _of(1000))
    assert (stopping.done, stopping.converged, stopping.exhausted) == (True, True, False)
    assert stopping.widest is not None and 0 < stopping.widest <= 0.01


@pytest.mark.parametrize(("blocks", "measured_s"), [(19, 5.0), (20, 0.99), (0, 0.0)])
def test_does_not_even_look_before_the_minima(blocks: int, measured_s: float) -> None:
    stopping = _median()
    stopping.look(1000, blocks, measured_s, _never)
    assert not stopping.done
    assert stopping.widest is None


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (_samples(1000, cv=0.5), "interval of p50 is ±"),
        (_samples(5), "too few samples for an interval of p50"),
        (_samples(30, cv=1e-5), "independent samples, wanted 50"),
    ],
)
def test_goes_on_if_a_condition_does_not_hold_and_says_which(samples: NDArray[np.int64], reason: str) -> None:
    stopping = _median()
    stopping.look(len(samples), 20, 2.0, lambda: _evidence(samples))
    assert (stopping.done, stopping.converged) == (False, False)
    assert reason in stopping.why_not()


def test_the_tail_needs_samples_of_its_own() -> None:
    stopping = Stopping(RULE, (Target("p99", 0.05, q=0.99),))
    stopping.look(1000, 20, 2.0, _of(1000))
    assert not stopping.converged
    assert "independent samples beyond p99, wanted 20" in stopping.why_not()
    stopping.look(4000, 20, 2.0, _of(4000))
    assert stopping.converged


def test_all_targets_must_be_met() -> None:
    stopping = Stopping(RULE, (Target("p50", 0.01, q=0.5), Target("p99", 0.0001, q=0.99)))
    stopping.look(5000, 20, 2.0, _of(5000))
    assert not stopping.converged
    assert "p99" in stopping.why_not() and "p50" not in stopping.why_not()
    widths = [interval.relative_half_width for interval in stopping.intervals]
    assert stopping.widest == max(widths)


def test_the_mean_of_chunks_is_a_target() -> None:
    stopping = Stopping(RULE, targets(RULE, mixture=True))
    stopping.look(400, 20, 2.0, _of(400, cv=0.3))
    assert not stopping.converged
    assert "the mean time of a whole chunk of the sequence is ±" in stopping.why_not()
    stopping.look(4000, 20, 2.0, _of(4000, cv=0.1))
    assert stopping.converged


def test_looks_only_after_the_samples_have_grown() -> None:
    looks: list[int] = []
    stopping = _median(width=0.0)

    def seen(n: int) -> Callable[[], Evidence]:
        def evidence() -> Evidence:
            looks.append(n)
            return _evidence(_samples(n))

        return evidence

    for n in range(100, 5000, 10):
        stopping.look(n, 20, 2.0, seen(n))
    assert looks[0] == 100
    assert all(LOOK_GROWTH * before <= after < LOOK_GROWTH * before + 10 for before, after in pairwise(looks))


@pytest.mark.parametrize(("n", "measured_s"), [(1000, 10.0), (100_000, 0.5)])
def test_is_exhausted_by_time_or_iterations_and_looks_once_more(n: int, measured_s: float) -> None:
    stopping = _median(width=1e-9)
    stopping.look(900, 20, 2.0, _of(900))
    stopping.look(n, 20, measured_s, _of(1000, seed=1))
    assert (stopping.done, stopping.converged, stopping.exhausted) == (True, False, True)
    assert stopping.intervals[0].value == np.sort(_samples(1000, seed=1))[499]


def test_enough_iterations_stand_in_for_the_least_time() -> None:
    stopping = _median()
    stopping.look(100_000, 20, 0.1, _of(1000))
    assert (stopping.done, stopping.converged) == (True, True)


def test_too_few_blocks_never_converge() -> None:
    stopping = _median()
    stopping.look(1000, 19, 10.0, lambda: _evidence(_samples(1000), blocks=19))
    assert (stopping.done, stopping.converged) == (True, False)
    assert stopping.why_not() == "19 steady blocks, wanted 20"


def test_without_a_look_the_reason_is_the_time() -> None:
    assert _median().why_not() == "too few blocks in the time given"


def test_a_decision_stands() -> None:
    stopping = _median()
    stopping.look(1000, 20, 1.0, _of(1000))
    stopping.look(5000, 60, 11.0, _never)
    assert (stopping.done, stopping.converged, stopping.exhausted) == (True, True, True)


def test_what_was_measured_after_stopping_counts_too() -> None:
    stopping = _median()
    stopping.look(1000, 20, 1.0, _of(1000))
    stopping.conclude(_evidence(_samples(1500), blocks=30), 1.5)
    assert stopping.converged
    assert stopping.intervals[0].value == np.sort(_samples(1500))[749]
    stopping.conclude(_evidence(_samples(1500, cv=0.9), blocks=30), 1.5)
    assert not stopping.converged
    assert "interval of p50" in stopping.why_not()


@pytest.mark.parametrize(("blocks", "measured_s", "converged"), [(20, 1.0, True), (19, 1.0, False), (20, 0.9, False)])
def test_the_end_is_a_look_like_any_other(blocks: int, measured_s: float, converged: bool) -> None:
    """A case whose time is up may have got enough since the last look; the minima hold all the same."""
    stopping = _median()
    stopping.look(500, 10, 0.5, _never)
    stopping.conclude(_evidence(_samples(1000), blocks=blocks), measured_s)
    assert stopping.converged == converged


# --- several targets, and the steady part -----------------------------------------------------------------------


def test_the_targets_of_a_case() -> None:
    with_tail = replace(RULE, p99_width=0.02, throughput_width=0.03)
    named = {target.name: (target.width, target.q, target.throughput) for target in targets(with_tail, mixture=False)}
    assert named == {"p50": (0.01, 0.5, False), "p99": (0.02, 0.99, False), "the throughput": (0.03, None, True)}
    assert [target.name for target in targets(RULE, mixture=False)] == ["p50", "the throughput"]
    of_chunks, throughput = targets(with_tail, mixture=True)
    assert (of_chunks.q, of_chunks.throughput, of_chunks.width) == (None, False, 0.03)
    assert throughput.throughput
    for mixture in (False, True):
        without = targets(with_tail, mixture=mixture, throughput=False)
        assert without == targets(with_tail, mixture=mixture)[:-1]


def test_a_case_that_has_no_throughput_needs_no_windows() -> None:
    stopping = Stopping(RULE, targets(RULE, mixture=False, throughput=False))
    stopping.look(1000, 20, 2.0, lambda: _evidence(_samples(1000), np.empty(0)))
    assert stopping.converged


@pytest.mark.parametrize(
    ("n", "windows", "lacking"),
    [
        (5000, 0.001, []),
        (5000, 0.2, ["interval of the throughput is ±"]),
        (1000, 0.001, ["independent samples beyond p99, wanted 20"]),
        (1000, 0.2, ["independent samples beyond p99", "interval of the throughput is ±"]),
    ],
)
def test_p99_and_throughput_are_waited_for(n: int, windows: float, lacking: list[str]) -> None:
    rule = replace(RULE, p99_width=0.02)
    stopping = Stopping(rule, targets(rule, mixture=False))
    times = 100 * (1 + windows * np.random.default_rng(4).standard_normal(20))
    stopping.look(n, 20, 2.0, lambda: _evidence(_samples(n), times))
    assert stopping.done == stopping.converged == (not lacking)
    why = stopping.why_not()
    assert all(words in why for words in lacking)
    assert why.count(";") == max(0, len(lacking) - 1)


def test_without_windows_there_is_no_throughput_to_be_sure_of() -> None:
    stopping = Stopping(RULE, targets(RULE, mixture=False))
    stopping.look(1000, 20, 2.0, lambda: _evidence(_samples(1000), np.empty(0)))
    assert (stopping.converged, stopping.intervals, stopping.widest) == (False, [], None)
    stopping.conclude(_evidence(_samples(1000), np.array([100.0, 101.0])), 2.0)
    assert not stopping.converged
    assert stopping.why_not() == "too few samples for an interval of the throughput"


@pytest.mark.parametrize(
    ("early", "late", "reason"),
    [
        (8, 15, "15 steady blocks, wanted 20"),
        (30, 25, "no steady state was reached"),
        (30, 10, "10 steady blocks, wanted 20"),
        (10, 25, ""),
    ],
)
def test_only_the_steady_part_counts_and_it_must_be_long_enough(early: int, late: int, reason: str) -> None:
    noise = np.exp(0.001 * np.random.default_rng(3).standard_normal(early + late))
    steady = steady_state(1e6 * np.repeat([1.3, 1.0], [early, late]) * noise)
    assert steady is not None
    stopping = _median()
    stopping.look(1000, early + late, 2.0, lambda: _evidence(_samples(1000), blocks=late, steady=steady))
    assert stopping.converged == stopping.done == (not reason)
    assert stopping.why_not() == (reason or "too few blocks in the time given")


# --- the promise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_intervals_keep_their_promise_although_stopping_looks_at_them(rho: float) -> None:
    traces, longest, block = 300, 12_000, 50
    noise = np.random.default_rng(31).standard_normal((longest, traces))
    series = noise.copy()
    for i in range(1, longest):
        series[i] = rho * series[i - 1] + math.sqrt(1 - rho * rho) * noise[i]
    latencies = np.asarray(1e6 * np.exp(0.02 * series.T))
    rule = replace(RULE, median_width=0.002, min_time=0.0, max_time=math.inf, max_iterations=longest)
    covered, lengths = 0, []
    for trace in latencies:
        stopping = _median(rule)
        n = 250
        while not stopping.done:
            n += block
            stopping.look(n, rule.min_blocks, 1.0, lambda trace=trace, n=n: _evidence(np.asarray(trace[:n], np.int64)))  # type: ignore[misc]
        assert stopping.converged
        lengths.append(n)
        covered += stopping.intervals[0].low <= 1e6 <= stopping.intervals[0].high
    assert len(set(lengths)) > 3, "traces stop at their own time"
    assert covered / traces >= 0.92
