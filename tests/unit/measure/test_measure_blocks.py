"""Blocks: how long they are, what they launch, and what of them re-warms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchfw.errors import ProtocolError
from benchfw.measure.blocks import KEEP_MIN, REWARM_MAX, REWARM_NS, rewarm_count, stamps
from benchfw.worker.loops import MAX_BLOCK
from benchfw.worker.protocol import Message

# Fixtures only make things here: what one example was given does not change the next one.
many = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- re-warm ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency_ms", "n", "rewarm"),
    [
        (0.01, 4000, 5),  # five iterations come before ten milliseconds
        (2.0, 100, 5),
        (2.5, 100, 4),  # the fourth ends with the tenth millisecond
        (3.0, 100, 4),  # the fourth began within them
        (6.0, 20, 2),
        (20.0, 5, 1),  # at least one
        (1000.0, 4, 1),
        (0.01, 7, 4),  # three are kept
        (0.01, 4, 1),
        (1000.0, 3, 0),
        (1000.0, 1, 0),
    ],
)
def test_rewarm_is_ten_milliseconds_or_five_iterations_and_leaves_three(latency_ms: float, n: int, rewarm: int) -> None:
    assert rewarm_count(np.arange(n) * round(latency_ms * 1e6) + 12345) == rewarm


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30_000_000), min_size=1, max_size=20))
def test_rewarm_of_any_block(latencies: list[int]) -> None:
    starts = np.cumsum([0, *latencies[:-1]])
    count = rewarm_count(starts)
    assert 0 <= count <= REWARM_MAX
    if len(latencies) > KEEP_MIN:
        assert count >= 1
        assert len(latencies) - count >= KEEP_MIN
        allowed = sum(1 for start in starts.tolist() if start < REWARM_NS)
        assert count == min(allowed, REWARM_MAX, len(latencies) - KEEP_MIN)
    else:
        assert count == 0


# --- stamps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts", "ends", "reason"),
    [
        ([0, 10], [5, 15], None),
        ([0, 5], [5, 5], None),
        ([0], [5], "not 2 in the order of time"),
        ([0, 10], [5], "not 2 in the order of time"),
        ([10, 0], [15, 5], "not 2 in the order of time"),
        ([0, 4], [5, 9], "not 2 in the order of time"),
        ([0.0, 10.0], [5.0, 15.0], "no stamps"),
    ],
)
def test_stamps_are_as_many_as_were_asked_for_and_in_order(
    starts: list[int], ends: list[int], reason: str | None
) -> None:
    answer = Message("ok", {}, {"starts": np.array(starts), "ends": np.array(ends)})
    if reason is None:
        assert [array.tolist() for array in stamps(answer, 2)] == [starts, ends]
    else:
        with pytest.raises(ProtocolError, match=reason):
            stamps(answer, 2)


# --- what a block launches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency_ns", "n"), [(1_000_000, 100), (10_000, MAX_BLOCK), (1, MAX_BLOCK), (5_000_000_000, KEEP_MIN + 1)]
)
def test_a_block_of_one_shape_lasts_a_tenth_of_a_second(latency_ns: int, n: int, members: Any) -> None:
    member = members.member()
    member.order.expect(0, latency_ns)
    block = member.measure(3, 1)
    assert len(block.starts) == block.n == n
    assert (block.round, block.position, block.phase, block.sizes) == (3, 1, "measure", None)
    assert block.rewarm >= 1
    assert block.changes["compilations"] == 1


@many
@given(st.integers(2, 16), st.lists(st.integers(4, 300), min_size=1, max_size=5))
def test_blocks_go_round_the_sets_without_a_gap(members: Any, sets: int, lengths: list[int]) -> None:
    """Over several blocks every set is launched as often as the others, to one."""
    member = members.member(sets=sets)
    order: list[int] = []
    for n in lengths:
        member.order.expect(0, 100_000_000 / n)
        member.measure(0, 0)
        asked = member.session.asked[-1][1]
        order += asked.get("slots", [asked.get("slot")] * asked.get("n", 0))
    assert order == [place % sets for place in range(len(order))]


@settings(many, max_examples=20)
@given(
    st.integers(1, 4),
    st.integers(4, 600) | st.just(4000),
    st.integers(1, 10**9),
    st.sampled_from(["permuted", "iid"]),
    st.sampled_from([1, 4]),
)
def test_a_block_of_a_sequence_is_whole_chunks_after_its_rewarm(
    members: Any, low: int, high: int, latency_ns: int, draw: str, sets: int
) -> None:
    member = members.member({**members.RANDOM, "range": [low, high], "draw": draw}, high, sets=sets)
    for place in range(len(member.sizes)):
        member.order.expect(place, latency_ns)
    sequence = member.case.sequence
    following = 0
    launched: list[int] = []
    for _ in range(3):
        block = member.measure(0, 0)
        assert len(block.sizes) <= MAX_BLOCK
        assert 1 <= block.rewarm <= REWARM_MAX
        counted = block.sizes[block.rewarm :].tolist()
        chunks = len(counted) // sequence.chunk_length
        expected = [size for index in range(chunks) for size in sequence.chunk(following + index)]
        assert chunks >= 1
        assert counted == expected
        asked = member.session.asked[-1][1]
        slots = asked.get("slots", [asked.get("slot")] * asked.get("n", 0))
        assert [member.slots.size_of(slot) for slot in slots] == block.sizes.tolist()
        launched += [member.slots.set_of(slot) for slot in slots[block.rewarm :]]
        following += chunks
    assert launched == [place % sets for place in range(len(launched))]
    assert len(member.evidence().latencies) == following


def test_the_sequence_begins_anew_when_the_measurement_does(members: Any) -> None:
    member = members.member(members.RANDOM)
    first = member.measure(-1, -1, "warmup")
    member.order.rewind()
    second = member.measure(0, 0)
    assert first.sizes.tolist() == second.sizes.tolist()


def test_slow_sequences_warm_up_for_one_iteration(members: Any) -> None:
    member = members.member(members.RANDOM)
    for place in range(4):
        member.order.expect(place, 20e6)
    assert member.measure(0, 0).rewarm == 1


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_a_window_lasts_as_long_as_a_block_however_deep_it_is(depth: int, members: Any) -> None:
    member = members.member(sets=4)
    order = member.order.window(depth)
    assert len(order) == 100 * depth
    assert set(order) == set(range(4))
    member.order.expect(0, 10e9)
    assert len(member.order.window(depth)) == 2 * depth, "each lane has two at least"
    member.order.expect(0, 1.0)
    assert len(member.order.window(depth)) == MAX_BLOCK


def test_the_deadline_of_a_block_grows_with_what_it_should_take(members: Any) -> None:
    member = members.member(sets=2)
    assert member.deadline([0, 1]) == member.settings.block_s
    member.order.expect(0, 10e9)
    assert member.deadline([0, 1, 0]) == pytest.approx(20 * 30)
