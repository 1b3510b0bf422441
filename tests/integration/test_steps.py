"""Steps from ONNX to ONNX in whole runs: precisions, wishes, and what the rows say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchfw.artifacts import Made, Wanted
from benchfw.executors.making import making
from benchfw.plugins import Registry
from tests.unit.onnx_steps.graphs import BATCH, IMAGE, convolutions, set_weight, weight

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief")]

SCENARIO = """
name = "steps"
threads = 1
[model]
ref = "onnx:model.onnx"
[shapes]
batch = { min = 1, opt = 2, max = 3 }
[[sweep]]
kind = "fixed"
batch = [2]
[measure]
effort = "quick"
budget = "1s"
"""
DENORMAL = 50


@pytest.fixture
def model(project: Any) -> onnx.ModelProto:
    """A model with denormal weights, in the project's folder."""
    made = convolutions()
    array = weight(made, "w1").copy()
    array.reshape(-1)[:DENORMAL] = 1e-40
    set_weight(made, "w1", array)
    onnx.save(made, str(project.folder / "model.onnx"))
    return made


def _said(results: Any) -> list[str]:
    warnings = results.warnings
    return [] if warnings.empty else sorted(warnings[warnings.code == "A02"].message)


def test_precisions_are_made_and_are_what_runs(project: Any, model: onnx.ModelProto) -> None:
    text = SCENARIO + "".join(
        f'[[backend]]\nuse = "{name}"\nprecision = ["fp32", "fp16", "int8"]\n' for name in ("ort-cpu", "openvino")
    )
    outcome, results = project.run(text)
    rows = {(row["name"], row["precision"]): row for row in outcome.rows}
    for name in ("ort-cpu", "openvino"):
        assert rows[name, "fp16"]["status"] == "UNSUPPORTED"
        assert f"{name} does not compute in fp16: " in rows[name, "fp16"]["status_reason"]
        for precision, steps in (("fp32", "FixedBatchOnnx"), ("int8", "FixedBatchOnnx+Int8Onnx")):
            row = rows[name, precision]
            assert (row["status"], row["status_reason"]) == ("OK", None)
            assert row["precision_effective"] == precision
            assert row["artifact_steps"] == steps
            assert row["accuracy"] in ("pass", "warn")
    assert json.loads(rows["ort-cpu", "int8"]["facts"])["integer_nodes"] == 3
    said = _said(results)
    assert len([text for text in said if "Int8Onnx: calibrated with random inputs" in text]) == 2
    denormal = [text for text in said if f"{DENORMAL} of 828 float32 weights are denormal" in text]
    assert len(denormal) == 2 and all("[steps.DenormalFreeWeights]" in text for text in denormal)  # the fp32 rows


def test_wishes_run_nothing_is_left_to_warn_of_and_the_model_stays(project: Any, model: onnx.ModelProto) -> None:
    path: Path = project.folder / "model.onnx"
    before = path.read_bytes()
    text = SCENARIO + '[steps.SimplifiedOnnx]\n[steps.DenormalFreeWeights]\n[[backend]]\nuse = "ort-cpu"\n'
    outcome, results = project.run(text)
    (row,) = outcome.rows
    assert row["status"] == "OK"
    assert sorted(row["artifact_steps"].split("+")) == ["DenormalFreeWeights", "FixedBatchOnnx", "SimplifiedOnnx"]
    assert _said(results) == []
    assert path.read_bytes() == before


def test_int8_kernels_that_do_not_run_are_a_fallback(project: Any, model: onnx.ModelProto) -> None:
    """Without graph optimisation ONNX Runtime dequantises and computes in floats."""
    text = SCENARIO + '[[backend]]\nuse = "ort-cpu"\nprecision = ["int8"]\noptions = { optimization = "disabled" }\n'
    outcome, _ = project.run(text)
    (row,) = outcome.rows
    assert row["status"] == "FALLBACK"
    assert "asked for the precision int8, fp32 is in effect" in row["status_reason"]


def test_new_calibration_data_make_a_new_artifact(
    project: Any, model: onnx.ModelProto, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    given = {"Int8Onnx": {"calibration": "data"}}
    wanted = Wanted.by(registry.backend("ort-cpu"), "int8", specialize=False, given=given)

    def made() -> Made:
        source = builder.resolve(registry.model_source("onnx"), "model.onnx", root=project.folder, seed=0, weights=None)
        return builder.make(source.artifact, wanted, inputs=IMAGE, profile=BATCH)

    seconds = []
    (project.folder / "data").mkdir()
    for seed in (0, 0, 1):
        np.save(project.folder / "data/a.npy", np.random.default_rng(seed).standard_normal((3, 8, 8), np.float32))
        with making(registry) as builder:
            result = made()
        assert not [text for text in result.warnings if "random" in text]
        seconds.append(result.seconds)
    assert (seconds[0] > 0, seconds[1] > 0, seconds[2] > 0) == (True, False, True)
