"""`benchfw inspect`: what files hold, and files that are not what they seem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchfw.artifacts.safetensors import describe as describe_safetensors
from benchfw.builtin.onnx_description import describe
from benchfw.errors import BuildFailed
from benchfw.testing.models import write_perceptron
from tests.unit.cli.test_cli_cache import add, cache

if TYPE_CHECKING:
    from benchfw.artifacts import Cache
    from tests.unit.cli.conftest import Cli

__all__ = ["cache"]

ODD = np.array([1.0, -2.0, 1e-40, np.nan, np.inf, 1e-9, 1e5, 0.0], np.float32)


def write_graph(path: Path, weight: np.ndarray[Any, Any], *, location: str = "") -> Path:
    """Write `y = x + w`, its weight in another file if that is named."""
    tensor = numpy_helper.from_array(weight, "w")
    if location:
        (path.parent / "w.bin").write_bytes(b"\0" * 16 + tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "16", "length": str(weight.nbytes)}.items():
            tensor.external_data.add(key=key, value=value)
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    ends = [helper.make_tensor_value_info(name, kind, ["batch", weight.size]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="hand")
    path.write_bytes(model.SerializeToString())
    return path


def write_safetensors(path: Path, header: dict[str, Any], data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_a_model(cli: Cli, tmp_path: Path) -> None:
    write_perceptron(tmp_path / "m.onnx")
    out, _ = cli("inspect", "m.onnx")
    for text in ("m.onnx: onnx, fp32", "opset ai.onnx 17", "batch x 1024", "4 nodes: MatMul 2, Add 1, Relu 1"):
        assert text in out
    facts = json.loads(cli("inspect", "m.onnx", "--json")[0])
    assert facts["inputs"][0]["name"] == "x" and facts["outputs"][0]["shape"] == ["batch", 96]
    assert facts["weights"]["elements"] == 1024 * 64 + 64 + 64 * 96
    assert facts["weights"]["bytes"] == 4 * facts["weights"]["elements"] and facts["bytes"] > facts["weights"]["bytes"]


@pytest.mark.parametrize("location", ["", "w.bin"])
def test_odd_weights_are_counted_wherever_they_lie(tmp_path: Path, location: str) -> None:
    facts = describe(write_graph(tmp_path / "m.onnx", ODD, location=location))
    weights = facts["weights"]
    wanted = {"denormal": 1, "nan": 1, "infinite": 1, "below_fp16": 2, "above_fp16": 1, "min": -2.0, "elements": 8}
    assert {name: weights[name] for name in wanted} == wanted
    assert weights["max"] == 1e5 and weights["smallest"] == pytest.approx(1e-40, rel=1e-4)
    assert facts["external_data"] == ([{"file": "w.bin", "bytes": 48}] if location else [])
    assert facts["operators"] == {"Add": 1} and facts["producer"] == "hand"


def test_denormals_are_those_of_the_type(tmp_path: Path) -> None:
    half = describe(write_graph(tmp_path / "m.onnx", np.array([1e-7, 1.0], np.float16)))
    assert half["weights"]["denormal"] == 1 and half["precision"] == "fp16"
    assert describe(write_graph(tmp_path / "m.onnx", np.array([3], np.int64)))["weights"]["min"] is None


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m.onnx", ODD)
    whole = path.read_bytes()
    describe(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BuildFailed, match=r"m\.onnx"):
            describe(path)


def test_values_that_do_not_fit_the_shape(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m.onnx", ODD)
    model = onnx.load(str(path))
    model.graph.initializer[0].dims[0] = 9
    onnx.save(model, str(path))
    with pytest.raises(BuildFailed, match="do not fit"):
        describe(path)


@pytest.mark.parametrize(("location", "reason"), [("gone.bin", "does not exist"), ("../w.bin", "outside")])
def test_external_data_that_are_missing_or_elsewhere(cli: Cli, tmp_path: Path, location: str, reason: str) -> None:
    write_graph(tmp_path / "m.onnx", ODD, location=location)
    _, err = cli("inspect", "m.onnx", code=2)
    assert reason in err and location in err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "is not an ONNX model"),
        (b"", "is not an ONNX model"),
        (b"ftrt\0\0\0\0", "an engine without its side-car, and no installed plugin tells of such files"),
        (b"PK\x03\x04rest", "can hold code and is not opened"),
        (b"\x80\x02}q", "can hold code and is not opened"),
    ],
)
def test_foreign_files(cli: Cli, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "m.bin").write_bytes(content)
    _, err = cli("inspect", "m.bin", code=2)
    assert reason in err and "m.bin" in err


def test_what_is_not_there(cli: Cli, tmp_path: Path, cache: Cache) -> None:
    _, err = cli("inspect", "absent.onnx", code=2)
    assert "there is no file absent.onnx" in err
    assert "is a folder" in cli("inspect", ".", code=2)[1]


def test_safetensors(cli: Cli, tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [32, 36]},
        "n": {"dtype": "I64", "shape": [1], "data_offsets": [36, 44]},
    }
    bfloat = np.array([3.0, -4.0], np.float32).view(np.uint32) >> 16
    data = ODD.tobytes() + bfloat.astype(np.uint16).tobytes() + bytes(8)
    path = write_safetensors(tmp_path / "w.safetensors", header, data)
    facts = describe_safetensors(path)
    assert facts["weights"]["min"] == -4.0 and facts["weights"]["nan"] == 1 and facts["weights"]["elements"] == 11
    assert [item["dtype"] for item in facts["tensors"]] == ["float32", "bfloat16", "int64"]
    assert "1 denormal, 1 NaN, 1 infinite" in cli("inspect", "w.safetensors")[0]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BuildFailed):
            describe_safetensors(path)
    assert "is not whole" in cli("inspect", "w.safetensors", code=2)[1]


@pytest.mark.parametrize(
    "item",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": "x", "data_offsets": [0, 8]},
        [],
    ],
    ids=str,
)
def test_damaged_safetensors(tmp_path: Path, item: Any) -> None:
    with pytest.raises(BuildFailed, match=r"w\.safetensors"):
        describe_safetensors(write_safetensors(tmp_path / "w.safetensors", {"a": item}, bytes(8)))


def test_an_artifact_and_its_sidecar(cli: Cli, tmp_path: Path, cache: Cache) -> None:
    key = add(cache)
    model = cache.root / "artifacts" / key / "model.onnx"
    _, err = cli("inspect", key, code=2)
    assert "is not an ONNX model" in err
    model.write_bytes(b"changed")
    _, err = cli("inspect", key, code=2)
    assert "is damaged" in err and f"benchfw cache rm {key}" in err


def test_an_engine_is_told_by_its_sidecar(cli: Cli, tmp_path: Path, cache: Cache) -> None:
    recipe = {"step": "E", "options": {"level": 3}, "profile": {"batch": [1, 4, 8]}, "versions": {"trt": "1.7"}}
    folder = cache.folder_for(recipe, "E")
    meta = {"layers": [{"name": "conv", "kind": "Convolution"}], "warnings": ["slow"]}
    with cache.draft(folder) as draft:
        (draft / "model.engine").write_bytes(b"vtrt...")
        cache.add(draft, folder, "model.engine", format="engine", precision="fp16", meta=meta, recipe=recipe, seconds=2)
    copy = tmp_path / "e.engine"
    copy.write_bytes(b"vtrt...")
    (tmp_path / "e.engine.json").write_bytes((folder / "sidecar.json").read_bytes())
    for name in (folder.name, str(folder / "model.engine"), "e.engine"):
        out, _ = cli("inspect", name)
        for text in ("engine, fp16", "step: E", "options: level 3", "kind Convolution, name conv", "  slow"):
            assert text in out
    copy.write_bytes(b"vtrtxxx")
    assert "side-car of another file" in cli("inspect", "e.engine", code=2)[1]


def test_a_plugin_tells_of_files_of_its_format(cli: Cli, tmp_path: Path) -> None:
    """They are known by how they begin, since a file outside of the cache may have no side-car."""
    engine = tmp_path / "e.bin"
    engine.write_text("fake\nconv\nrelu\n")
    lines = cli("inspect", "e.bin")[0].splitlines()
    assert lines == ["e.bin: fake-engine, 15 B", "runtime: fakes", "layers:", "  name conv", "  name relu"]
    facts = json.loads(cli("inspect", "e.bin", "--json")[0])
    assert (facts["format"], facts["layers"]) == ("fake-engine", [{"name": "conv"}, {"name": "relu"}])
    engine.write_text("fake\nco")
    _, err = cli("inspect", "e.bin", code=2)
    assert "e.bin is cut short" in err and "build it again" in err
