"""`benchfw export`, `simplify`, `quantize`: the result at its place, and nothing else changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from benchfw.artifacts.builder import Builder
from benchfw.builtin.onnx_copies import copy
from benchfw.errors import BackendError, ResultError
from benchfw.testing.models import FEATURES, evaluate, write_perceptron

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Cli


@pytest.fixture
def model(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A perceptron with its weights in a file of their own, and a cache for it."""
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    path = write_perceptron(tmp_path / "in.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    return path


def outputs(path: Path) -> NDArray[Any]:
    return evaluate(path, {"x": np.linspace(-1, 1, FEATURES, dtype=np.float32)[None]})["y"]


def shape(path: Path) -> list[str | int]:
    dims = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return [dim.dim_param or dim.dim_value for dim in dims]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_copy_takes_its_external_data_along_under_its_own_name(cli: Cli, tmp_path: Path, model: Path) -> None:
    before = content(tmp_path)
    (tmp_path / "sub").mkdir()
    out, _ = cli("export", "in.onnx", "-o", "sub/out.onnx", "--batch", "dynamic")
    assert "sub/out.onnx: " in out and "with sub/out.onnx.data" in out and "4 nodes, opset 17, fp32" in out
    assert content(tmp_path) == before, "nothing else has changed"
    assert sorted(content(tmp_path / "sub")) == ["out.onnx", "out.onnx.data"]
    (tmp_path / "weights.bin").unlink()
    np.testing.assert_array_equal(
        outputs(tmp_path / "sub/out.onnx"), outputs(write_perceptron(tmp_path / "again.onnx"))
    )
    assert shape(tmp_path / "sub/out.onnx") == ["batch", FEATURES]


def test_copies_share_what_the_model_shares(tmp_path: Path, model: Path) -> None:
    graph = onnx.load(model, load_external_data=False)
    twin = graph.graph.initializer.add()
    twin.CopyFrom(graph.graph.initializer[0])
    twin.name = "twin"
    onnx.save(graph, model)
    copy(model, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").stat().st_size < 1.2 * (tmp_path / "weights.bin").stat().st_size
    places = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer
    ]
    assert places[0] == places[-1] and places[0]["location"] == "out.onnx.data"
    assert all(int(place["offset"]) % 4096 == 0 for place in places if place)


def test_one_shape(cli: Cli, tmp_path: Path, model: Path) -> None:
    told = json.loads(cli("export", "in.onnx", "-o", "out.onnx", "--batch", "4", "--json")[0])
    assert [step["step"] for step in told["steps"]] == ["FixedBatchOnnx"]
    assert told["profile"] == {"batch": "4"} and told["nodes"] == 4
    assert shape(tmp_path / "out.onnx") == [4, FEATURES]
    again = json.loads(cli("export", "in.onnx", "-o", "b.onnx", "--batch", "4", "--json")[0])
    assert again["seconds"] == 0.0, "from the cache"
    assert content(tmp_path)["b.onnx"] == content(tmp_path)["out.onnx"]


def test_nothing_is_overwritten_unasked(cli: Cli, tmp_path: Path, model: Path) -> None:
    (tmp_path / "out.onnx").write_bytes(b"mine")
    _, err = cli("export", "in.onnx", "-o", "out.onnx", code=2)
    assert "out.onnx is there already" in err and "--force" in err
    assert content(tmp_path)["out.onnx"] == b"mine"
    cli("export", "in.onnx", "-o", "out.onnx", "--force")
    assert shape(tmp_path / "out.onnx") == [1, FEATURES]
    before = content(tmp_path)
    (tmp_path / "link.onnx").symlink_to(model)
    for name in ("in.onnx", "link.onnx"):
        assert "never changed" in cli("simplify", "in.onnx", "-o", name, "--force", code=2)[1]
    (tmp_path / "free.onnx.data").write_bytes(b"somebody's")
    assert "belongs to something else" in cli("export", "in.onnx", "-o", "free.onnx", "--force", code=2)[1]
    assert "there is no folder" in cli("export", "in.onnx", "-o", "no/x.onnx", code=2)[1]
    assert {name: data for name, data in content(tmp_path).items() if name in before} == before


def test_a_full_disk_is_told_with_the_place(
    cli: Cli, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(builder: Builder, kind: str, *rest: object, **values: object) -> None:
        raise BackendError("OSError: [Errno 28] No space left on device: 'here' -> 'there'")

    monkeypatch.setattr(Builder, "ask_format", full)
    before = content(tmp_path)
    _, words = cli("export", "in.onnx", "-o", "out.onnx", code=ResultError.exit_code)
    assert "out.onnx cannot be written" in words and "No space left" in words and "free some space" in words
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["simplify", "--set", "toll=x"], "did you mean 'tool'?"),
        (["simplify", "--tool", "hammer"], "'onnxsim'"),
        (["quantize", "--set", "method=guess"], "method"),
        (["quantize", "--recipe", "gpu"], "recipe"),
        (["export", "--set", "opset=17"], "no step exports 'onnx'"),
        (["export", "--opset", "17"], "no step exports 'onnx'"),
        (["export", "--set", "Int8Onx.recipe=cpu"], "did you mean 'Int8Onnx'?"),
        (["export", "--batch", "many"], "--batch many"),
        (["export", "--batch", "4:2:8"], "--batch 4:2:8"),
        (["export", "--size", "words=3"], "no such axis"),
    ],
)
def test_wishes_that_cannot_be(cli: Cli, tmp_path: Path, model: Path, arguments: list[str], reason: str) -> None:
    command, *rest = arguments
    before = set(content(tmp_path))
    assert reason in cli(command, "in.onnx", "-o", "out.onnx", *rest, code=2)[1]
    assert set(content(tmp_path)) == before


def test_options_of_an_export_are_those_of_its_step(cli: Cli, tmp_path: Path) -> None:
    _, err = cli("export", "builtin:resnet18", "-o", "x.onnx", "--set", "opsett=18", code=2)
    assert "steps.OnnxFromTorch.opsett: unknown option (did you mean 'opset'?)" in err
    assert "OnnxFromTorch.opset" in cli("export", "builtin:resnet18", "-o", "x.onnx", "--opset", "3", code=2)[1]


def test_a_step_runs_that_an_option_is_given_for(cli: Cli, tmp_path: Path, model: Path) -> None:
    graph = onnx.load(model)
    weight = graph.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = 1e-40
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(graph, tmp_path / "tiny.onnx")
    assert "1e-40" in cli("inspect", "tiny.onnx")[0]
    told = json.loads(
        cli("export", "tiny.onnx", "-o", "out.onnx", "--set", "DenormalFreeWeights.fp16=false", "--json")[0]
    )
    assert [step["step"] for step in told["steps"]] == ["FixedBatchOnnx", "DenormalFreeWeights"]
    assert "denormal" not in cli("inspect", "out.onnx")[0]


def test_simplify_then_quantize(cli: Cli, tmp_path: Path, model: Path) -> None:
    told = json.loads(cli("simplify", "in.onnx", "-o", "simple.onnx", "--json")[0])
    assert [step["step"] for step in told["steps"]] == ["SimplifiedOnnx"] and told["profile"] == {"batch": "1:2:8"}
    np.testing.assert_allclose(outputs(tmp_path / "simple.onnx"), outputs(model), rtol=1e-4, atol=1e-5)
    assert shape(tmp_path / "simple.onnx")[0] == "batch"
    out, _ = cli("quantize", "simple.onnx", "-o", "int8.onnx", "--recipe", "tensorrt")
    assert "int8" in out and "warning: Int8Onnx" in out
    operators = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    _, err = cli("quantize", "int8.onnx", "-o", "again.onnx", code=2)
    assert "int8.onnx computes in int8 already" in err
