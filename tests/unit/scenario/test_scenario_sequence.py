"""Random sequences of sizes."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.scenario.sequence import BatchSequence

_SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=20, unique=True).map(tuple)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(_SIZES, st.integers(0, 2**40), st.integers(0, 1000))
def test_permuted_chunks_are_permutations(sizes: tuple[int, ...], seed: int, index: int) -> None:
    sequence = BatchSequence(axis="batch", sizes=sizes, seed=seed)
    chunk = sequence.chunk(index)
    assert sorted(chunk) == sorted(sizes)
    assert len(chunk) == sequence.chunk_length
    assert all(type(size) is int for size in chunk)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(_SIZES, st.integers(0, 2**40), st.sampled_from(["permuted", "iid"]))
def test_the_same_seed_gives_the_same_sequence(sizes: tuple[int, ...], seed: int, draw: str) -> None:
    one, other = (BatchSequence(axis="batch", sizes=sizes, seed=seed, draw=draw) for _ in range(2))
    assert [list(one.chunk(i)) for i in range(5)] == [list(other.chunk(i)) for i in reversed(range(5))][::-1]
    assert one.sha256 == other.sha256
    assert one.slug == other.slug


def test_chunks_and_seeds_differ() -> None:
    sizes = tuple(range(1, 9))
    sequence = BatchSequence(axis="batch", sizes=sizes, seed=7)
    assert len({tuple(sequence.chunk(index)) for index in range(20)}) > 15
    assert sequence.sha256 != BatchSequence(axis="batch", sizes=sizes, seed=8).sha256
    assert sequence.sha256 != BatchSequence(axis="length", sizes=sizes, seed=7).sha256
    assert sequence.sha256 != BatchSequence(axis="batch", sizes=sizes, seed=7, draw="iid").sha256


def test_every_size_comes_first_about_equally_often() -> None:
    sequence = BatchSequence(axis="batch", sizes=(1, 2, 3, 4))
    first = Counter(sequence.chunk(index)[0] for index in range(4000))
    assert set(first) == {1, 2, 3, 4}
    assert all(850 < count < 1150 for count in first.values())  # 1000 ± 5.5 standard deviations


def test_iid_draws_are_independent_and_even() -> None:
    sequence = BatchSequence(axis="batch", sizes=(1, 2, 3, 4), draw="iid")
    drawn = Counter(chain.from_iterable(sequence.chunk(index) for index in range(1000)))
    assert set(drawn) == {1, 2, 3, 4}
    assert all(850 < count < 1150 for count in drawn.values())
    assert any(len(set(sequence.chunk(index))) < 4 for index in range(20))


def test_a_trace_repeats_as_it_is() -> None:
    trace = (3, 1, 1, 2)
    sequence = BatchSequence(axis="batch", sizes=(1, 2, 3), draw="trace", trace=trace)
    assert list(sequence.chunk(0)) == list(sequence.chunk(9)) == [3, 1, 1, 2]
    assert sequence.chunk_length == 4


def test_slugs_tell_sequences_apart() -> None:
    def traced(*trace: int) -> BatchSequence:
        return BatchSequence(axis="batch", sizes=(1, 2, 3), draw="trace", trace=trace)

    assert traced(1, 2, 3).slug != traced(1, 3, 2).slug
    assert BatchSequence(axis="batch", sizes=(1, 2, 3), seed=7).slug == "random-batch1-3-permuted-seed7"
