"""Sizes as the command line gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.cli.inputs import input_specs
from benchfw.cli.shapes import batch_range, make_profile, parse_sizes, range_text
from benchfw.errors import UsageError
from benchfw.scenario import from_document
from benchfw.scenario.resolved import model_inputs
from benchfw.spec.backend import BackendInfo
from benchfw.spec.tensors import AxisRange, IoSpec, TensorSpec

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


BACKENDS = {"fake": BackendInfo(name="fake", summary="", factory="x:Y", accepts=("*",))}


@st.composite
def models(draw: st.DrawFn) -> IoSpec:
    """A model whose inputs may have bounds, as token ids have."""
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    bounds = st.sampled_from([(None, None), (0.0, 30522.0), (1.0, 2.0)])
    dtypes = st.sampled_from(["float32", "int64"])
    inputs = []
    for name in names:
        low, high = draw(bounds)
        inputs.append(TensorSpec(name=name, dtype=draw(dtypes), shape=("batch", 4), low=low, high=high))
    return IoSpec(inputs=tuple(inputs), outputs=())


@given(io=models(), declared=st.booleans(), data=st.data())
def test_a_command_asks_for_the_inputs_that_a_scenario_asks_for(
    io: IoSpec, declared: bool, data: st.DataObject
) -> None:
    """They are part of what an artifact is named after: else a run would not find what `export` has made."""
    model: dict[str, Any] = {"ref": "onnx:m.onnx"}
    given_inputs: tuple[str, ...] = ()
    if declared:
        io = IoSpec(inputs=tuple(TensorSpec(name=s.name, dtype=s.dtype, shape=s.shape) for s in io.inputs), outputs=())
        shuffled = data.draw(st.permutations(io.inputs))
        given_inputs = tuple(f"{spec.name}=batchx4:{spec.dtype}" for spec in shuffled)
        bounds = {"float32": {}, "int64": {"low": 0.0, "high": 2.0}}
        model["inputs"] = {
            spec.name: {"shape": ["batch", 4], "dtype": spec.dtype, **bounds[spec.dtype]} for spec in shuffled
        }
    loaded = from_document(
        {
            "name": "s",
            "model": model,
            "shapes": {"batch": {"min": 1, "opt": 2, "max": 4}},
            "sweep": [{"kind": "fixed"}],
            "backend": [{"use": "fake"}],
        },
        source="s.toml",
        root=Path(),
        backends=BACKENDS,
        options={},
    )
    assert input_specs("m.onnx", io, given_inputs) == tuple(model_inputs(loaded, io)[1])
