"""Sizes as the command line gives them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.cli.shapes import batch_range, make_profile, parse_sizes, range_text
from benchfw.errors import UsageError
from benchfw.spec.tensors import AxisRange, TensorSpec

TOKENS = [TensorSpec(name="ids", dtype="int64", shape=("batch", "seq"))]
FIXED = [TensorSpec(name="x", dtype="float32", shape=(4, 8))]
sizes = st.lists(st.integers(1, 10**12), min_size=3, max_size=3).map(sorted)


@given(sizes=sizes)
def test_a_range_is_read_as_it_is_written(sizes: list[int]) -> None:
    low, best, high = sizes
    wanted = AxisRange(min=low, opt=best, max=high)
    assert parse_sizes([f"seq={range_text(wanted)}"]) == {"seq": wanted}
    assert batch_range(None, low, best, high) == wanted


def test_the_batch_is_one_unless_something_else_is_asked_for() -> None:
    seq = parse_sizes(["seq=8:128:512"])
    assert make_profile(TOKENS, None, seq).slug == "batch1_seq8-128-512"
    assert make_profile(TOKENS, AxisRange.fixed(8), seq).slug == "batch8_seq8-128-512"
    assert make_profile(TOKENS, None, parse_sizes(["seq=8", "batch=2"])).slug == "batch2_seq8"
    assert make_profile(FIXED, None, {}).slug == "fixed"
    assert make_profile(FIXED, AxisRange.fixed(4), {}).slug == "fixed"


@pytest.mark.parametrize("text", ["seq", "seq=", "=4", "seq=a", "seq=0", "seq=1:2", "seq=4:2:8", "seq=-1", "seq=²"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--size "):
        parse_sizes([text])


def test_an_axis_is_given_once() -> None:
    with pytest.raises(UsageError, match="seq has been given before"):
        parse_sizes(["seq=1", "seq=2"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((8, 1, 8, 16), "--batch is one size, --min, --opt and --max are a range"),
        ((None, 1, None, 16), "--opt is missing"),
        ((None, 4, 2, 8), "--min 4 --opt 2 --max 8: needs 1 <= min <= opt <= max"),
    ],
)
def test_options_that_contradict_each_other(given: tuple[int | None, ...], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        batch_range(*given)
    assert raised.value.message.startswith(says)


@pytest.mark.parametrize(
    ("inputs", "batch", "axes", "says"),
    [
        (TOKENS, None, {}, "the model's axis 'seq' has no size"),
        (TOKENS, None, {"seq": 4, "width": 4}, "--size width: the model has no such axis; it has batch, seq"),
        (TOKENS, 2, {"seq": 4, "batch": 4}, "--size batch says what --batch"),
        (FIXED, 2, {}, "the model's inputs have a fixed batch of 4"),
    ],
)
def test_sizes_that_do_not_fit_the_model(
    inputs: list[TensorSpec], batch: int | None, axes: dict[str, Any], says: str
) -> None:
    ranges = {name: AxisRange.fixed(size) for name, size in axes.items()}
    with pytest.raises(UsageError) as raised:
        make_profile(inputs, AxisRange.fixed(batch) if batch else None, ranges)
    assert raised.value.message.startswith(says)
