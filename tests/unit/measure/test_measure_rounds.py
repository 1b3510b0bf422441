"""The order of cases within rounds."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.measure.rounds import orders, williams


@pytest.mark.parametrize("count", range(1, 8))
def test_squares_are_balanced(count: int) -> None:
    square = williams(count)
    assert len(square) == (count if count % 2 == 0 else 2 * count)
    assert all(sorted(row) == list(range(count)) for row in square)
    places = Counter((case, place) for row in square for place, case in enumerate(row))
    assert len(places) == count * count
    assert len(set(places.values())) == 1, "each case stands equally often in each place"
    neighbours = Counter(pair for row in square for pair in pairwise(row))
    assert len(neighbours) == count * (count - 1)
    assert len(set(neighbours.values())) <= 1, "each case follows each other one equally often"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 2**32))
def test_every_round_is_a_permutation_and_reproducible(count: int, seed: int) -> None:
    rounds = list(islice(orders(count, seed), 30))
    assert all(sorted(order) == list(range(count)) for order in rounds)
    assert rounds == list(islice(orders(count, seed), 30))


@pytest.mark.parametrize("count", range(2, 7))
def test_rounds_up_to_six_cases_are_balanced(count: int) -> None:
    length = len(williams(count))
    rounds = list(islice(orders(count, 5), 3 * length))
    for start in range(0, 3 * length, length):
        square = rounds[start : start + length]
        places = Counter((case, place) for order in square for place, case in enumerate(order))
        neighbours = Counter(pair for order in square for pair in pairwise(order))
        assert set(places.values()) == {length // count}
        assert len(neighbours) == count * (count - 1)
        assert len(set(neighbours.values())) == 1


@pytest.mark.parametrize("count", [3, 6, 7, 10])
def test_seeds_give_other_orders(count: int) -> None:
    firsts = {tuple(map(tuple, islice(orders(count, seed), 4))) for seed in range(10)}
    assert len(firsts) >= 8


def test_many_cases_are_permuted_at_random() -> None:
    rounds = list(islice(orders(8, 1), 4000))
    first = Counter(order[0] for order in rounds)
    assert all(380 < first[case] < 620 for case in range(8))  # 500 ± 5.7 standard deviations
    assert len(set(map(tuple, rounds))) > 3500
