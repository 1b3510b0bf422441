"""Steady states of short and odd series; shares of right classes are in test_stats_proof."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.stats import steady_state
from benchfw.testing.traces import courses


def test_segments_of_a_warm_up() -> None:
    medians = np.concatenate([np.full(30, 1.2e6), np.full(70, 1e6)])
    steady = steady_state(medians)
    assert steady is not None and (steady.kind, steady.start) == ("warmup", 30)
    assert [(segment.start, segment.stop, segment.level) for segment in steady.segments] == [
        (0, 30, 1.2e6),
        (30, 100, 1e6),
    ]


def test_levels_within_one_percent_of_the_last_are_one() -> None:
    levels = np.repeat([1.03e6, 1.006e6, 0.998e6, 1e6], 25)
    steady = steady_state(levels)
    assert steady is not None and (steady.kind, steady.start) == ("warmup", 25)


def test_slower_than_any_earlier_level_is_a_slowdown_even_after_a_slow_start() -> None:
    steady = steady_state(np.repeat([2e6, 1e6, 1.1e6, 1.1e6], 20))
    assert steady is not None and (steady.kind, steady.start) == ("slowdown", 40)


def test_a_steady_part_of_too_few_blocks_is_none() -> None:
    medians = np.repeat([1.2e6, 1e6], [10, 15])
    steady = steady_state(medians)
    assert steady is not None and steady.kind == "no_steady"
    steady = steady_state(medians, min_blocks=15)
    assert steady is not None and steady.kind == "warmup"


def test_nothing_is_said_of_few_blocks() -> None:
    assert steady_state(np.full(19, 1e6)) is None
    assert steady_state(np.full(20, 1e6)) is not None
    assert steady_state(np.empty(0)) is None
    assert steady_state(np.full(3, 1e6), min_blocks=2) is None


def test_equal_medians_are_flat() -> None:
    steady = steady_state(np.full(100, 5e6))
    assert steady is not None and steady.kind == "flat" and len(steady.segments) == 1


def test_steps_of_the_clock_are_no_levels() -> None:
    """Medians of a backend that does nothing: 70 or 71 ns for long stretches, which is 1.4 %."""
    random = np.random.default_rng(1)
    steps = np.repeat(random.integers(0, 2, 60), random.integers(1, 15, 60))
    steady = steady_state(70.0 + steps.astype(np.float64))
    assert steady is not None and steady.kind == "flat"


def test_one_disturbed_block_is_no_level() -> None:
    (medians,) = courses("flat", 0.0, 1)
    medians[40] *= 1.1
    steady = steady_state(medians)
    assert steady is not None and steady.kind == "flat"


@pytest.mark.parametrize("blocks", [3000, 10_001])
def test_long_runs_are_quick_and_keep_their_indices(blocks: int) -> None:
    medians = courses("3 % faster after 15 of 100 blocks", 0.0, 1, blocks=blocks)[0]
    begin = time.process_time()
    steady = steady_state(medians)
    assert time.process_time() - begin < 1.0  # about 0.02 s
    assert steady is not None and steady.kind == "warmup"
    assert steady.start == pytest.approx(0.15 * blocks, abs=0.01 * blocks)
    assert steady.segments[-1].stop == blocks


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.floats(1.0, 1e12), min_size=0, max_size=120), st.integers(1, 30))
def test_any_series_has_a_class_or_none(medians: list[float], min_blocks: int) -> None:
    steady = steady_state(np.array(medians), min_blocks=min_blocks)
    if steady is None:
        assert len(medians) < max(min_blocks, 8)
        return
    bounds = [segment.start for segment in steady.segments] + [steady.segments[-1].stop]
    assert bounds[0] == 0 and bounds[-1] == len(medians) and bounds == sorted(set(bounds))
    assert steady.start == bounds[-2]
    assert all(segment.level > 0 for segment in steady.segments)
    assert (steady.kind == "flat") == (steady.start == 0 and len(medians) >= min_blocks)
