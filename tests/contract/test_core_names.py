"""The core knows no framework: what has to be known of one is told by its plugin."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "benchfw"
NAMES = re.compile(
    r"torch|onnx[ _-]?runtime|tensor ?rt|openvino|nvinfer|(?<![a-z])(ort|trt|ray)(?![a-z])", re.IGNORECASE
)
ALLOWED = {
    "testing": "the kit looks whether a plugin imports a framework too early, and has to know some by name",
}
"""Folders of the core whose code may name frameworks, and why."""


def named(source: str) -> Iterator[tuple[int, str]]:
    """Yield what in a module's code names a framework, and its line.

    Comments and docstrings may: what was seen of a framework is worth knowing where it made code what it is.
    """
    tree = ast.parse(source)
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = "" if id(node) in prose else " ".join(map(str, filter(None, _texts(node))))
        if NAMES.search(text):
            yield getattr(node, "lineno", 0), text


def _texts(node: ast.AST) -> Iterator[object]:
    """Yield the names and texts of one node: those of its parts are theirs."""
    for field in ("value", "id", "attr", "arg", "name", "module"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            yield value


@pytest.mark.parametrize(
    "folder", sorted({path.relative_to(CORE).parts[0] for path in CORE.rglob("*.py")} - {*ALLOWED})
)
def test_no_code_of_the_core_names_a_framework(folder: str) -> None:
    place = CORE / folder
    found = [
        f"{path.relative_to(CORE)}:{line}: {text!r:.60}"
        for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
        for line, text in named(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "let the plugin register it: see BackendInfo, FormatInfo, StepInfo"


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "from onnxruntime.capi import x",
        "hint = 'pip install benchfw-tensorrt'",
        "x = {'TensorRT': 1}",
        "def f(ort_version): ...",
        "use = f'{name} of ort-cpu'",
        "module.openvino",
    ],
)
def test_a_name_would_be_found(source: str) -> None:
    assert list(named(source))


@pytest.mark.parametrize(
    "source", ['"""As ONNX Runtime does."""', "import onnx  # torch", "sort, array, portrait = 1, 2, 3"]
)
def test_prose_and_other_words_are_none(source: str) -> None:
    assert not list(named(source))
