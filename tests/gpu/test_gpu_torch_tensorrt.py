"""torch-tensorrt on a GPU, as a user runs it; where it is not installed, with engines that are graphs of PyTorch."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from benchfw.testing.project import Project
from tests.unit.torch_trt.package import install

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("device")]

SCENARIO = """
name = "torch-tensorrt"
[model]
ref = "builtin:resnet18"
[model.inputs.input]
shape = ["batch", 3, 64, 64]
dtype = "float32"
[shapes]
batch = { min = 1, opt = 4, max = 8 }
[[sweep]]
kind = "fixed"
batch = [4]
[[sweep]]
kind = "min-opt-max"
[measure]
effort = "quick"
settle_time = "200ms"
budget = "8s"
samplers = []
[[backend]]
use = "torch-eager"
device = "cuda"
[[backend]]
use = "torch-tensorrt"
"""


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether torch-tensorrt is installed; else workers find one that is made up."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    try:
        metadata.version("torch-tensorrt")
    except metadata.PackageNotFoundError:
        install(tmp_path, monkeypatch)
        return False
    return True


def test_precisions_and_graphs(tmp_path: Path, registry: Any, real: bool) -> None:
    text = SCENARIO + 'precision = ["fp32", "tf32", "fp16", "bf16"]\nio_scope = ["device", "pinned"]\n'
    _, results = Project(tmp_path, registry).run(text + 'graph = ["off", "on"]\n')
    cases = results.cases[results.cases.name == "torch-tensorrt"]
    assert set(cases.status) == {"OK"}, list(cases.status_reason)
    assert set(zip(cases.precision, cases.profile, cases.graph, strict=True)) == {
        (precision, profile, graph)
        for precision in ("fp32", "tf32", "fp16", "bf16")
        for profile in ("static", "dynamic")
        for graph in ("off", "on")
    }
    assert (cases.enqueue_p50_ns > 0).all()
    for facts in map(json.loads, cases.facts):
        assert (facts["engines"], facts["torch_operators"]) == (1, {})
        assert facts["tensorrt"] or not real
    warned = set(results.warnings[results.warnings.case_id.isin(cases.case_id)].code)
    assert not {"V04", "V05"} & warned


def test_operators_that_stay_with_pytorch(tmp_path: Path, registry: Any, real: bool) -> None:
    options = '[backend.options]\ntorch_executed_ops = ["torch.ops.aten.max_pool2d.default"]\nmin_block_size = 1\n'
    _, results = Project(tmp_path, registry).run(SCENARIO + 'graph = ["off", "on"]\n' + options)
    cases = results.cases[results.cases.name == "torch-tensorrt"]
    assert set(cases.status) == {"OK"}, list(cases.status_reason)
    for facts in map(json.loads, cases.facts):
        assert facts["torch_operators"] == {"aten.max_pool2d.default": 1} and facts["engines"] == 2
    assert "V05" in set(results.warnings.code)
