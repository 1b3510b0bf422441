"""Routes of steps from a model's format to one that a backend accepts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchfw.artifacts import find_route
from benchfw.errors import Unsupported
from benchfw.spec.artifact import StepInfo


def _step(source: str, target: str, profiles: tuple[str, ...] = ("static", "dynamic"), name: str = "") -> StepInfo:
    return StepInfo(
        name=name or f"{target}From{source}", source=source, target=target, factory="x:Y", profiles=profiles
    )


ONNX_FROM_TORCH = _step("torch", "onnx")
STATIC_ONNX = _step("onnx", "onnx", ("static",))
ENGINE_FROM_ONNX = _step("onnx", "engine")
IR_FROM_ONNX = _step("onnx", "ir")
STEPS = (STATIC_ONNX, ENGINE_FROM_ONNX, ONNX_FROM_TORCH, IR_FROM_ONNX)


def _names(
    source: str, accepts: Sequence[str], *, specialize: bool = False, steps: Sequence[StepInfo] = STEPS
) -> list[str]:
    return [step.name for step in find_route(source, accepts, steps, specialize=specialize)]


def test_a_format_that_the_backend_accepts_needs_no_step() -> None:
    assert _names("onnx", ["onnx"]) == []
    assert _names("torch", ["onnx", "torch"]) == [], "no conversion, though another format is wanted more"


def test_a_backend_that_takes_anything_needs_no_step() -> None:
    assert _names("unknown", ["*"], specialize=True) == []


def test_one_step() -> None:
    assert _names("torch", ["onnx"]) == ["onnxFromtorch"]
    assert _names("torch", ["onnx"], specialize=True) == ["onnxFromtorch"], "the export itself specialises"


def test_two_steps() -> None:
    assert _names("torch", ["engine"]) == ["onnxFromtorch", "engineFromonnx"]


def test_a_model_in_the_right_format_is_specialised_by_the_step_to_itself() -> None:
    assert _names("onnx", ["onnx"], specialize=True) == ["onnxFromonnx"]
    assert _names("onnx", ["onnx"], specialize=True, steps=(ONNX_FROM_TORCH,)) == []


def test_the_shortest_route_wins() -> None:
    direct = _step("torch", "engine")
    assert _names("torch", ["engine"], steps=(*STEPS, direct)) == ["engineFromtorch"]
    assert _names("torch", ["engine", "onnx"]) == ["onnxFromtorch"], "length counts before wishes"


def test_of_equally_short_routes_the_wish_of_the_backend_wins() -> None:
    assert _names("torch", ["ir", "engine"]) == ["onnxFromtorch", "irFromonnx"]
    assert _names("torch", ["engine", "ir"]) == ["onnxFromtorch", "engineFromonnx"]


def test_of_two_steps_between_the_same_formats_the_first_is_taken() -> None:
    twice = (_step("torch", "onnx", name="First"), _step("torch", "onnx", name="Second"))
    assert _names("torch", ["onnx"], steps=twice) == ["First"]


def test_steps_serve_only_their_profiles() -> None:
    static_only = (_step("torch", "onnx", ("static",)),)
    assert _names("torch", ["onnx"], specialize=True, steps=static_only) == ["onnxFromtorch"]
    with pytest.raises(Unsupported):
        _names("torch", ["onnx"], steps=static_only)


def test_circles_end() -> None:
    circle = (_step("a", "b"), _step("b", "a"))
    with pytest.raises(Unsupported):
        _names("a", ["c"], steps=circle)


def test_no_route_names_both_ends() -> None:
    with pytest.raises(Unsupported, match="'torch' to 'nothing' or 'else'") as caught:
        _names("torch", ["nothing", "else"])
    assert caught.value.status == "UNSUPPORTED"
    assert caught.value.hint
