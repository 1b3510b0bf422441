"""The timing loops and the inputs of workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchfw.worker import clocks, inputs, loops

UNTOUCHED = -1


def _lists(length: int) -> tuple[list[int], list[int]]:
    return [UNTOUCHED] * length, [UNTOUCHED] * length


def _assert_in_order(starts: list[int], ends: list[int]) -> None:
    stamps = [stamp for pair in zip(starts, ends, strict=True) for stamp in pair]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_host_sync_stamps_each_launch_and_no_more(n: int) -> None:
    calls: list[int] = []
    starts, ends = _lists(10)
    before = clocks.now()
    loops.host_sync(lambda: calls.append(clocks.now()), n, starts, ends)
    after = clocks.now()
    assert len(calls) == n
    _assert_in_order(starts[:n], ends[:n])
    assert all(start <= call <= end for start, call, end in zip(starts, calls, ends))
    assert all(before <= stamp <= after for stamp in starts[:n] + ends[:n])
    assert set(starts[n:]) | set(ends[n:]) == {UNTOUCHED}


def test_host_sync_times_the_launch() -> None:
    starts, ends = _lists(3)
    loops.host_sync(lambda: time.sleep(0.01), 3, starts, ends)
    assert all(end - start >= 10_000_000 for start, end in zip(starts, ends))


def test_a_sequence_is_launched_in_its_order() -> None:
    seen: list[int] = []

    def slot(number: int) -> Callable[[], object]:
        return lambda: seen.append(number)

    order = [2, 0, 0, 1, 2]
    slots = [slot(number) for number in range(3)]
    starts, ends = _lists(6)
    loops.host_sync_sequence([slots[number] for number in order], starts, ends)
    assert seen == order
    _assert_in_order(starts[:5], ends[:5])
    assert starts[5] == ends[5] == UNTOUCHED


def test_an_error_of_a_launch_is_not_swallowed() -> None:
    starts, ends = _lists(3)
    with pytest.raises(ZeroDivisionError):
        loops.host_sync(lambda: 1 // 0, 3, starts, ends)
    with pytest.raises(ZeroDivisionError):
        loops.host_sync_sequence([lambda: 1 // 0], starts, ends)


def test_the_bare_loop_takes_at_least_what_it_launches() -> None:
    calls: list[None] = []
    assert loops.bare(lambda: calls.append(None), 50) > 0
    assert len(calls) == 50
    assert loops.bare(lambda: time.sleep(0.002), 5) >= 2_000_000


def test_the_clock_is_monotonic() -> None:
    stamps = [clocks.now() for _ in range(1000)]
    assert stamps == sorted(stamps)
    assert clocks.describe()["implementation"]


def test_inputs_are_mapped_read_only(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    read = inputs.read({"x": str(tmp_path / "x.npy")})
    np.testing.assert_array_equal(read["x"], array)
    with pytest.raises(ValueError):
        read["x"][0, 0] = 1.0


def test_inputs_with_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError):
        inputs.read({"x": str(tmp_path / "x.npy")})
