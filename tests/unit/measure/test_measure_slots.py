"""Slots, and over how many sets of inputs a case rotates."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.measure.slots import MAX_BYTES, MAX_SETS, MIN_SETS, Slots, last_level_cache_bytes, sets_to_rotate


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=50, unique=True), st.integers(1, 16), st.integers(1, 8))
def test_a_slot_says_which_size_set_and_lane_it_is(sizes: list[int], sets: int, lanes: int) -> None:
    slots = Slots(sizes, sets)
    seen = []
    for lane in range(lanes):
        for place, size in enumerate(sizes):
            for set_ in range(sets):
                slot = slots.of(place, set_, lane)
                seen.append(slot)
                assert (slots.size_of(slot), slots.set_of(slot)) == (size, set_)
                assert slot // slots.per_lane == lane
    assert seen == list(range(lanes * slots.per_lane)), "no slot is used twice, and none is left out"


@given(st.integers(0, 1 << 40), st.integers(1, 20), st.none() | st.integers(0, 1 << 32))
def test_sets_are_between_their_limits(set_bytes: int, sizes: int, cache: int | None) -> None:
    sets = sets_to_rotate(set_bytes, sizes, cache)
    if sizes >= MIN_SETS:
        assert sets == 1, "a mixture of many sizes rotates over these"
        return
    assert 2 <= sets <= MAX_SETS
    assert sets == 2 or sets * set_bytes <= MAX_BYTES
    enough = sets * max(1, set_bytes) >= (cache or 0)  # no bytes count as one
    assert enough or sets == MAX_SETS or (sets + 1) * set_bytes > MAX_BYTES


@pytest.mark.parametrize(
    ("set_bytes", "cache", "sets"),
    [
        (600_000, None, MIN_SETS),
        (600_000, 1 << 20, MIN_SETS),
        (600_000, 8 << 20, 14),
        (16, 32 << 20, MAX_SETS),
        (100 << 20, 32 << 20, 2),
        (1 << 30, 1 << 30, 2),
        (0, None, MIN_SETS),
    ],
)
def test_sets_exceed_the_cache_if_that_is_possible(set_bytes: int, cache: int | None, sets: int) -> None:
    assert sets_to_rotate(set_bytes, 1, cache) == sets


def test_the_last_level_cache_is_the_largest_one(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "1024K", "36608K", "nonsense")):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "size").write_text(f"{size}\n")
    (tmp_path / "index7").mkdir()
    assert last_level_cache_bytes(tmp_path) == 36608 << 10
    assert last_level_cache_bytes(tmp_path / "nowhere") is None
