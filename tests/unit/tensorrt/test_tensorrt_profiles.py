"""From the profile of a case to the shapes of a builder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.errors import BuildFailed
from benchfw.spec import Profile, TensorSpec
from benchfw.spec.tensors import AxisRange
from benchfw_tensorrt.profiles import DYNAMIC, profile_shapes

IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 3, "height"))
TOKENS = TensorSpec(name="tokens", dtype="int64", shape=("batch", "seq"))
PROFILE = Profile(
    {"batch": AxisRange(min=1, opt=4, max=8), "seq": AxisRange(min=2, opt=3, max=5), "height": AxisRange.fixed(32)}
)
ranges = st.lists(st.integers(1, 1 << 20), min_size=3, max_size=3).map(
    lambda sizes: AxisRange(**dict(zip(("min", "opt", "max"), sorted(sizes), strict=True)))
)


def test_every_input_gets_its_own_axes() -> None:
    network = {"image": (DYNAMIC, 3, DYNAMIC), "tokens": (DYNAMIC, DYNAMIC)}
    assert profile_shapes(network, [IMAGE, TOKENS], PROFILE) == {
        "image": ((1, 3, 32), (4, 3, 32), (8, 3, 32)),
        "tokens": ((1, 2), (4, 3), (8, 5)),
    }


def test_inputs_without_a_dynamic_axis_need_no_profile() -> None:
    network = {"image": (4, 3, 32)}
    assert profile_shapes(network, [IMAGE], Profile.fixed({"batch": 4, "height": 32})) == {}
    assert profile_shapes({"extra": (2, 2)}, [], Profile({})) == {}  # nor to be declared


@given(axes=st.dictionaries(st.sampled_from("abcd"), ranges), fixed=st.integers(1, 100))
def test_shapes_are_those_of_the_profile_and_ascend(axes: dict[str, AxisRange], fixed: int) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(fixed, *axes))
    shapes = profile_shapes({"x": (fixed, *(DYNAMIC for _ in axes))}, [spec], Profile(axes))
    if not axes:
        assert shapes == {}
        return
    for point, shape in zip(("min", "opt", "max"), shapes["x"], strict=True):
        assert shape == (fixed, *(getattr(axis, point) for axis in axes.values()))
    assert all(a <= b <= c for a, b, c in zip(*shapes["x"], strict=True))


@pytest.mark.parametrize(
    ("network", "inputs", "says"),
    [
        ({"tokens": (DYNAMIC, DYNAMIC)}, [IMAGE], "input 'tokens' of the model has axes without a size"),
        ({"tokens": (DYNAMIC,)}, [TOKENS], "input 'tokens' has 1 axes in the model, 2 are declared"),
        ({"image": (1, 3, DYNAMIC)}, [IMAGE], "axis 0 of input 'image' is fixed to 1 in the model, 4 was asked for"),
        ({"x": (DYNAMIC,)}, [TensorSpec(name="x", dtype="float32", shape=("rows",))], "axis 'rows' of 'x' has no size"),
    ],
)
def test_what_does_not_fit_is_named(network: dict[str, tuple[int, ...]], inputs: list[TensorSpec], says: str) -> None:
    with pytest.raises(BuildFailed) as raised:
        profile_shapes(network, inputs, PROFILE)
    assert says in raised.value.message
