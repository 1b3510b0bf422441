"""What the plugin registers, and by which routes its engines are made."""

from __future__ import annotations

import pytest

from benchfw.artifacts import Wanted, find_route
from benchfw.artifacts.routes import precisions_along
from benchfw.errors import Unsupported
from benchfw.spec import StepInfo
from benchfw_tensorrt.plugin import benchfw_register_backends, benchfw_register_steps

BACKENDS = {info.name: info for info in benchfw_register_backends()}
STEPS = (
    StepInfo(name="HalfOnnx", source="onnx", target="onnx", factory="x:Y", makes=("fp16",)),
    StepInfo(name="Bf16Onnx", source="onnx", target="onnx", factory="x:Y", makes=("bf16",)),
    StepInfo(name="Int8Onnx", source="onnx", target="onnx", factory="x:Y", makes=("int8",)),
    *benchfw_register_steps(),
)
TYPED, WEAK = "TrtEngineFromOnnx", "WeakTrtEngineFromOnnx"


@pytest.mark.parametrize("backend", ["trt-static", "trt-dynamic"])
@pytest.mark.parametrize(
    ("precision", "asked", "route"),
    [
        ("fp32", (), [TYPED]),
        ("tf32", (), [TYPED]),
        ("fp16", (), ["HalfOnnx", TYPED]),
        ("bf16", (), ["Bf16Onnx", TYPED]),
        ("int8", (), ["Int8Onnx", TYPED]),
        ("fp32", (WEAK,), [WEAK]),
        ("fp16", (WEAK,), [WEAK]),
        ("bf16", (WEAK,), [WEAK]),
        ("int8", (WEAK,), [WEAK]),
    ],
)
def test_routes_to_engines(backend: str, precision: str, asked: tuple[str, ...], route: list[str]) -> None:
    wanted = Wanted.by(BACKENDS[backend], precision, specialize=True, given={name: {} for name in asked})
    taken = find_route("onnx", wanted, STEPS)
    assert [step.name for step in taken] == route
    assert precisions_along(taken, "fp32", precision)[-1] == precision


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
def test_tensorrt_rtx_takes_the_types_of_the_model(precision: str) -> None:
    assert precision in BACKENDS["trt-rtx"].capabilities.precisions
    taken = find_route("onnx", Wanted.by(BACKENDS["trt-rtx"], precision, specialize=True), STEPS)
    assert taken[-1].name == "RtxEngineFromOnnx"
    assert precisions_along(taken, "fp32", precision)[-1] == precision


def test_no_route_to_bf16_where_no_step_makes_it_unless_flags_are_asked_for() -> None:
    steps = [step for step in STEPS if step.name != "Bf16Onnx"]
    with pytest.raises(Unsupported, match="no step leads from 'onnx' in fp32 to 'trt-engine' in bf16"):
        find_route("onnx", Wanted.by(BACKENDS["trt-static"], "bf16", specialize=True), steps)


def test_what_the_backends_claim() -> None:
    static, dynamic = (BACKENDS[name].capabilities for name in ("trt-static", "trt-dynamic"))
    assert (static.dynamic_shapes, dynamic.dynamic_shapes) == (False, True)
    for capabilities in (static, dynamic):
        assert capabilities.asynchronous and capabilities.cuda_graph and capabilities.devices == ("cuda",)
        assert capabilities.specializes and capabilities.profiles
