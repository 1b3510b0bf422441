"""`benchfw init`: a scenario for whatever model there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import tomllib
from onnx import TensorProto, helper

import benchfw

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Cli

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
GRAPHS: dict[str, dict[str, tuple[int, list[int | str | None]]]] = {
    "static": {"x": (FLOAT, [2, 3])},
    "one axis": {"x": (FLOAT, ["N", 3])},
    "two axes and integers": {"ids": (INT64, ["batch", "words.1"]), "mask": (INT64, ["batch", "words.1"])},
    "odd": {'x."\n]': (FLOAT, ["größe", "1x", 4])},
    "no name": {"x": (FLOAT, [None, None])},
    "scalar": {"scale": (FLOAT, []), "x": (FLOAT, ["kind", 2])},
}


def write_graph(path: Path, inputs: dict[str, tuple[int, list[int | str | None]]]) -> None:
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    last = values[-1]
    output = helper.make_tensor_value_info("out", last.type.tensor_type.elem_type, None)
    graph = helper.make_graph([helper.make_node("Identity", [last.name], ["out"])], "g", values, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_scenario_for_a_graph_loads_and_can_be_planned(name: str, cli: Cli, tmp_path: Path) -> None:
    write_graph(tmp_path / f"{name}.onnx", GRAPHS[name])
    out, err = cli("init", f"{name}.onnx")
    path = out.strip()
    assert path == f"{name.replace(' ', '-')}.toml"
    assert f"next: benchfw plan {path}" in err
    assert {case["status"] for case in planned(cli, path)} == {"planned"}
    document = document_of(path)
    inputs = document["model"]["inputs"]
    assert list(inputs) == list(GRAPHS[name])
    has_axes = any(not isinstance(dim, int) for _, shape in GRAPHS[name].values() for dim in shape)
    assert ("batch" in document.get("shapes", {})) == has_axes  # whatever the graph calls its leading axis


def test_a_scenario_runs_as_it_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "mine").mkdir()
    write_graph(tmp_path / "models/net.onnx", GRAPHS["two axes and integers"])
    out, err = cli("init", "onnx:models/net.onnx", "-o", "mine/first.toml", "-q")
    assert (out, err) == ("mine/first.toml\n", "")
    assert document_of("mine/first.toml")["model"]["ref"] == "onnx:../models/net.onnx"
    only = ("--backend", "ort-cpu", "--set", "accuracy.reference=ort-cpu", "--sweep", "fixed")
    _, err = cli("run", "mine/first.toml", *only, "--set", "measure.budget=200ms", "-q")
    assert err == ""
    (run,) = benchfw.load("results").manifests
    assert run["state"] == "finished"
    cases = benchfw.load("results").cases
    assert set(cases["status"]) == {"OK"}


def test_a_file_is_never_overwritten(cli: Cli, tmp_path: Path) -> None:
    write_graph(tmp_path / "net.onnx", GRAPHS["static"])
    (tmp_path / "net.toml").symlink_to("nowhere.toml")
    _, err = cli("init", "net.onnx", code=2)
    assert err == "error: net.toml is there already\nhint: -o FILE writes to another file\n"
    assert not (tmp_path / "nowhere.toml").exists()


def test_a_model_that_does_not_know_its_inputs_is_told_them(cli: Cli, tmp_path: Path) -> None:
    out, _ = cli("init", "python:models.mlp:make", "--input", "ids=batchxwords:int64", "-v")
    text = Path(out.strip()).read_text()
    assert 'ref = "python:models.mlp:make" # MODULE:CALLABLE, found from here first; runs your code' in text
    assert 'ids = { shape = ["batch", "words"], dtype = "int64", low = 0, high = 2 }' in text
    assert {case["status"] for case in planned(cli, out.strip())} == {"planned"}


@pytest.mark.framework
def test_who_says_nothing_of_inputs_is_asked_for_them(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(2, 2)\n")
    _, err = cli("init", "python:net:make", code=2)
    assert "error: python:net:make does not say what its inputs are" in err
    assert "hint: --input NAME=DIMxDIM[:DTYPE]" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.onnx",), "no such ONNX file: absent.onnx"),
        (("onxx:net.onnx",), "no plugin provides the model source 'onxx'"),
        (("python:m:f", "--input", "x=99999999999x2"), "no scenario can be made of this: model.inputs.x.shape[0]"),
        (("python:m:f", "--input", "x=3", "--input", "x=4"), "--input x=4: x has been given before"),
        (("null:x",), "null:x is no model to start from"),
        (("python:m:f", "--input", "x=2", "-o", "nowhere/s.toml"), "nowhere/s.toml cannot be written"),
        (("python:m:f\n", "--input", "x=2"), "no scenario can be made of this: model.ref"),
    ],
)
def test_mistakes(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    _, err = cli("init", *arguments, code=2)
    assert err.startswith(f"error: {words}") or f"\nerror: {words}" in err
    assert not list(tmp_path.rglob("*.toml"))


@pytest.mark.parametrize(
    "text", ["x", "=3", " =3", "x=", "x=0x2", "x=-1x3", "x=1.5x3", "x= x3", "x=²x3", "x=3x", "x=xx", "x=03", "x=3:"]
)
@pytest.mark.parametrize("command", [("init",), ("time", "--backend", "null")])
def test_an_input_is_sizes_and_names_of_axes(cli: Cli, command: tuple[str, ...], text: str) -> None:
    _, err = cli(*command, "python:m:f", "--input", text, code=2)
    assert f"error: --input {text}: is not NAME=DIMxDIM[:DTYPE]" in err
    assert "\nhint: --input NAME=DIMxDIM[:DTYPE], as in " in err


def test_a_dash_is_stdout(cli: Cli, tmp_path: Path) -> None:
    out, err = cli("init", "python:models.mlp:make", "--input", "x=batchx3", "-o", "-", "-q")
    assert tomllib.loads(out)["model"]["inputs"]["x"]["shape"] == ["batch", 3]
    assert (err, list(tmp_path.iterdir())) == ("", [])


def test_no_backend_for_a_model(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_entry_points: None
) -> None:
    monkeypatch.setenv("BENCHFW_PLUGINS", "")
    write_graph(tmp_path / "net.onnx", GRAPHS["static"])
    _, err = cli("init", "net.onnx", code=2)
    assert "error: no backend that is ready here can run onnx:net.onnx" in err
    assert "hint: `benchfw backends`" in err


def planned(cli: Cli, path: str) -> list[dict[str, Any]]:
    out, _ = cli("plan", path, "--json")
    cases: list[dict[str, Any]] = json.loads(out)["cases"]
    assert cases
    return cases


def document_of(path: str) -> dict[str, Any]:
    return tomllib.loads(Path(path).read_text(encoding="utf-8"))
