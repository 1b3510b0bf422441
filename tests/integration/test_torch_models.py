"""Models from torch in a worker: their inputs and outputs, exports, precisions and weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest

from benchfw.artifacts import Builder, Made, ResolvedModel
from benchfw.artifacts.routes import Wanted
from benchfw.errors import BackendError, BadReference, BuildFailed
from benchfw.executors.making import making
from benchfw.plugins import Registry
from benchfw.spec.tensors import AxisRange, Profile, TensorSpec

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief")]

NETS = """
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass
class Scores:
    scores: Any
    parts: Any
    unused: Any = None


class Mixed(nn.Module):
    # int64 [batch, words]; a dict of two and a tuple of two float32 [batch, 8]
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, pair, ids, state):
        mean = self.table(ids).mean(1) + state["h"] * state["c"] + pair[0] - 2 * pair[1]
        return Scores(self.head(mean), {"mean": mean, "first": ids[:, 0]})


class Linear(nn.Module):
    value = 0.5

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        with torch.no_grad():
            self.weight[1, 2] = self.value

    def forward(self, x):
        return x @ self.weight


class Nan(Linear):
    value = float("nan")


class Huge(Linear):
    value = 1e6


class Denormal(Linear):
    value = 1e-40


class AlsoDenormal(Denormal):
    pass


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 16)

    def forward(self, x):
        heads = self.first(x).view(1, 1, -1, 16)
        seen = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool)
        return self.second(nn.functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=seen))


class KeepsOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 64), nn.Linear(64, 2)

    def forward(self, x):
        kept = self.first(x).float()
        return nn.functional.linear(kept, self.last.weight.float(), self.last.bias.float())


class Eigen(nn.Module):
    def forward(self, x):
        return torch.linalg.eigh(x @ x.T)[0]


class BySize(nn.Module):
    def forward(self, x):
        return 2 * x if x.shape[0] > 2 else x
"""

RUN = """
name = "several"
threads = 1
[model]
ref = "python:nets:Mixed"
[model.inputs.ids]
shape = [-1, -1]
dtype = "int64"
high = 50
[model.inputs."state.h"]
shape = ["batch", 8]
[model.inputs."state.c"]
shape = ["batch", 8]
[model.inputs."pair.0"]
shape = [-1, 8]
[model.inputs."pair.1"]
shape = [-1, 8]
[shapes]
batch = { min = 1, opt = 3, max = 4 }
ids_1 = { min = 2, opt = 5, max = 9 }
[[sweep]]
kind = "fixed"
[measure]
effort = "quick"
budget = "1s"
[[backend]]
use = "torch-eager"
precision = ["fp32", "bf16"]
[[backend]]
use = "ort-cpu"
"""

BATCH = AxisRange(min=1, opt=3, max=4)
WORDS = AxisRange(min=2, opt=5, max=9)
X = [TensorSpec(name="x", dtype="float32", shape=("batch", 4))]
MIXED = [
    TensorSpec(name="ids", dtype="int64", shape=("batch", "words"), low=0, high=50),
    *(
        TensorSpec(name=name, dtype="float32", shape=("batch", 8))
        for name in ("state.h", "state.c", "pair.0", "pair.1")
    ),
]


class Maker:
    """Resolves and exports the models of NETS, in one worker."""

    def __init__(self, builder: Builder, registry: Registry, root: Path) -> None:
        self.builder = builder
        self._source = registry.model_source("python")
        self._root = root

    def resolve(self, name: str) -> ResolvedModel:
        target = name if ":" in name else f"nets:{name}"
        return self.builder.resolve(self._source, target, root=self._root, seed=0, weights=None)

    def make(self, name: str, *, inputs: Any = X, precision: str = "fp32", asked: Any = (), **options: Any) -> Made:
        """Export for a range of the batch."""
        axes = {axis: range_ for axis, range_ in (("batch", BATCH), ("words", WORDS)) if axis in str(inputs)}
        wanted = Wanted(
            accepts=("onnx",), precision=precision, given={"OnnxFromTorch": options, **{name: {} for name in asked}}
        )
        return self.builder.make(self.resolve(name).artifact, wanted, inputs=inputs, profile=Profile(axes))


@pytest.fixture(scope="module")
def maker(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    root = tmp_path_factory.mktemp("nets")
    (root / "nets.py").write_text(NETS)
    (root / "lacking.py").write_text("import nowhere\n")
    with making(registry) as builder:
        assert builder.worker.alive
        yield Maker(builder, registry, root)


@pytest.fixture(scope="module")
def mixed(maker: Maker) -> Made:
    return maker.make("Mixed", inputs=MIXED)


def _graph(made: Made) -> onnx.ModelProto:
    onnx.checker.check_model(made.artifact.path)
    return onnx.load(made.artifact.path)


def _shapes(values: Any) -> dict[str, list[Any]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


def _types(values: Any) -> set[int]:
    return {value.type.tensor_type.elem_type for value in values}


def test_dicts_tuples_and_dataclasses_become_named_inputs_and_outputs_with_dynamic_axes(mixed: Made) -> None:
    graph = _graph(mixed).graph
    assert _shapes(graph.input) == {
        "pair.0": ["batch", 8],
        "pair.1": ["batch", 8],
        "ids": ["batch", "words"],
        "state.h": ["batch", 8],
        "state.c": ["batch", 8],
    }
    assert {name: shape[0] for name, shape in _shapes(graph.output).items()} == {
        "scores": "batch",
        "parts.mean": "batch",
        "parts.first": "batch",
    }
    assert {tensor.name for tensor in graph.initializer} >= {"table.weight", "head.weight"}, "names of the weights"


def test_an_export_is_compared_with_the_model(mixed: Made) -> None:
    meta = mixed.artifact.meta
    assert meta["compared_by"].startswith("onnxruntime ")
    assert set(meta["errors"]) == {"scores", "parts.mean", "parts.first"}
    assert all(error["rel_l2"] < 1e-5 for error in meta["errors"].values())
    assert (meta["exporter"], meta["opset"]) == ("dynamo", 20)
    graph = onnx.load(mixed.artifact.path, load_external_data=False)
    assert graph.ir_version == 9, "that of opset 20, so that ONNX Runtime 1.17 takes it"
    assert meta["nodes"] == len(_graph(mixed).graph.node) and meta["seconds"] > 0
    assert mixed.warnings == ()


def test_half_precision_keeps_the_types_of_both_ends_and_data_may_lie_beside(maker: Maker) -> None:
    made = maker.make("Mixed", inputs=MIXED, precision="fp16", external_data="always")
    graph = _graph(made).graph
    types = onnx.TensorProto
    assert _types(graph.input) == {types.FLOAT, types.INT64} == _types(graph.output)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    assert weights["table.weight"].data_type == types.FLOAT16
    assert made.artifact.precision == "fp16"
    assert 1e-5 < made.artifact.meta["errors"]["scores"]["rel_l2"] < 5e-3
    data = Path(made.artifact.path).with_name("model.onnx.data")
    assert data.stat().st_size >= 50 * 8 * 2


def test_the_older_exporter_makes_older_opsets_and_half_ends_on_request(maker: Maker) -> None:
    made = maker.make(
        "Linear", precision="fp16", exporter="torchscript", opset=17, keep_io_types=False, external_data="always"
    )
    graph = _graph(made)
    assert graph.opset_import[0].version == 17 == made.artifact.meta["opset"]
    assert _types([*graph.graph.input, *graph.graph.output]) == {onnx.TensorProto.FLOAT16}
    assert _shapes(graph.graph.input) == {"x": ["batch", 4]}
    assert sorted(path.name for path in Path(made.artifact.path).parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
        "sidecar.json",
    ]


def test_a_model_that_cannot_be_exported_names_the_line(maker: Maker) -> None:
    line = NETS.splitlines().index("        if x.sum() > 0:") + 1
    with pytest.raises(BuildFailed, match=rf"torch\.onnx\.export \(dynamo, opset 20\): .*nets\.py:{line} in forward"):
        maker.make("Branch")


def test_an_operator_that_onnx_has_not_is_named(maker: Maker) -> None:
    with pytest.raises(BuildFailed, match=r"torchscript, opset 20\): .*'aten::linalg_eigh' .* is not supported"):
        maker.make("Eigen", exporter="torchscript")


def test_a_traced_branch_is_a_warning(maker: Maker) -> None:
    x = [TensorSpec(name="x", dtype="float32", shape=("batch", 4), low=1, high=2)]
    made = maker.make("Branch", inputs=x, exporter="torchscript")
    assert any("tracing: Converting a tensor to a Python boolean" in text for text in made.warnings)


def test_an_export_that_is_not_the_model_at_another_size_is_refused(maker: Maker) -> None:
    with pytest.raises(
        BuildFailed, match=r"output 'output' .* at min \(batch 1\): relative L2 1.0e\+00 is above 1e-05"
    ):
        maker.make("BySize", exporter="torchscript")


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("y", ("batch", 4), r"the model has no parameter 'y': Linear\.forward takes x"),
        (
            "x",
            ("batch", 5),
            r"the model fails at opt \(batch 3\) on x \[3, 5\]: RuntimeError: .*nets\.py:\d+ in forward",
        ),
    ],
    ids=["name", "shape"],
)
def test_inputs_that_do_not_fit_the_model(maker: Maker, name: str, shape: Any, reason: str) -> None:
    with pytest.raises(BackendError, match=reason):
        maker.make("Linear", inputs=[TensorSpec(name=name, dtype="float32", shape=shape)])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nets:Nothing", "python:nets:Nothing: nets has no callable 'Nothing'"),
        ("nowhere:Net", "python:nowhere:Net: No module named 'nowhere'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told_from_a_model_that_is_broken(
    maker: Maker, target: str, words: str
) -> None:
    with pytest.raises(BadReference) as caught:
        maker.resolve(target)
    assert caught.value.message == words and caught.value.hint


def test_a_module_that_cannot_import_what_it_needs_is_there_and_broken(maker: Maker) -> None:
    with pytest.raises(BuildFailed, match="python:lacking:Net: No module named 'nowhere'"):
        maker.resolve("lacking:Net")


def test_weights_that_are_nan_are_refused_by_name(maker: Maker) -> None:
    with pytest.raises(BuildFailed, match=r"weights of python:nets:Nan: 1 NaN in 'weight'$"):
        maker.resolve("Nan")


def test_weights_that_are_too_large_for_half_precision_are_refused_by_name(maker: Maker) -> None:
    with pytest.raises(BuildFailed, match=r"'weight' has values up to 1e\+06, fp16 ends at 65504"):
        maker.make("Huge", precision="fp16", exporter="torchscript")


def test_a_graph_that_goes_on_in_fp32_is_no_fp16(maker: Maker) -> None:
    with pytest.raises(BuildFailed, match="78% of the weights of the fp16 graph are float32"):
        maker.make("Masked", precision="fp16", exporter="torchscript", opset=16)
    graph = _graph(maker.make("Masked", precision="fp16")).graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 2]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}
    kept = maker.make("KeepsOne", precision="fp16", exporter="torchscript")
    assert any("29% of the weights of the fp16 graph are float32" in text for text in kept.warnings)


def test_denormal_weights_are_counted_and_zeroed_on_request(maker: Maker) -> None:
    left = maker.make("Denormal", exporter="torchscript")
    assert any("1 of 16 weights are denormal" in text for text in left.warnings)
    made = maker.make("Denormal", exporter="torchscript", asked=["DenormalFreeTorch"])
    assert made.steps == ("DenormalFreeTorch", "OnnxFromTorch") and made.warnings == ()
    weights = {
        made.artifact.sha256: onnx.numpy_helper.to_array(_graph(made).graph.initializer[0]) for made in (left, made)
    }
    assert weights[left.artifact.sha256][1, 2] != 0
    assert weights[made.artifact.sha256][1, 2] == 0
    assert np.count_nonzero(weights[left.artifact.sha256] != weights[made.artifact.sha256]) == 1


def test_models_with_the_same_weights_stay_apart_once_denormals_are_gone(maker: Maker) -> None:
    wanted = Wanted(accepts=("torch",), given={"DenormalFreeTorch": {}})
    profile = Profile({"batch": BATCH})
    made = [
        maker.builder.make(maker.resolve(name).artifact, wanted, inputs=X, profile=profile)
        for name in ("Denormal", "AlsoDenormal")
    ]
    assert made[0].artifact.sha256 != made[1].artifact.sha256
    assert [item.artifact.meta["ref"] for item in made] == ["python:nets:Denormal", "python:nets:AlsoDenormal"]
    assert [item.artifact.meta["zeroed_by_tensor"] for item in made] == [{"weight": 1}] * 2
    as_it_is = maker.builder.make(
        maker.resolve("Denormal").artifact, Wanted(accepts=("torch",)), inputs=X, profile=profile
    )
    assert any("denormal" in text for text in as_it_is.warnings)


@pytest.mark.usefixtures("brief")
def test_several_inputs_run_in_several_precisions(project: Any) -> None:
    (project.folder / "nets.py").write_text(NETS)
    outcome, _ = project.run(RUN)
    rows = {(row["name"], row["precision"]): row for row in outcome.rows}
    assert {key: (row["status"], row["status_reason"]) for key, row in rows.items()} == dict.fromkeys(
        [("torch-eager", "fp32"), ("torch-eager", "bf16"), ("ort-cpu", "fp32")], ("OK", None)
    )
    for (_, precision), row in rows.items():
        assert row["precision_effective"] == precision
        assert json.loads(row["facts"])["io_dtype"] == "float32+int64"
    errors = [rows["torch-eager", precision]["rel_l2"] for precision in ("fp32", "bf16")]
    assert errors == sorted(errors) and errors[1] > 0


def test_without_onnxruntime_the_evaluator_of_onnx_compares(mixed: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from benchfw.spec.values import random_inputs

    pytest.importorskip("torch")
    from benchfw_torch import compared, samples

    inputs = random_inputs(MIXED, {"batch": 2, "words": 3})
    expected = _run(mixed.artifact.path, inputs)
    path = Path(mixed.artifact.path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    sample = samples.Sample(where="at opt", inputs=inputs, outputs=expected)
    result = compared.compare_graph(path, [sample], "fp32")
    assert result.runtime is not None and result.runtime.startswith("onnx.reference")
    assert set(result.errors) == set(expected) and not result.notes
    wrong = samples.Sample(where="at opt", inputs=inputs, outputs={**expected, "scores": expected["scores"] + 1})
    with pytest.raises(BuildFailed, match=r"output 'scores' of the exported graph is not the model's, at opt"):
        compared.compare_graph(path, [wrong], "fp32")
    monkeypatch.setattr(compared, "_REFERENCE_BYTES", 0)
    (note,) = compared.compare_graph(path, [sample], "fp32").notes
    assert "not compared" in note and "onnxruntime cannot be imported" in note and "too much for onnx.reference" in note


def _run(path: str, inputs: Any) -> dict[str, Any]:
    evaluator = onnx.reference.ReferenceEvaluator(path)
    return dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))
