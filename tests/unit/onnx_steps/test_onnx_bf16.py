"""`Bf16Onnx`: on a modelopt that is made up, and on the real one where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from benchfw.errors import BuildFailed, MissingDependency
from benchfw.spec import onnx_files
from benchfw_onnxruntime.bf16 import Bf16Onnx
from tests.unit.onnx_steps.graphs import BATCH, IMAGE, artifact, axes, convolutions

Run = Callable[[onnx.ModelProto], tuple[onnx.ModelProto, Mapping[str, Any]]]


def in_bf16(*, onnx_path: str, **given: Any) -> onnx.ModelProto:
    """Do what AutoCast does: weights in bf16, a cast behind the input and one before the output."""
    model = onnx.load(onnx_path)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, array.shape, array.reshape(-1)))
    for node in model.graph.node:
        node.input[:] = ["x16" if name == "x" else name for name in node.input]
        node.output[:] = ["y16" if name == "y" else name for name in node.output]
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.BFLOAT16))
    model.graph.node.append(helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT))
    model.opset_import[0].version = 22
    assert given == {
        "low_precision_type": "bf16",
        "keep_io_types": True,
        "data_max": float("inf"),
        "init_max": float("inf"),
    }
    return model


@pytest.fixture
def modelopt(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Function that puts a converter in the place of modelopt's; None: modelopt is not installed."""

    def put(convert: Any) -> None:
        package = ModuleType("modelopt.onnx")
        package.autocast = convert and ModuleType("autocast")  # type: ignore[attr-defined]
        if convert:
            package.autocast.convert_to_mixed_precision = convert
        monkeypatch.setitem(sys.modules, "modelopt", ModuleType("modelopt") if convert else None)
        monkeypatch.setitem(sys.modules, "modelopt.onnx", package if convert else None)

    return put


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def made(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
        file = tmp_path / "made" / "model.onnx"
        file.parent.mkdir()
        step = Bf16Onnx({})
        meta = step.run(artifact(model, tmp_path), inputs=IMAGE, profile=BATCH, precision="bf16", destination=file)
        assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]  # what was compared is gone
        return onnx_files.load(file), meta

    return made


@pytest.mark.parametrize(
    "real",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(importlib.util.find_spec("modelopt") is None, reason="needs modelopt")
        ),
    ],
)
def test_weights_and_arithmetic_are_bf16_and_the_ends_fp32(
    run: Run, modelopt: Callable[[Any], None], real: bool
) -> None:
    if not real:
        modelopt(in_bf16)
    source = convolutions()
    made, meta = run(source)
    weights = [t for t in made.graph.initializer if t.data_type in (TensorProto.FLOAT, TensorProto.BFLOAT16)]
    assert {tensor.data_type for tensor in weights} == {TensorProto.BFLOAT16}
    ends = (*made.graph.input, *made.graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    assert axes(made) == axes(source) and not made.graph.value_info
    assert (meta["casts"], meta["agreement"]["verdict"]) == (2, "pass")
    assert 0 < meta["agreement"]["rel_l2"] < 1e-2  # weights are rounded, to 8 bits
    x = {"x": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    wanted, found = (ReferenceEvaluator(model).run(None, x)[0] for model in (source, made))
    assert np.linalg.norm(found - wanted) < 3e-2 * np.linalg.norm(wanted)  # as it computes, in bf16


def test_another_model_is_refused(run: Run, modelopt: Callable[[Any], None]) -> None:
    def wrong(**given: Any) -> onnx.ModelProto:
        made = in_bf16(**given)
        made.graph.node[2].op_type = "Neg"
        return made

    modelopt(wrong)
    with pytest.raises(BuildFailed, match="modelopt's graph in bf16 has other outputs than the model: 'y'"):
        run(convolutions())


def test_weights_that_were_left_are_refused(run: Run, modelopt: Callable[[Any], None]) -> None:
    modelopt(lambda onnx_path, **given: onnx.load(onnx_path))
    with pytest.raises(BuildFailed, match="modelopt left the weights as they were, in fp32"):
        run(convolutions())


def test_without_modelopt_the_extra_is_named(run: Run, modelopt: Callable[[Any], None]) -> None:
    modelopt(None)
    with pytest.raises(MissingDependency, match="bf16 needs nvidia-modelopt: ") as caught:
        run(convolutions())
    assert "benchfw-onnxruntime[quant]" in str(caught.value.hint)
