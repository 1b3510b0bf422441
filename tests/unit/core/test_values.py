"""Random values of inputs: dtype, bounds, and the same for the same seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchfw.spec.tensors import DTYPES, IoSpec, TensorSpec
from benchfw.spec.values import random_inputs


@given(st.sampled_from(DTYPES), st.integers(-100, 50), st.integers(1, 70), st.integers(0, 3))
def test_values_have_the_dtype_and_keep_to_the_bounds(dtype: str, low: int, span: int, seed: int) -> None:
    low = max(low, 0) if dtype.startswith("u") else low
    spec = TensorSpec(name="x", dtype=dtype, shape=("n", 3), low=low, high=low + span)
    array = random_inputs([spec], {"n": 5}, seed)["x"]
    assert array.shape == (5, 3) and array.dtype == np.dtype(dtype)
    if dtype != "bool":
        rounding = 1 if dtype == "float16" else 0
        assert low - rounding <= array.min() and array.max() < low + span + rounding
    assert np.array_equal(array, random_inputs([spec], {"n": 5}, seed)["x"])


def test_inputs_of_one_kind_differ() -> None:
    specs = [TensorSpec(name=name, dtype="float32", shape=(8,)) for name in "ab"]
    made = random_inputs(specs, {})
    assert not np.array_equal(made["a"], made["b"])


def test_bounds_survive_the_wire() -> None:
    spec = TensorSpec(name="x", dtype="int64", shape=(1,), low=1, high=9)
    data = {"name": "x", "dtype": "int64", "shape": [1], "low": 1, "high": 9}
    assert IoSpec.from_json({"inputs": [data], "outputs": []}).inputs == (spec,)
