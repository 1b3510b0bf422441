"""Routes of steps from a model's format to one that a backend accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchfw.artifacts import Wanted, find_route
from benchfw.artifacts.denormals import denormals_left
from benchfw.artifacts.routes import precision_after, precisions_along
from benchfw.errors import Unsupported
from benchfw.spec.artifact import StepInfo
from benchfw.spec.backend import BackendInfo


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
    source: str,
    accepts: Sequence[str],
    *,
    precision: str = "fp32",
    steps: Sequence[StepInfo] = STEPS,
    **wanted: Any,
) -> list[str]:
    route = find_route(source, Wanted(accepts=accepts, **wanted), steps, precision=precision)
    return [step.name for step in route]


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


# --- precisions and wishes --------------------------------------------------------------------------------------

EXPORT = StepInfo(name="Export", source="torch", target="onnx", factory="x:Y", makes=("fp16",))
HALF = StepInfo(name="Half", source="onnx", target="onnx", factory="x:Y", makes=("fp16",))
INT8 = StepInfo(name="Int8", source="onnx", target="onnx", factory="x:Y", makes=("int8",))
SIMPLIFY = StepInfo(name="Simplify", source="onnx", target="onnx", factory="x:Y", on_request=True)
NO_DENORMALS = StepInfo(name="NoDenormals", source="onnx", target="onnx", factory="x:Y", on_request=True)
ALL = (INT8, HALF, SIMPLIFY, NO_DENORMALS, STATIC_ONNX, ENGINE_FROM_ONNX, EXPORT)


@pytest.mark.parametrize(
    ("source", "accepts", "precision", "route"),
    [
        ("torch", ["onnx"], "fp32", ["Export"]),
        ("torch", ["onnx"], "fp16", ["Export"]),  # by itself: the step knows the way
        ("torch", ["onnx"], "int8", ["Export", "Int8"]),
        ("onnx", ["onnx"], "fp16", ["Half"]),
        ("onnx", ["engine"], "int8", ["Int8", "engineFromonnx"]),
        ("torch", ["engine"], "int8", ["Export", "Int8", "engineFromonnx"]),
    ],
)
def test_a_route_leads_to_the_precision(source: str, accepts: list[str], precision: str, route: list[str]) -> None:
    taken = find_route(source, Wanted(accepts=accepts, precision=precision), ALL)
    assert [step.name for step in taken] == route
    reached = "fp32"
    for step in taken:
        reached = precision_after(step, reached, precision)
    assert reached == precision
    assert precisions_along(taken, "fp32", precision)[-1] == precision


def test_a_model_that_has_the_precision_needs_no_step_to_it() -> None:
    found = find_route("onnx", Wanted(accepts=["engine"], precision="int8"), ALL, precision="int8")
    assert [step.name for step in found] == ["engineFromonnx"]


@pytest.mark.parametrize(("has", "wants"), [("fp16", "fp32"), ("int8", "fp16"), ("fp32", "fp8")])
def test_a_precision_that_no_step_makes_is_named(has: str, wants: str) -> None:
    with pytest.raises(Unsupported, match=f"'onnx' in {has} to 'onnx' in {wants}"):
        find_route("onnx", Wanted(accepts=["onnx"], precision=wants), ALL, precision=has)


def test_a_backend_that_turns_the_model_itself_gets_it_as_it_is() -> None:
    assert _names("onnx", ["onnx"], precision="fp16", steps=ALL) == []
    assert _names("onnx", ["engine"], precision="int8", steps=ALL) == ["engineFromonnx"]


@pytest.mark.parametrize("specialize", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_wishes_come_after_specialising_and_before_other_precisions(specialize: bool, precision: str) -> None:
    asked = ["NoDenormals", "Simplify"]
    for source in ("onnx", "torch"):
        wanted = Wanted(
            accepts=["engine"], precision=precision, specialize=specialize, given={name: {} for name in asked}
        )
        route = [step.name for step in find_route(source, wanted, ALL)]
        before = ["Export"] if source == "torch" else ["onnxFromonnx"] if specialize else []
        after = ["Int8"] if precision == "int8" else []
        assert route == [*before, "Simplify", "NoDenormals", *after, "engineFromonnx"]


def test_a_wish_for_a_format_that_is_not_reached_changes_nothing() -> None:
    assert find_route("torch", Wanted(accepts=["torch"], given={"Simplify": {}}), ALL) == ()


def test_nobody_simplifies_unasked() -> None:
    assert find_route("onnx", Wanted(accepts=["onnx"]), ALL) == ()


WEAK = StepInfo(name="Weak", source="onnx", target="engine", factory="x:Y", makes=("fp16", "int8"), on_request=True)


@pytest.mark.parametrize(
    ("source", "precision", "route", "reached"),
    [
        ("onnx", "fp32", ["Weak"], ["fp32"]),
        ("onnx", "fp16", ["Weak"], ["fp16"]),
        ("torch", "fp16", ["Export", "Weak"], ["fp32", "fp16"]),  # the export knows the way, and leaves it to the wish
        ("torch", "int8", ["Export", "Weak"], ["fp32", "int8"]),
    ],
)
def test_a_wish_between_two_formats_stands_in_for_others(
    source: str, precision: str, route: list[str], reached: list[str]
) -> None:
    steps = (*ALL, WEAK)
    taken = find_route(source, Wanted(accepts=["engine"], precision=precision, given={"Weak": {}}), steps)
    assert [step.name for step in taken] == route
    assert precisions_along(taken, "fp32", precision) == reached
    unasked = find_route(source, Wanted(accepts=["engine"], precision=precision), steps)
    assert unasked == find_route(source, Wanted(accepts=["engine"], precision=precision), ALL)


def test_a_wish_between_two_formats_keeps_its_place_behind_others() -> None:
    wanted = Wanted(accepts=["engine"], precision="fp16", specialize=True, given={"Weak": {}, "Simplify": {}})
    assert [step.name for step in find_route("onnx", wanted, (*ALL, WEAK))] == ["onnxFromonnx", "Simplify", "Weak"]


def test_what_a_typed_backend_turns_itself_is_made_of_the_fp32_artifact() -> None:
    info = BackendInfo(name="b", factory="p.m:B", accepts=("onnx",), typed=True, turns=("bf16",))
    wanted = {
        precision: Wanted.by(info, precision, specialize=False).precision for precision in ("fp32", "bf16", "int8")
    }
    assert wanted == {"fp32": "fp32", "bf16": "fp32", "int8": "int8"}


def test_only_the_last_artifact_that_knows_its_weights_warns_of_denormals() -> None:
    some, none = {"weights": {"elements": 10, "denormal": 3}}, {"weights": {"elements": 10, "denormal": 0}}
    assert denormals_left([some, {}]).startswith("3 of 10 float32 weights are denormal")
    assert denormals_left([some, none, {"engine": True}]) == ""
    assert denormals_left([{}]) == denormals_left([]) == ""
