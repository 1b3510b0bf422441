"""ONNX files from strangers: external data stays in the model's folder, wherever in the model it is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchfw.builtin.onnx_files import FixedBatchOnnx, OnnxSource, external_files
from benchfw.errors import BuildFailed
from benchfw.spec.onnx_files import oddities
from benchfw.spec.tensors import Profile

DATA = np.arange(4, dtype=np.float32)


def _tensor(location: str | None = None, **entries: str) -> TensorProto:
    """Return a tensor of four floats, its data in a file if that is named."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], DATA.tobytes(), raw=True)
    if location is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)
    return tensor


def _model(*nodes: onnx.NodeProto, initializer: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    add = helper.make_node("Add", ["x", "w"], ["y"])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*nodes, add],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", TensorProto.FLOAT, ["batch", 4])],
        initializer=initializer,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=tensor)


def _sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(tensor, helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3]), [8])


def _in_subgraph(tensor: TensorProto) -> onnx.ModelProto:
    inner = helper.make_graph(
        [_constant(tensor)], "i", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])]
    )
    branch = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    outer = helper.make_graph([branch], "o", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
    return _model(helper.make_node("Loop", ["n", "c"], ["w"], body=outer))


def _in_function(tensor: TensorProto) -> onnx.ModelProto:
    model = _model()
    model.functions.append(
        helper.make_function("own", "F", [], ["w"], [_constant(tensor)], [helper.make_opsetid("", 18)])
    )
    return model


def _in_training(tensor: TensorProto) -> onnx.ModelProto:
    model = _model()
    model.training_info.add().initialization.initializer.append(tensor)
    return model


def _as_sparse_initializer(tensor: TensorProto) -> onnx.ModelProto:
    model = _model()
    model.graph.sparse_initializer.append(_sparse(tensor))
    return model


PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": lambda tensor: _model(initializer=(tensor,)),
    "sparse initializer": _as_sparse_initializer,
    "attribute": lambda tensor: _model(_constant(tensor)),
    "attribute list": lambda tensor: _model(helper.make_node("X", [], ["w"], many=[tensor])),
    "sparse attribute": lambda tensor: _model(helper.make_node("Constant", [], ["w"], sparse_value=_sparse(tensor))),
    "subgraph": _in_subgraph,
    "function": _in_function,
    "training": _in_training,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(DATA.tobytes())
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    for name in ("w.bin", "below/w.bin"):
        (folder / name).write_bytes(DATA.tobytes())
    return folder


def _resolve(model: onnx.ModelProto, folder: Path) -> Any:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return OnnxSource().resolve("m.onnx", root=folder, destination=folder, seed=0, weights=None)[0]


def _refusal(folder: Path, location: str, **entries: str) -> str:
    with pytest.raises(BuildFailed) as caught:
        _resolve(_model(initializer=(_tensor(location, **entries),)), folder)
    return caught.value.message


@pytest.mark.parametrize("place", PLACES)
def test_every_tensor_is_found(place: str, folder: Path) -> None:
    model = PLACES[place](_tensor("w.bin"))
    assert set(external_files(model, folder / "m.onnx")) == {folder.resolve() / "w.bin"}
    before = _resolve(model, folder).sha256
    (folder / "w.bin").write_bytes(DATA[::-1].tobytes())
    assert _resolve(model, folder).sha256 != before, "the hash covers the data"
    with pytest.raises(BuildFailed, match="outside"):
        _resolve(PLACES[place](_tensor("../secret")), folder)


@pytest.mark.parametrize("location", ["w.bin", "below/w.bin", "./below/w.bin"])
def test_files_beside_the_model_and_below_are_taken(location: str, folder: Path) -> None:
    _resolve(_model(initializer=(_tensor(location, offset="4", length="12"),)), folder)


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "below/../../secret",
        "..",
        "/etc/hostname",
        "//host/x",
        "..\\secret",
        "below\\w.bin",
        "C:\\x",
        "C:x",
    ],
)
def test_other_folders_are_refused(location: str, folder: Path) -> None:
    assert "outside" in _refusal(folder, location)


def test_links_out_of_the_folder_are_refused(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    assert "outside" in _refusal(folder, "link")
    assert "outside" in _refusal(folder, "up/secret")
    assert "loop" in _refusal(folder, "loop")
    (folder / "inside").symlink_to(folder / "w.bin")
    _resolve(_model(initializer=(_tensor("inside"),)), folder)


def test_what_is_no_file_is_refused_without_opening_it(folder: Path) -> None:
    os.mkfifo(folder / "fifo")  # opening it would wait for ever
    for location in ("fifo", "below", "", "."):
        assert "is no file" in _refusal(folder, location)
    assert "does not exist" in _refusal(folder, "none")
    for location in ("x" * 5000, "a\0b"):
        assert "cannot be read" in _refusal(folder, location)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "8", "length": "12"}, "said to end at 20"),
        ({"offset": "17"}, "said to end at 17"),
        ({"length": "9" * 30}, "has 16 bytes"),
        ({"offset": "-4", "length": "8"}, "has 16 bytes"),
        ({"offset": "four"}, "whole numbers"),
        ({"length": "9" * 5000}, "whole numbers"),
    ],
)
def test_a_tensor_lies_within_its_file(entries: dict[str, str], reason: str, folder: Path) -> None:
    assert reason in _refusal(folder, "w.bin", **entries)


def test_two_locations_of_one_tensor_are_refused(folder: Path) -> None:
    tensor = _tensor("w.bin")
    tensor.external_data.add(key="location", value="../secret")
    with pytest.raises(BuildFailed, match="twice"):
        _resolve(_model(initializer=(tensor,)), folder)


@pytest.mark.parametrize("place", PLACES)
def test_a_static_copy_holds_all_of_its_data(place: str, folder: Path, tmp_path: Path) -> None:
    artifact = _resolve(PLACES[place](_tensor("w.bin")), folder)
    copy = tmp_path / "copy.onnx"
    profile = Profile.fixed({"batch": 2})
    FixedBatchOnnx({}).run(artifact, inputs=(), profile=profile, precision="fp32", destination=copy)
    model = onnx.load_model(str(copy), load_external_data=False)
    assert not list(external_files(model, copy))
    assert DATA.tobytes() in copy.read_bytes()


def test_what_is_odd_about_a_graph_is_named_with_a_node(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]

    def said(*nodes: onnx.NodeProto, opset: int = 18, functions: Any = ()) -> str | None:
        domains = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
        graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:])
        path.write_bytes(
            helper.make_model(graph, opset_imports=domains, functions=functions, ir_version=9).SerializeToString()
        )
        return oddities(path)

    relu, own = helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Twice", ["x"], ["y"], domain="mine")
    assert said(relu) is None
    assert said(own) == "not among the operators of ONNX, opset 18: mine.Twice (node 'y'); replace them in the model"
    body = helper.make_node("Add", ["a", "a"], ["b"])
    twice = helper.make_function("mine", "Twice", ["a"], ["b"], [body], [helper.make_opsetid("", 18)])
    assert said(own, functions=[twice]) is None, "the model has it itself"
    assert "Gelu (node 'late')" in str(said(helper.make_node("Gelu", ["x"], ["y"], name="late"), opset=19)), "since 20"
    branches = {
        f"{name}_branch": helper.make_graph([helper.make_node("Odd", [], ["z"], name=name)], name, [], [])
        for name in ("then", "else")
    }
    assert "Odd (node '" in str(said(helper.make_node("If", ["x"], ["y"], **branches)))
    assert str(said(relu, opset=10_000)).startswith("the model has opset 10000, ONNX itself ends at ")
    path.write_bytes(b"no model")
    assert oddities(path) is None
