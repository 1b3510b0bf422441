"""The kit for backends, on every backend of this repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchfw.testing import BackendCase, BackendConformance
from benchfw.testing.models import evaluate, write_perceptron

pytestmark = pytest.mark.usefixtures("brief")
PERCEPTRON = """
from pathlib import Path

import onnx
import torch
from torch import nn


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        weights = onnx.load(Path(__file__).with_name("perceptron.onnx")).graph.initializer
        self.w1, self.b1, self.w2 = (nn.Parameter(torch.tensor(onnx.numpy_helper.to_array(w))) for w in weights)

    def forward(self, x):
        return torch.relu(x @ self.w1 + self.b1) @ self.w2


def make():
    return Perceptron()
"""


def _onnx(backend: str, folder: Path) -> BackendCase:
    return BackendCase(backend=backend)


def _torch(backend: str, folder: Path) -> BackendCase:
    (folder / "perceptron.py").write_text(PERCEPTRON)
    graph = write_perceptron(folder / "perceptron.onnx")
    return BackendCase(
        backend=backend, model="python:perceptron:make", root=folder, expected=lambda inputs: evaluate(graph, inputs)
    )


def _torch_tensorrt(backend: str, folder: Path) -> BackendCase:
    return replace(_torch(backend, folder), options={"min_block_size": 1})  # the model has four operators


CASES: dict[str, Callable[[str, Path], BackendCase]] = {
    "ort-cpu": _onnx,
    "openvino": _onnx,
    "torch-eager": _torch,
    "torch-compile": _torch,
    "torch-tensorrt": _torch_tensorrt,
}


@pytest.fixture(scope="module", params=CASES)
def backend_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BackendCase:
    return CASES[request.param](request.param, tmp_path_factory.mktemp("model"))


class TestBackend(BackendConformance):
    pass
