"""The steps from ONNX to ONNX on small graphs: what they make, keep and refuse."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from benchfw.builtin.onnx_files import FixedBatchOnnx
from benchfw.errors import BuildFailed, MissingDependency, Unsupported
from benchfw.spec import Artifact, Profile, Step, TensorSpec, onnx_files, samples
from benchfw.spec.samples import seeded
from benchfw_onnxruntime import simplify
from benchfw_onnxruntime.half import HalfOnnx
from benchfw_onnxruntime.options import DenormalOptions, HalfOptions, Int8Options, SimplifyOptions
from benchfw_onnxruntime.quantize import Int8Onnx
from benchfw_onnxruntime.simplify import SimplifiedOnnx
from benchfw_onnxruntime.verify import Model
from benchfw_onnxruntime.weights import DenormalFreeWeights
from tests.unit.onnx_steps.graphs import (
    BATCH,
    BOTH,
    CONV1,
    IMAGE,
    TEXT,
    artifact,
    axes,
    convolutions,
    no_products,
    set_weight,
    text,
    weight,
)

STEPS: dict[type[Step], tuple[type[BaseModel], str]] = {
    SimplifiedOnnx: (SimplifyOptions, "fp32"),
    DenormalFreeWeights: (DenormalOptions, "fp32"),
    HalfOnnx: (HalfOptions, "fp16"),
    Int8Onnx: (Int8Options, "int8"),
}
EVERY = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)


class Lab:
    """Runs steps on models in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = folder / "made"

    def run(
        self,
        step: type[Step],
        source: onnx.ModelProto | Artifact,
        inputs: tuple[TensorSpec, ...] = IMAGE,
        profile: Profile = BATCH,
        **options: Any,
    ) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
        given = source if isinstance(source, Artifact) else artifact(source, self.folder)
        model, precision = STEPS[step]
        made = step(model.model_validate(options).model_dump(mode="json"))
        made.root, made.cache_dir = self.folder, self.folder / "kept"
        self.made.mkdir(exist_ok=True)
        for file in self.made.iterdir():
            file.unlink()
        file = self.made / "model.onnx"
        meta = made.run(given, inputs=inputs, profile=profile, precision=precision, destination=file)
        return onnx_files.load(file), meta

    def refusal(self, *given: Any, **options: Any) -> str:
        with pytest.raises(BuildFailed) as caught:
            self.run(*given, **options)
        return f"{caught.value.message} | {caught.value.hint}"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@EVERY
@pytest.mark.parametrize(("make", "inputs", "profile"), [(convolutions, IMAGE, BATCH), (text, TEXT, BOTH)])
def test_axes_names_and_types_of_inputs_and_outputs_survive(
    lab: Lab, step: type[Step], make: Any, inputs: Any, profile: Profile
) -> None:
    source = make()
    made, meta = lab.run(step, source, inputs, profile)
    assert axes(made) == axes(source)
    kinds = [[v.type.tensor_type.elem_type for v in (*m.graph.input, *m.graph.output)] for m in (made, source)]
    assert kinds[0] == kinds[1]
    assert meta["agreement"]["cosine"] > (0.98 if step is Int8Onnx else 0.999)  # int8 of so few elements is coarse


@EVERY
def test_external_data_survives_and_large_results_have_their_own(
    lab: Lab, step: type[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = convolutions()
    onnx.save(
        model, str(lab.folder / "source.onnx"), save_as_external_data=True, location="beside.bin", size_threshold=0
    )
    before = {path.name: path.read_bytes() for path in lab.folder.iterdir()}
    source = artifact_of(lab.folder / "source.onnx")
    monkeypatch.setattr(onnx_files, "LARGEST", 100)
    monkeypatch.setattr(onnx_files, "_MOVED", 16)
    _, meta = lab.run(step, source)
    assert sorted(path.name for path in lab.made.iterdir()) == ["model.onnx", "model.onnx.data"]
    lab.folder.joinpath("moved").mkdir()
    for path in lab.made.iterdir():
        path.rename(lab.folder / "moved" / path.name)  # as the cache does: what is named inside is relative
    Model(lab.folder / "moved" / "model.onnx", "the moved model")(seeded(IMAGE, {"batch": 2}))
    assert meta["agreement"]["verdict"] in ("pass", "warn")
    assert {path.name: path.read_bytes() for path in lab.folder.iterdir() if path.name in before} == before


@EVERY
def test_static_sources_stay_static(lab: Lab, step: type[Step]) -> None:
    source = convolutions(dims=(2, 3, 8, 8))
    inputs = (TensorSpec(name="x", dtype="float32", shape=(2, 3, 8, 8)),)
    made, _ = lab.run(step, source, inputs, Profile({}))
    assert axes(made) == {"x": [2, 3, 8, 8], "y": [2, 4]}


@EVERY
def test_what_is_no_model_is_named(lab: Lab, step: type[Step]) -> None:
    good = artifact(convolutions(), lab.folder)
    content = Path(good.path).read_bytes()
    for name, broken in (("cut.onnx", content[: len(content) // 2]), ("other.onnx", b"GIF89a not a model")):
        (lab.folder / name).write_bytes(broken)
        bad = Artifact(format="onnx", path=str(lab.folder / name), sha256="0")
        assert f"{name} is not an ONNX model" in lab.refusal(step, bad)


@EVERY
def test_an_operator_set_of_the_future_is_refused_with_its_number(lab: Lab, step: type[Step]) -> None:
    model = convolutions()
    model.opset_import[0].version = 99
    assert "99" in lab.refusal(step, model)


def test_weights_that_are_nan_are_refused_by_name(lab: Lab) -> None:
    model = convolutions()
    array = weight(model, "w2").copy()
    array[0, 0, 0, 0] = np.nan
    set_weight(model, "w2", array)
    onnx.save(model, str(lab.folder / "nan.onnx"))
    with pytest.raises(BuildFailed, match="the weight 'w2' holds NaN"):
        onnx_files.weights(lab.folder / "nan.onnx")


def test_weights_are_counted_whether_beside_the_file_or_in_it(lab: Lab) -> None:
    model = with_small(1e-40, 5)
    onnx.save(model, str(lab.folder / "one.onnx"))
    onnx.save(model, str(lab.folder / "two.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    elements = 8 * 3 * 9 + 8 * 8 * 9 + 4 * 8 + 4
    for name in ("one.onnx", "two.onnx"):
        assert onnx_files.weights(lab.folder / name) == {"elements": elements, "denormal": 5}


# --- SimplifiedOnnx ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["onnxsim", "onnxslim", "onnxoptimizer"])
def test_every_tool_takes_nodes_away(lab: Lab, tool: str) -> None:
    pytest.importorskip(tool)
    passes = ["eliminate_identity"] if tool == "onnxoptimizer" else []
    made, meta = lab.run(SimplifiedOnnx, convolutions(), tool=tool, passes=passes)
    assert meta["nodes"] == {"before": 7, "after": 6}
    assert "Identity" not in {node.op_type for node in made.graph.node}


def test_an_unknown_pass_is_refused_with_the_nearest(lab: Lab) -> None:
    pytest.importorskip("onnxoptimizer")
    words = lab.refusal(SimplifiedOnnx, convolutions(), tool="onnxoptimizer", passes=["eliminate_identiti"])
    assert "no pass 'eliminate_identiti'; did you mean 'eliminate_identity'?" in words


@pytest.mark.parametrize("options", [{"tool": "onnxoptimizer"}, {"passes": ["nop"]}])
def test_passes_belong_to_one_tool(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs a list `passes`"):
        SimplifyOptions.model_validate(options)


def test_a_tool_that_is_not_there_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxslim", None)
    with pytest.raises(MissingDependency, match="onnxslim") as caught:
        lab.run(SimplifiedOnnx, convolutions(), tool="onnxslim")
    assert "benchfw-onnxruntime[optimize]" in str(caught.value.hint)


class _Tool:
    """A simplifier that does what it must not."""

    def __init__(self, spoil: Any) -> None:
        self.spoil = spoil

    def simplify(self, path: str) -> tuple[onnx.ModelProto, bool]:
        model = onnx.load(path)
        self.spoil(model)
        return model, True


def _fix(kind: str, place: int, size: int) -> Any:
    def spoil(model: onnx.ModelProto) -> None:
        getattr(model.graph, kind)[0].type.tensor_type.shape.dim[place].dim_value = size

    return spoil


def _other_weights(model: onnx.ModelProto) -> None:
    set_weight(model, "w3", weight(model, "w3") * np.float32(1.01))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_fix("input", 0, 2), "axis 0 ('batch') of input 'x' was lost: it is fixed to 2"),
        (_fix("output", 0, 2), "axis 0 ('batch') of output 'y' was lost: it is fixed to 2"),
        (_other_weights, "onnxsim's graph has other outputs than the model: 'y' at batch "),
        (lambda model: model.graph.output[0].ClearField("name"), "output 'y' was lost"),
    ],
    ids=["input", "output", "values", "name"],
)
def test_what_a_tool_spoils_is_refused(lab: Lab, spoil: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplify, "tool_module", lambda name: _Tool(spoil))
    assert words in lab.refusal(SimplifiedOnnx, convolutions())


def test_an_axis_without_a_name_that_is_lost_is_seen_by_running(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolutions()
    model.graph.output[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    monkeypatch.setattr(simplify, "tool_module", lambda name: _Tool(_fix("output", 0, 2)))
    assert "axis 0 of output 'y' was lost: it says 2, and has 1 at batch 1" in lab.refusal(SimplifiedOnnx, model)


# --- DenormalFreeWeights -------------------------------------------------------------------------------------------


def with_small(value: float, count: int) -> onnx.ModelProto:
    model = convolutions()
    array = weight(model, "w1").copy()
    array.reshape(-1)[:count] = value
    set_weight(model, "w1", array)
    return model


def test_denormals_are_counted_and_become_zero(lab: Lab) -> None:
    made, meta = lab.run(DenormalFreeWeights, with_small(-1e-40, 7))
    assert (meta["zeroed"], meta["tensors"]) == (7, 1)
    assert onnx_files.weights(lab.made / "model.onnx")["denormal"] == 0
    small = with_small(-1e-40, 7)
    assert not weight(made, "w1").reshape(-1)[:7].any()
    np.testing.assert_array_equal(weight(made, "w1").reshape(-1)[7:], weight(small, "w1").reshape(-1)[7:])
    assert "fp16" not in meta


def test_what_fp16_cannot_hold_is_counted_and_zeroed_where_asked(lab: Lab) -> None:
    model = with_small(2.0**-25, 3)
    array = weight(model, "w1").copy()
    array.reshape(-1)[3:5] = 2.0**-20
    array.reshape(-1)[5] = 1e5
    set_weight(model, "w1", array)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1e-12, np.float32), "epsilon"))
    made, meta = lab.run(DenormalFreeWeights, model, fp16=True)
    assert meta["fp16"] == {"zeroed": 3, "subnormal": 2, "above": 1}
    assert meta["warnings"] == ["1 weights are above 65504, the largest number of float16"]
    assert weight(made, "w1").reshape(-1)[:5].tolist() == [0, 0, 0, 2.0**-20, 2.0**-20]
    assert weight(made, "epsilon") == np.float32(1e-12), "a scalar may be tiny on purpose"


# --- HalfOnnx ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("io", ["fp32", "fp16"])
def test_half_has_fp16_weights_and_the_ends_that_were_asked_for(lab: Lab, io: str) -> None:
    made, _ = lab.run(HalfOnnx, convolutions(), io=io)
    assert onnx_files.graph_precision(made) == "fp16"
    assert not made.graph.value_info
    wanted = onnx.TensorProto.FLOAT if io == "fp32" else onnx.TensorProto.FLOAT16
    assert {value.type.tensor_type.elem_type for value in (*made.graph.input, *made.graph.output)} == {wanted}


def test_half_keeps_one_of_the_casts_that_the_converter_doubles(lab: Lab) -> None:
    """Two readers of one tensor that stay in fp32: the converter casts it twice, under one name."""
    model = no_products()
    for name in ("first", "second"):
        model.graph.node.append(onnx.helper.make_node("CumSum", ["a", "axis"], [name]))
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3, 8, 8]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int64), "axis"))
    made, _ = lab.run(HalfOnnx, model)
    names = [name for node in made.graph.node for name in node.output]
    assert len(names) == len(set(names))


def test_half_refuses_what_overflows(lab: Lab) -> None:
    words = lab.refusal(HalfOnnx, convolutions(scale=1e6))
    assert "graph in fp16 has other outputs than the model: 'y'" in words


def test_modelopt_is_asked_for_and_not_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchfw_onnxruntime.half.importlib.util.find_spec", lambda name: None)
    for step in (HalfOnnx, Int8Onnx):
        with pytest.raises(MissingDependency, match="nvidia-modelopt"):
            lab.run(step, convolutions(), tool="modelopt")


def test_modelopt_that_lacks_what_it_needs_names_the_extra(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchfw_onnxruntime.half.importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "modelopt", None)  # importing it raises ImportError
    for step in (HalfOnnx, Int8Onnx):
        with pytest.raises(MissingDependency, match="modelopt: ") as caught:
            lab.run(step, convolutions(), tool="modelopt")
        assert "benchfw-onnxruntime[quant]" in str(caught.value.hint)


# --- Int8Onnx ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("recipe", ["cpu", "tensorrt"])
def test_every_recipe_and_method_quantises_all_products(lab: Lab, recipe: str, method: str) -> None:
    made, meta = lab.run(Int8Onnx, convolutions(), recipe=recipe, method=method)
    # opt is batch 2: 2 x (8 x 8 x 8) x 27, 2 x (8 x 8 x 8) x 72, 2 x 4 x 8
    macs = 2 * 512 * 27 + 2 * 512 * 72 + 2 * 32
    assert meta["quantised"] == {
        "nodes": 3,
        "quantised_nodes": 3,
        "macs": macs,
        "quantised_macs": macs,
        "unknown_macs": 0,
        "quantised_share": 1.0,
    }
    zeros = {t.data_type for t in made.graph.initializer if t.name.endswith("zero_point")}
    assert (onnx.TensorProto.UINT8 in zeros) == (recipe == "cpu")
    assert (onnx.TensorProto.INT32 in zeros) == (recipe == "cpu"), "TensorRT refuses int32 biases"
    assert any("random inputs" in text for text in meta["warnings"])


def test_excluded_nodes_stay_and_lower_the_share(lab: Lab) -> None:
    _, meta = lab.run(Int8Onnx, convolutions(), nodes_to_exclude=[CONV1])
    quantised = meta["quantised"]
    assert (quantised["nodes"], quantised["quantised_nodes"]) == (3, 2)
    assert quantised["macs"] - quantised["quantised_macs"] == 2 * 512 * 27
    assert 0 < quantised["quantised_share"] < 1


def test_nothing_quantised_is_an_error_that_names_the_operators(lab: Lab) -> None:
    assert "nothing can be quantised: the operators are Add 1x, Sin 1x" in lab.refusal(Int8Onnx, no_products())
    words = lab.refusal(Int8Onnx, convolutions(), op_types=["MatMul"])
    assert "nothing was quantised: the operators are" in words and "Conv 2x" in words
    words = lab.refusal(Int8Onnx, text(), TEXT, BOTH, nodes_to_exclude=["product"])
    assert "nodes_to_exclude takes all" in words and "product" in words


def test_an_unknown_node_is_refused_with_the_nearest(lab: Lab) -> None:
    words = lab.refusal(Int8Onnx, convolutions(), nodes_to_exclude=["frist"])
    assert "no node 'frist'; did you mean 'first'?" in words


def test_ranges_of_activations_are_kept_and_serve_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run(Int8Onnx, convolutions())
    kept = list((lab.folder / "kept" / "onnxruntime-ranges").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr("benchfw_onnxruntime.quantize._Reader.get_next", lambda self: pytest.fail("calibrated again"))
    lab.run(Int8Onnx, convolutions(), per_channel=False)
    assert list((lab.folder / "kept" / "onnxruntime-ranges").iterdir()) == kept


# --- calibration data ----------------------------------------------------------------------------------------------


def _sample(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_a_folder_of_arrays_calibrates_and_its_content_counts(lab: Lab) -> None:
    data = lab.folder / "data"
    data.mkdir()
    for seed in range(3):
        np.save(data / f"{seed}.npy", _sample(seed, 3, 8, 8))
    np.savez(data / "3.npz", x=_sample(3, 1, 3, 8, 8))
    _, meta = lab.run(Int8Onnx, convolutions(), calibration="data")
    assert meta["samples"] == 4
    assert meta["warnings"] == []
    step = Int8Onnx(Int8Options(calibration="data").model_dump(mode="json"))
    step.root = lab.folder
    before = step.reads(IMAGE, BATCH)
    assert step.reads(IMAGE, BATCH) == before
    np.save(data / "0.npy", _sample(9, 3, 8, 8))
    assert step.reads(IMAGE, BATCH) != before


def test_samples_are_stacked_to_the_batch_of_a_static_artifact(lab: Lab) -> None:
    data = lab.folder / "data"
    data.mkdir()
    for seed in range(3):
        np.save(data / f"{seed}.npy", _sample(seed, 3, 8, 8))
    _, meta = lab.run(Int8Onnx, convolutions(), IMAGE, Profile.fixed({"batch": 2}), calibration="data")
    assert meta["samples"] == 2  # batches


def test_several_inputs_come_in_archives_of_any_length_in_the_range(lab: Lab) -> None:
    data = lab.folder / "data"
    data.mkdir()
    for length in (2, 6):
        np.savez(data / f"{length}.npz", ids=np.ones(length, np.int32), mask=np.ones(length, np.float64))
    _, meta = lab.run(Int8Onnx, text(), TEXT, BOTH, calibration="data")
    assert meta["samples"] == 2
    np.savez(data / "7.npz", ids=np.ones(7, np.int64), mask=np.ones(7, np.float32))
    words = lab.refusal(Int8Onnx, text(), TEXT, BOTH, calibration="data")
    assert "7.npz: 'ids' has shape [1, 7], the model takes from [1, 2] to [3, 6]" in words


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "'data' has no calibration data"),
        ({"a.npy": _sample(0, 3, 8, 9)}, "a.npy: 'x' has shape [1, 3, 8, 9], the model takes from [1, 3, 8, 8] to"),
        ({"a.npz": {"z": _sample(0, 3, 8, 8)}}, "a.npz has no 'x', only ['z']"),
        ({"a.npy": np.full((3, 8, 8), np.nan)}, "a.npy: 'x' holds NaN"),
        ({"a.npy": np.full((3, 8, 8), "a")}, "a.npy: 'x' is <U1, the model takes float32"),
        ({"a.npy": b"no array"}, "calibration data a.npy: "),
    ],
    ids=["empty", "shape", "name", "nan", "dtype", "broken"],
)
def test_calibration_data_that_do_not_fit(lab: Lab, files: dict[str, Any], words: str) -> None:
    data = lab.folder / "data"
    data.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (data / name).write_bytes(content)
        elif isinstance(content, dict):
            np.savez(data / name, **content)
        else:
            np.save(data / name, content)
    assert words in lab.refusal(Int8Onnx, convolutions(), calibration="data")


def test_a_folder_that_is_not_there_is_named(lab: Lab) -> None:
    assert "there is no folder 'nowhere'" in lab.refusal(Int8Onnx, convolutions(), calibration="nowhere")


def _images(folder: Path) -> Path:
    """Two images of other sizes than any input: left half red, right half blue; and grey."""
    from PIL import Image

    data = folder / "data"
    data.mkdir()
    halves = Image.new("RGB", (20, 10), (255, 0, 0))
    halves.paste((0, 0, 255), (10, 0, 20, 10))
    halves.save(data / "a.png")
    Image.new("L", (5, 7), 51).save(data / "b.png")
    return data


def test_a_folder_of_images_calibrates(lab: Lab) -> None:
    _images(lab.folder)
    _, meta = lab.run(Int8Onnx, convolutions(), calibration="data")
    assert (meta["samples"], meta["warnings"]) == (2, [])


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), (1, 4, 8, 3)], ids=["NCHW", "NHWC"])
def test_an_image_is_scaled_to_the_input_normalised_and_laid_out_as_it(lab: Lab, shape: tuple[int, ...]) -> None:
    _images(lab.folder)
    options = Int8Options(calibration="data", image_mean=(0.5, 0.25, 0.0), image_std=(0.5, 0.5, 2.0)).model_dump()
    spec = TensorSpec(name="x", dtype="float32", shape=shape)
    halves, grey = (sample["x"] for sample in samples.samples(options, lab.folder, [spec], Profile({})))
    assert halves.shape == grey.shape == shape and halves.dtype == np.float32
    pixels = np.moveaxis(halves, 1, -1) if shape[1] == 3 else halves
    np.testing.assert_allclose(pixels[0, :, 0], np.broadcast_to([1.0, -0.5, 0.0], (4, 3)))  # red is (1, 0, 0)
    np.testing.assert_allclose(pixels[0, :, -1], np.broadcast_to([-1.0, -0.5, 0.5], (4, 3)))  # blue
    greys = np.moveaxis(grey, 1, -1) if shape[1] == 3 else grey
    np.testing.assert_allclose(greys[0], np.broadcast_to([-0.6, -0.1, 0.1], (4, 8, 3)), atol=1e-6)  # 51 / 255 = 0.2


def test_an_input_of_one_channel_gets_grey_levels(lab: Lab) -> None:
    _images(lab.folder)
    options = Int8Options(calibration="data", image_mean=(0, 0, 0), image_std=(1, 1, 1)).model_dump()
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 1, 4, 8))
    halves, grey = (sample["x"] for sample in samples.samples(options, lab.folder, [spec], BATCH))
    assert halves.shape == (1, 1, 4, 8)
    assert halves[0, 0, 0, 0] == np.float32(76 / 255)  # ITU-R 601: 0.299 of red
    np.testing.assert_allclose(grey, np.full((1, 1, 4, 8), 0.2), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), (1, 8)])
def test_images_for_an_input_that_is_none(lab: Lab, shape: tuple[int, ...]) -> None:
    _images(lab.folder)
    spec = TensorSpec(name="x", dtype="float32", shape=shape)
    with pytest.raises(BuildFailed, match=r"a\.png: input 'x' is .*, which is no image: 1 or 3 channels") as caught:
        samples.samples(Int8Options(calibration="data").model_dump(), lab.folder, [spec], Profile({}))
    assert caught.value.hint == "use .npy files"


def test_what_is_no_image_is_named(lab: Lab) -> None:
    (_images(lab.folder) / "a.png").write_bytes(b"no image")
    assert "calibration data a.png: UnidentifiedImageError" in lab.refusal(Int8Onnx, convolutions(), calibration="data")


def test_images_need_pillow(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    _images(lab.folder)
    monkeypatch.setitem(sys.modules, "PIL", None)
    words = lab.refusal(Int8Onnx, convolutions(), calibration="data")
    assert "a.png: images need Pillow" in words and "pip install pillow" in words


def test_a_python_function_calibrates(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.folder / "calibration_samples.py").write_text(
        "import numpy as np\n"
        "def good():\n"
        "    for seed in range(99):\n"
        "        yield {'x': np.random.default_rng(seed).random((2, 3, 8, 8))}\n"
        "def bad():\n    raise OSError('no disk')\n"
    )
    monkeypatch.setattr("sys.path", [*sys.path])
    _, meta = lab.run(Int8Onnx, convolutions(), calibration="python:calibration_samples:good", samples=4)
    assert meta["samples"] == 4
    words = lab.refusal(Int8Onnx, convolutions(), calibration="python:calibration_samples:bad")
    assert "calibration data from python:calibration_samples:bad: OSError: no disk" in words


# --- FixedBatchOnnx ------------------------------------------------------------------------------------------------


def test_a_static_copy_has_external_data_where_it_is_too_large(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    source = artifact(convolutions(), lab.folder)
    monkeypatch.setattr(onnx_files, "LARGEST", 100)
    monkeypatch.setattr(onnx_files, "_MOVED", 16)
    (lab.folder / "made").mkdir()
    file = lab.folder / "made" / "model.onnx"
    FixedBatchOnnx({}).run(
        source, inputs=IMAGE, profile=Profile.fixed({"batch": 3}), precision="fp32", destination=file
    )
    assert (lab.folder / "made" / "model.onnx.data").is_file()
    made = Model(file, "the static copy")(seeded(IMAGE, {"batch": 3}))
    wanted = Model(source.path, "the model")(seeded(IMAGE, {"batch": 3}))
    np.testing.assert_array_equal(made["y"], wanted["y"])


def test_another_number_of_axes_than_the_graph_has_is_refused(lab: Lab) -> None:
    source = artifact(convolutions(), lab.folder)
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 3, 8)),)
    with pytest.raises(Unsupported, match=r"input 'x' has 4 axes, \['batch', 3, 8\] was asked for"):
        FixedBatchOnnx({}).run(
            source,
            inputs=inputs,
            profile=Profile.fixed({"batch": 3}),
            precision="fp32",
            destination=lab.folder / "made.onnx",
        )


def artifact_of(path: Path) -> Artifact:
    return Artifact(format="onnx", path=str(path), sha256="1")
