"""What a scenario and a model say of the inputs, put together."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchfw.errors import ScenarioError
from benchfw.scenario import Loaded, parse
from benchfw.scenario.resolved import described_input, model_inputs
from benchfw.spec.backend import BackendInfo
from benchfw.spec.tensors import IoSpec, TensorSpec

BACKENDS = {"fake": BackendInfo(name="fake", summary="", factory="x:Y", accepts=("*",))}


def _loaded(
    inputs: str = "", ref: str = "onnx:m.onnx", shapes: str = "batch = { min = 1, opt = 2, max = 4 }"
) -> Loaded:
    text = f"""
name = "s"
[model]
ref = "{ref}"
{inputs}
[shapes]
{shapes}
[[sweep]]
kind = "min-opt-max"
[[backend]]
use = "fake"
"""
    return parse(text, source="s.toml", root=Path(), backends=BACKENDS, options={})


def _io(*inputs: TensorSpec) -> IoSpec:
    return IoSpec(inputs=inputs, outputs=())


X = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
IDS = TensorSpec(name="ids", dtype="int64", shape=("batch",))


def test_undeclared_inputs_are_taken_from_the_model_in_its_order() -> None:
    scenario, specs = model_inputs(_loaded(), _io(X, IDS))
    assert specs == [X, IDS]
    assert list(scenario.model.inputs) == ["x", "ids"]
    assert scenario.model.inputs["x"].high is None


def test_integers_get_the_values_zero_and_one() -> None:
    for dtype in ("int8", "int64", "uint8"):
        item = described_input(TensorSpec(name="i", dtype=dtype, shape=(2,)))
        assert (item.low, item.high, item.dtype) == (0.0, 2.0, dtype)


def test_declared_inputs_keep_the_order_of_the_model() -> None:
    declared = (
        '[model.inputs.ids]\nshape = ["batch"]\ndtype = "int64"\nhigh = 9.0\n[model.inputs.x]\nshape = ["batch", 4]'
    )
    scenario, specs = model_inputs(_loaded(declared), _io(X, IDS))
    assert [spec.name for spec in specs] == ["x", "ids"]
    assert scenario.model.inputs["ids"].high == 9.0


def test_declared_inputs_are_enough_where_the_model_says_nothing() -> None:
    _, specs = model_inputs(_loaded('[model.inputs.x]\nshape = ["batch", 4]'), None)
    assert specs == [X]


def test_a_declared_size_may_fix_an_axis_of_the_model() -> None:
    declared = '[model.inputs.x]\nshape = ["batch", 4]'
    _, specs = model_inputs(_loaded(declared), _io(TensorSpec(name="x", dtype="float32", shape=("n", "m"))))
    assert specs[0].shape == ("batch", 4)


def test_nobody_says_what_the_inputs_are() -> None:
    with pytest.raises(ScenarioError, match=r"model\.inputs: is missing"):
        model_inputs(_loaded(), None)
    _, specs = model_inputs(_loaded(ref="null:x"), None)
    assert specs == []


def test_all_contradictions_are_reported() -> None:
    declared = """
[model.inputs.x]
shape = ["batch", 5]
dtype = "float16"
[model.inputs.ids]
shape = ["batch", 2]
dtype = "int64"
high = 2.0
[model.inputs.z]
shape = [1]
"""
    with pytest.raises(ScenarioError) as caught:
        model_inputs(_loaded(declared), _io(X, IDS, TensorSpec(name="mask", dtype="bool", shape=(1,))))
    assert {fault.key for fault in caught.value.faults} == {
        "model.inputs",
        "model.inputs.x.dtype",
        "model.inputs.x.shape[1]",
        "model.inputs.ids.shape",
        "model.inputs.z",
    }


def test_axes_of_the_model_need_ranges_too() -> None:
    with pytest.raises(ScenarioError) as caught:
        model_inputs(_loaded(), _io(TensorSpec(name="x", dtype="float32", shape=("batsh", 4))))
    assert {(fault.key, fault.nearest) for fault in caught.value.faults} == {
        ("model.inputs.x.shape[0]", "batch"),
        ("shapes.batch", "batsh"),
    }


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec(name="input.1", dtype="float32", shape=("input.1_0", 3)),
        TensorSpec(name="x", dtype="float32", shape=("batch-size", 3)),
        TensorSpec(name="x", dtype="uint16", shape=("batch",)),
        TensorSpec(name="x", dtype="float32", shape=("batch", 0)),
    ],
    ids=["name of a tensor", "axis with a dash", "dtype", "empty axis"],
)
def test_a_model_that_no_scenario_could_declare_is_a_scenario_error(spec: TensorSpec) -> None:
    with pytest.raises(ScenarioError):
        model_inputs(_loaded(), _io(spec))


TOKENS = TensorSpec(name="tokens", dtype="int64", shape=("batch",), low=0, high=30522)


def test_bounds_that_the_model_says_are_used() -> None:
    scenario, specs = model_inputs(_loaded(), _io(TOKENS))
    assert (scenario.model.inputs["tokens"].low, scenario.model.inputs["tokens"].high) == (0, 30522)
    assert specs == [TOKENS]


def test_bounds_of_the_scenario_replace_those_of_the_model() -> None:
    declared = '[model.inputs.tokens]\nshape = ["batch"]\ndtype = "int64"\nlow = 3\nhigh = {}'
    _, specs = model_inputs(_loaded(declared.format(9)), _io(TOKENS))
    assert (specs[0].low, specs[0].high) == (3, 9)
    with pytest.raises(ScenarioError, match=r"model\.inputs\.tokens\.high: is 40000, the model takes values below"):
        model_inputs(_loaded(declared.format(40000)), _io(TOKENS))


def test_an_axis_that_is_minus_one_gets_a_name() -> None:
    shapes = "batch = { min = 1, opt = 2, max = 4 }\nx_y_1 = { min = 1, opt = 2, max = 4 }"
    loaded = _loaded('[model.inputs."x.y"]\nshape = [-1, -1, 4]', shapes=shapes)
    assert loaded.scenario.model.inputs["x.y"].shape == ["batch", "x_y_1", 4]
    with pytest.raises(ScenarioError, match=r"shape\[0\]"):
        _loaded("[model.inputs.x]\nshape = [-2]")
