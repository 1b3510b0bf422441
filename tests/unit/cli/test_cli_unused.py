"""Options of steps that do not run: refused where one thing is made, warned of where several backends are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchfw.executors.unused import unused_tables
from benchfw.plugins import Registry
from benchfw.scenario import from_document
from benchfw.scenario.arms import only

Cli = Callable[..., tuple[str, str]]
MLP = str(Path(__file__).resolve().parents[3] / "scenarios/models/mlp.onnx")


def warnings(registry: Registry, ref: str, steps: list[str], *backends: Mapping[str, object]) -> list[str]:
    document = {
        "name": "s",
        "model": {"ref": ref, "inputs": {"x": {"shape": ["batch", 4]}}},
        "shapes": {"batch": {"min": 1, "opt": 2, "max": 4}},
        "sweep": [{"kind": "min-opt-max"}],
        "steps": {name: {} for name in steps},
        "backend": list(backends),
    }
    loaded = from_document(document, source="s.toml", root=Path.cwd(), backends=registry.backends, options={})
    return unused_tables([loaded.scenario], registry)


TORCH, ORT = {"use": "torch-eager"}, {"use": "ort-cpu"}
MANY = {"use": "ort-cpu", "name": "many", "precision": ["fp32", "int8"]}


@pytest.mark.parametrize(
    ("ref", "steps", "backends", "unused"),
    [
        ("builtin:mlp", ["OnnxFromTorch", "SimplifiedOnnx"], [TORCH, ORT], []),
        ("builtin:mlp", ["OnnxFromTorch"], [TORCH], ["OnnxFromTorch"]),
        ("builtin:mlp", ["DenormalFreeTorch"], [TORCH], []),
        ("onnx:m.onnx", ["OnnxFromTorch", "SimplifiedOnnx"], [ORT], ["OnnxFromTorch"]),
        ("onnx:m.onnx", ["Int8Onnx"], [ORT], ["Int8Onnx"]),
        ("onnx:m.onnx", ["Int8Onnx"], [ORT, MANY], []),
        ("onnx:m.onnx", ["HalfOnnx"], [{"use": "ort-cpu", "precision": ["fp16"]}], ["HalfOnnx"]),
        ("onnx:m.onnx", ["FixedBatchOnnx"], [ORT], []),
        ("onnx:m.onnx", ["SimplifiedOnnx"], [{"use": "absent", "optional": True}], ["SimplifiedOnnx"]),
        ("onnx:m.onnx", [], [ORT], []),
    ],
)
def test_a_table_is_warned_of_where_no_backend_needs_its_step(
    registry: Registry, ref: str, steps: list[str], backends: list[Mapping[str, object]], unused: list[str]
) -> None:
    told = warnings(registry, ref, steps, *backends)
    assert [text.partition("]")[0] for text in told] == [f"warning: [steps.{name}" for name in unused]


def test_the_warning_says_what_the_step_makes_and_what_to_do(registry: Registry) -> None:
    (told,) = warnings(registry, "builtin:mlp", ["Int8Onnx"], TORCH, ORT)
    assert told == (
        "warning: [steps.Int8Onnx] changes nothing: Int8Onnx does not run, which makes onnx in int8 of onnx; these do: "
        "OnnxFromTorch; ask for a precision or a backend that needs it, or remove the table"
    )


def test_a_table_of_a_backend_is_warned_of_by_the_name_of_the_backend(registry: Registry) -> None:
    own = {"OnnxFromTorch": {"opset": 18}, "SimplifiedOnnx": {}, "Int8Onnx": {}}
    ort = {"use": "ort-cpu", "name": "mine", "steps": own}
    absent = {"use": "absent", "optional": True, "steps": own}
    told = warnings(registry, "builtin:mlp", [], {**TORCH, "steps": {"OnnxFromTorch": {}}}, ort, MANY, absent)
    assert told == [
        "warning: steps.OnnxFromTorch of the backend 'torch-eager' changes nothing: OnnxFromTorch does not run, which "
        "makes onnx in fp16 of torch; no step does; ask this backend for a precision that needs it, or remove the "
        "table",
        "warning: steps.Int8Onnx of the backend 'mine' changes nothing: Int8Onnx does not run, which makes onnx in "
        "int8 of onnx; these do: OnnxFromTorch, SimplifiedOnnx; ask this backend for a precision that needs it, or "
        "remove the table",
    ]


def test_a_table_for_all_is_used_where_one_backend_asks_for_what_replaces_others(registry: Registry) -> None:
    weak = {"use": "trt-static", "device": "cuda", "steps": {"WeakTrtEngineFromOnnx": {}}}
    (told,) = warnings(registry, "onnx:m.onnx", ["TrtEngineFromOnnx"], weak)
    assert told.startswith("warning: [steps.TrtEngineFromOnnx] changes nothing")
    typed = {"use": "trt-static", "name": "typed", "device": "cuda"}
    assert warnings(registry, "onnx:m.onnx", ["TrtEngineFromOnnx"], weak, typed) == []


def test_a_tolerance_of_a_precision_that_nobody_is_asked_for_is_warned_of(cli: Cli) -> None:
    model = ("check", "null:m", "--input", "x=batchx4", "--backend", "fake", "--against", "fake")
    given = ("--set", "accuracy.tolerance.fp16.rel_l2=0.1")
    words = "warning: [accuracy.tolerance.fp16] changes nothing: no backend is asked for fp16; remove the table"
    assert words in cli(*model, *given)[1]
    assert "changes nothing" not in cli(*model, "--precision", "fp16", *given)[1]


def test_a_table_that_one_arm_of_a_comparison_needs_is_not_warned_of(registry: Registry) -> None:
    """Arms that are backends of one file share its tables."""
    document = {
        "name": "s",
        "model": {"ref": "builtin:mlp", "inputs": {"x": {"shape": ["batch", 4]}}},
        "shapes": {"batch": {"min": 1, "opt": 2, "max": 4}},
        "sweep": [{"kind": "min-opt-max"}],
        "steps": {"OnnxFromTorch": {}, "Int8Onnx": {}},
        "accuracy": {"tolerance": {"fp16": {"rel_l2": 0.1}, "bf16": {"rel_l2": 0.1}}},
        "backend": [TORCH | {"precision": ["fp16"]}, ORT],
    }
    whole = from_document(document, source="s.toml", root=Path.cwd(), backends=registry.backends, options={})
    arms = [only(whole, frozenset({name})).scenario for name in ("torch-eager", "ort-cpu")]
    for each in (arms, arms[::-1], [whole.scenario]):
        told = [text.partition(" changes nothing")[0] for text in unused_tables(each, registry)]
        assert told == ["warning: [steps.Int8Onnx]", "warning: [accuracy.tolerance.bf16]"]


def test_a_plan_a_run_and_a_check_say_so(cli: Cli, brief: None) -> None:
    model = ("null:m", "--input", "x=batchx4", "--backend", "fake", "--set", "steps.FixedBatchOnnx={}")
    words = "warning: [steps.FixedBatchOnnx] changes nothing: FixedBatchOnnx does not run, which makes onnx of onnx; no"
    assert words in cli("time", *model, "--set", "measure.budget=1s", "-q")[1]
    assert words in cli("check", *model, "--against", "fake", "-q")[1]
    Path("s.toml").write_text('name="s"\nmodel.ref="null:m"\nsweep=[{kind="fixed"}]\nbackend=[{use="fake"}]\n')
    assert "changes nothing" not in cli("plan", "s.toml")[1]
    assert words in cli("plan", "s.toml", "--set", "steps.FixedBatchOnnx={}")[1]
    (told,) = json.loads(cli("plan", "s.toml", "--set", "steps.FixedBatchOnnx={}", "--json")[0])["warnings"]
    assert told.startswith(words)


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (
            ("build", MLP, "--for", "tensorrt-rtx", "--set", "HalfOnnx.io=fp16"),
            "--set HalfOnnx.…: HalfOnnx does not run, which makes onnx in fp16 of onnx; these do: FixedBatchOnnx, Rtx",
            "--precision fp16 asks for it, or leave the option out",
        ),
        (
            ("simplify", MLP, "-o", "x.onnx", "--set", "OnnxFromTorch.opset=18"),
            "--set OnnxFromTorch.…: OnnxFromTorch does not run",
            "leave the option out",
        ),
        (
            ("export", MLP, "-o", "x.onnx", "--set", "Int8Onnx.per_channel=true"),
            "--set Int8Onnx.…: Int8Onnx does not run",
            "--precision int8 asks for it",
        ),
    ],
)
def test_where_one_thing_is_made_an_option_without_effect_is_refused(
    cli: Cli, arguments: tuple[str, ...], words: str, hint: str
) -> None:
    _, err = cli(*arguments, code=2)
    assert f"error: {words}" in err and hint in err
    assert not Path("x.onnx").exists()
