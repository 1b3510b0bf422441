"""Names of inputs and outputs of torch models, the table of builtin models, options of the export."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from benchfw.errors import Invalid, MissingDependency
from benchfw_torch.options import ExportOptions

COUNT = """
import json, torch
from benchfw_torch.builtin import BUILTIN, find_builtin
counts = {}
for name in BUILTIN:
    with torch.device("meta"):
        model = find_builtin(name)()
    counts[name] = sum(parameter.numel() for parameter in model.parameters())
print(json.dumps(counts))
"""
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vit": 86_567_656,
    "bert": 109_482_240,
    "detr": 41_524_768,
}

Pair = namedtuple("Pair", "left right")


@dataclass
class Output:
    logits: Any
    state: Any = None


@pytest.fixture
def tensors() -> ModuleType:
    """Not imported above: every process of every part collects this module, and PyTorch takes seconds."""
    pytest.importorskip("torch")
    return importlib.import_module("benchfw_torch.tensors")


@pytest.fixture
def builtin() -> ModuleType:
    pytest.importorskip("torch")
    return importlib.import_module("benchfw_torch.builtin")


def test_dots_lead_into_dicts_and_tuples(tensors: ModuleType) -> None:
    flat = {"ids": 1, "pair.1": 3, "pair.0": 2, "state.h": 4, "state.deep.0": 5}
    assert tensors.arguments(flat) == {"ids": 1, "pair": (2, 3), "state": {"h": 4, "deep": (5,)}}
    for wrong in ({"pair.0": 1, "pair.2": 2}, {"pair.0": 1, "pair.x": 2}):
        with pytest.raises(Invalid, match="a tuple needs the numbers from 0"):
            tensors.arguments(wrong)
    with pytest.raises(Invalid, match="'x' cannot be a tensor and hold others"):
        tensors.arguments({"x": 1, "x.y": 2})


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda t: t, ["output"]),
        (lambda t: (t, None, t), ["output_0", "output_2"]),
        (lambda t: {"a": t, "b": [t, t]}, ["a", "b.0", "b.1"]),
        (lambda t: Pair(t, {"x": t}), ["left", "right.x"]),
        (lambda t: Output(t), ["logits"]),
        (lambda t: (t, (t,)), ["output_0", "output_1.0"]),
    ],
    ids=["tensor", "tuple", "dict", "named tuple", "dataclass", "nested"],
)
def test_outputs_have_names(tensors: ModuleType, result: Any, names: list[str]) -> None:
    assert list(tensors.named_outputs(result(tensors.torch.zeros(1)))) == names


@pytest.mark.parametrize(
    ("result", "reason"), [("text", "output is a str"), ((1,), "output_0 is a int"), ((), "no tensor")]
)
def test_what_is_no_tensor_is_refused(tensors: ModuleType, result: Any, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        tensors.named_outputs(result)


@pytest.mark.framework
def test_builtin_models_have_the_published_numbers_of_parameters(builtin: ModuleType) -> None:
    pytest.importorskip("transformers")
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout)
    assert {name: counts[name] for name in PUBLISHED} == PUBLISHED
    assert counts == {name: model.parameters for name, model in builtin.BUILTIN.items()}


def test_integers_of_builtin_models_have_bounds(builtin: ModuleType) -> None:
    integers = [spec for model in builtin.BUILTIN.values() for spec in model.io.inputs if "int" in spec.dtype]
    assert {(spec.name, spec.low, spec.high) for spec in integers} == {
        ("input_ids", 0, 30522),
        ("attention_mask", 1, 2),
    }


def test_a_model_whose_package_is_missing_says_how_to_get_it(
    builtin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "benchfw_torch.transformer_models", raising=False)
    with pytest.raises(MissingDependency, match="builtin:bert needs the package 'transformers'") as caught:
        builtin.find_builtin("bert")
    assert caught.value.hint == "pip install 'benchfw-torch[models]'"


@pytest.mark.parametrize(
    "values",
    [{"opset": 17}, {"opset": 26}, {"exporter": "torchscript", "opset": 21}, {"exporter": "torchscript", "opset": 8}],
    ids=str,
)
def test_an_opset_that_the_exporter_does_not_make_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ExportOptions.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [("opset",)]
    assert ExportOptions.model_validate({"exporter": "torchscript", "opset": 17}).opset == 17
