"""Engines of TensorRT 8.6, 10 and 11, on builders that are made up: what they are told, and what the side-car tells."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchfw.errors import BackendError, BuildFailed, MissingDependency, OutOfMemory, Unsupported
from benchfw.spec import AxisRange, Profile, TensorSpec
from benchfw_tensorrt.inspector import Layer, effective_precision, read_layer
from benchfw_tensorrt.origin import check_origin
from tests.unit.tensorrt.conftest import Bench, X
from tests.unit.tensorrt.fake_tensorrt import FEATURES

PLACE = {"gpu": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0", "driver": "CUDA 13.0"}


def test_what_the_side_car_tells(bench: Bench) -> None:
    meta = bench.build(tactic_sources=["jit-convolutions"], timing_iterations=4).meta
    assert {key: meta[key] for key in PLACE} == PLACE
    assert (meta["version"], meta["flags"]) == (bench.trt.__version__, [])  # TF32, which is on by default, is off
    assert meta["profiles"] == [{"x": [[1, 8], [4, 8], [8, 8]]}]
    assert (meta["tactic_sources"], meta["hardware_compatibility"]) == (["JIT_CONVOLUTIONS"], "NONE")
    assert meta["strongly_typed"] is (bench.trt.__version__ != "8.6.0")
    assert (meta["precision_effective"], meta["layers"]["count"]) == ("fp32", 2)
    assert len(meta["build_id"]) == 12
    assert bench.trt.config.avg_timing_iterations == 4


def test_the_layers_lie_beside_the_engine(bench: Bench) -> None:
    engine = bench.build()
    layers = json.loads(Path(engine.path).with_name("layers.json").read_text())
    assert [(layer["name"], layer["nodes"]) for layer in layers] == [("product", ["mul", "add"]), ("copy", [])]


def test_a_static_model_needs_no_profile(bench: Bench) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(4, 8))
    assert bench.build(bench.model(shape=[4, 8]), axes={}, inputs=(spec,)).meta["profiles"] == []


def test_a_static_engine_of_a_dynamic_model(bench: Bench) -> None:
    assert bench.build(axes={"batch": (4, 4, 4)}).meta["profiles"] == [{"x": [[4, 8]] * 3}]


def test_several_profiles(bench: Bench) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", "seq"))
    meta = bench.build(
        bench.model(shape=[-1, -1]),
        axes={"batch": (1, 4, 8), "seq": (2, 3, 5)},
        inputs=(spec,),
        profiles=[{"batch": (1, 1, 1)}, {"batch": (2, 8, 8), "seq": (5, 5, 5)}],
    ).meta
    assert meta["profiles"] == [{"x": [[1, 2], [1, 3], [1, 5]]}, {"x": [[2, 5], [8, 5], [8, 5]]}]


@pytest.mark.parametrize(
    ("profiles", "says"),
    [
        ([{"rows": (1, 1, 1)}], "option profiles: no input has an axis 'rows'"),
        ([{"batch": (1, 4, 9)}], "option profiles: batch from 1 to 9 is not within 1 to 8"),
    ],
)
def test_profiles_that_do_not_fit_the_case(bench: Bench, profiles: list[Any], says: str) -> None:
    with pytest.raises(BuildFailed) as raised:
        bench.build(profiles=profiles)
    assert raised.value.message == says


@pytest.mark.parametrize(("version", "asked"), [("8.6.0", True), ("10.16.1", True), ("11.4.0", False)])
def test_contexts_may_share_a_profile(bench_of: Callable[[str], Bench], version: str, asked: bool) -> None:
    """Each slot of a captured graph has a context: 8.6 else gives a profile to one of them alone."""
    bench = bench_of(version)
    bench.build()
    assert (("preview", "PROFILE_SHARING_0806", True) in bench.trt.calls) is asked


def test_profiles_of_a_range_leave_an_engine_for_one_shape_alone(bench: Bench) -> None:
    made = bench.build(axes={"batch": (8, 8, 8)}, profiles=[{"batch": (1, 1, 1)}])
    assert made.meta["profiles"] == [{"x": [[8, 8]] * 3}]


@pytest.mark.parametrize(
    ("version", "precision", "weak", "flags"),
    [
        ("8.6.0", "fp32", False, []),
        ("8.6.0", "tf32", False, ["TF32"]),
        ("8.6.0", "fp16", False, ["FP16"]),  # the model is fp16, which this TensorRT wants to be told
        ("8.6.0", "int8", False, ["INT8"]),  # and this one has Q/DQ nodes
        ("8.6.0", "fp16", True, ["FP16"]),
        ("10.16.1", "fp16", False, []),
        ("10.16.1", "tf32", False, ["TF32"]),
        ("10.16.1", "bf16", True, ["BF16"]),
        ("10.16.1", "bf16", False, []),  # by the types of the model
        ("11.4.0", "bf16", False, []),
        ("11.4.0", "int8", False, []),
        ("11.4.0", "tf32", False, ["TF32"]),
    ],
)
def test_a_precision_is_a_flag_where_types_are_not_those_of_the_model(
    bench_of: Callable[[str], Bench], version: str, precision: str, weak: bool, flags: list[str]
) -> None:
    bench = bench_of(version)
    assert bench.build(precision=precision, weak=weak).meta["flags"] == flags


FLAGS = {
    "refit": "REFIT",
    "sparse_weights": "SPARSE_WEIGHTS",
    "version_compatible": "VERSION_COMPATIBLE",
    "strict_nans": "STRICT_NANS",
    "weight_streaming": "WEIGHT_STREAMING",
}


@pytest.mark.parametrize(
    ("version", "option"),
    [
        (version, option)
        for version in ("8.6.0", "10.16.1", "11.4.0")
        for option, flag in FLAGS.items()
        if flag in FEATURES[version]["BuilderFlag"]
    ],
)
def test_an_option_sets_its_flag_and_no_other(bench_of: Callable[[str], Bench], version: str, option: str) -> None:
    bench, flag = bench_of(version), FLAGS[option]
    on: dict[str, Any] = {option: True}
    meta = bench.build(**on).meta
    assert bench.trt.config.named() == {flag}
    assert meta["flags"] == [flag]
    on[option] = False
    bench.build(**on)
    assert bench.trt.config.named() == set()


@pytest.mark.parametrize(
    ("level", "versions"),
    [("ampere-plus", ("8.6.0", "10.16.1", "11.4.0")), ("same-compute-capability", ("10.16.1", "11.4.0"))],
)
def test_hardware_compatibility_reaches_the_builder(
    bench_of: Callable[[str], Bench], level: str, versions: tuple[str, ...]
) -> None:
    for version in versions:
        bench = bench_of(version)
        name = level.upper().replace("-", "_")
        assert bench.build(hardware_compatibility=level).meta["hardware_compatibility"] == name
        assert bench.trt.config.hardware_compatibility_level.name == name
        bench.build()
        assert bench.trt.config.hardware_compatibility_level.name == "NONE"


@pytest.mark.parametrize("portable", [False, True])
def test_an_engine_that_brings_its_runtime_may_run_it(bench: Bench, portable: bool) -> None:
    """TensorRT refuses the code in a version-compatible engine unless the runtime is told to allow it."""
    engine = bench.build(version_compatible=portable)
    assert bench.trt.runtime.engine_host_code_allowed is portable  # loaded once, to be looked at
    bench.trt.runtime = None
    bench.backend("TrtDynamic").load(engine)
    assert bench.trt.runtime.engine_host_code_allowed is portable


@pytest.mark.parametrize(
    ("version", "weak", "flags"),
    [("8.6.0", False, 0b1), ("10.16.1", False, 0b11), ("10.16.1", True, 0b1), ("11.4.0", False, 0)],
)
def test_how_networks_are_made(bench_of: Callable[[str], Bench], version: str, weak: bool, flags: int) -> None:
    bench = bench_of(version)
    meta = bench.build(weak=weak).meta
    assert ("network", flags) in bench.trt.calls
    assert meta["strongly_typed"] is (version != "8.6.0" and not weak)


@pytest.mark.parametrize(
    ("version", "precision", "weak", "given", "says"),
    [
        ("8.6.0", "fp32", False, {"weight_streaming": True}, "option weight_streaming: tensorrt 8.6.0 has no"),
        (
            "11.4.0",
            "fp32",
            False,
            {"tactic_sources": ["cudnn"]},
            "option tactic_sources: tensorrt 11.4.0 has no Tactic",
        ),
        (
            "8.6.0",
            "fp32",
            False,
            {"hardware_compatibility": "same-compute-capability"},
            "option hardware_compatibility: tensorrt 8.6.0 has no HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY",
        ),
        ("8.6.0", "fp32", False, {"io_formats": {"z": "fp32:chw"}}, "option io_formats: the model has no 'z'"),
        (
            "8.6.0",
            "fp32",
            False,
            {"io_formats": {"x": "int64:chw"}},
            "option io_formats: tensorrt 8.6.0 has no type 'i",
        ),
        ("10.16.1", "fp32", False, {"io_formats": {"x": "fp16:chw"}}, "option io_formats: 'x' is FLOAT in the model"),
    ],
)
def test_what_a_version_lacks_is_refused_by_name(
    bench_of: Callable[[str], Bench], version: str, precision: str, weak: bool, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(BuildFailed) as raised:
        bench_of(version).build(precision=precision, weak=weak, **given)
    assert raised.value.message.startswith(says)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("version", "precision", "weak", "flag"),
    [("8.6.0", "bf16", True, "BF16"), ("8.6.0", "bf16", False, "BF16"), ("11.4.0", "fp16", True, "FP16")],
)
def test_a_precision_that_a_version_lacks_is_unsupported(
    bench_of: Callable[[str], Bench], version: str, precision: str, weak: bool, flag: str
) -> None:
    with pytest.raises(Unsupported) as raised:
        bench_of(version).build(precision=precision, weak=weak)
    assert raised.value.message == f"tensorrt {version} has no BuilderFlag.{flag}, which {precision} needs"
    assert raised.value.hint


def test_formats_of_inputs_and_outputs(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("10.16.1")
    bench.build(weak=True, precision="fp16", io_formats={"x": "fp16:chw", "y": "fp32:chw"})
    read, written = bench.trt.network.inputs[0], bench.trt.network.outputs[0]
    assert (read.dtype.name, read.allowed_formats, written.dtype.name, written.allowed_formats) == (
        "HALF",
        1,
        "FLOAT",
        1,
    )


def test_warnings_are_kept_and_failures_told(bench: Bench) -> None:
    bench.trt.warnings = [
        "onnx2trt_utils.cpp:377: Your ONNX model has INT64 weights. Attempting to cast down to INT32."
    ]
    meta = bench.build().meta
    assert meta["builder_warnings"] == ["Your ONNX model has INT64 weights. Attempting to cast down to INT32."]
    assert meta["warnings"] == meta["builder_warnings"]
    for text, error in (("Error Code 10: no implementation", BuildFailed), ("Error Code 2: OutOfMemory", OutOfMemory)):
        bench.trt.fails, bench.trt.errors = "build", [text]
        with pytest.raises(error) as raised:
            bench.build()
        assert raised.value.message == f"tensorrt cannot build the engine: {text}"


def test_an_engine_that_cannot_be_loaded_again_is_none(bench: Bench) -> None:
    bench.trt.fails, bench.trt.errors = "deserialize", ["Error Code 1: Serialization"]
    with pytest.raises(BackendError, match="tensorrt cannot load the engine: Error Code 1: Serialization"):
        bench.build()


# --- where an engine belongs ----------------------------------------------------------------------------------------


def test_the_cache_is_asked_for_an_engine_of_this_machine(bench: Bench) -> None:
    step = bench.step()
    here = {"version": bench.trt.__version__, **PLACE}
    assert step.reads([X], Profile({})) == here
    bench.cuda.device.major = 8
    assert step.reads([X], Profile({})) == {**here, "compute_capability": "8.0"}
    bench.cuda.device = None
    with pytest.raises(MissingDependency):
        step.reads([X], Profile({}))


@pytest.mark.parametrize("weak", [False, True])
def test_an_engine_is_built_on_the_device_that_runs_it(bench_of: Callable[[str], Bench], weak: bool) -> None:
    bench = bench_of("10.16.1")
    bench.cuda.others = [SimpleNamespace(name=b"NVIDIA L4\0", major=8, minor=9)]
    made = {name: bench.build(weak=weak, device=name) for name in ("cuda:1", "cuda:0")}
    assert {name: engine.meta["gpu"] for name, engine in made.items()} == {
        "cuda:0": "NVIDIA H100 80GB HBM3",
        "cuda:1": "NVIDIA L4",
    }
    step = bench.step(weak=weak)
    step.device = "cuda:1"
    assert step.reads([X], Profile({}))["gpu"] == "NVIDIA L4"
    assert bench.cuda.current == 1
    files = sorted(path.name for path in (bench.folder / "frameworks" / "tensorrt").glob("*.timing"))
    assert ["H100" in name for name in files] == [True, False], "what was timed on one does not serve the other"


def test_an_engine_for_a_device_that_is_not_there(bench: Bench) -> None:
    step = bench.step()
    step.device = "cuda:1"
    with pytest.raises(MissingDependency, match="there is no device cuda:1: CUDA sees 1"):
        step.reads([X], Profile({}))


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"version": "10.15.0"},
        {"version": "10.17.0"},
        {"gpu": "NVIDIA H200"},
        {"compute_capability": "8.9"},
        {"driver": "535.1"},
    ],
)
def test_what_is_measured_here_was_built_here(elsewhere: dict[str, str]) -> None:
    """Whatever else could load it: the cache's key and the look at an engine before it is loaded go by this machine."""
    here = {"version": "10.16.1", **PLACE}
    portable = {"flags": ["VERSION_COMPATIBLE"], "hardware_compatibility": "AMPERE_PLUS"}
    check_origin({**here, **portable}, here)
    with pytest.raises(BuildFailed) as raised:
        check_origin({**here, **portable, **elsewhere}, here)
    assert raised.value.message.startswith("the engine was made ")
    assert raised.value.hint == "build it again; the cache does so by itself"


@pytest.mark.parametrize("given", [{}, {"hardware_compatibility": "ampere-plus", "version_compatible": True}])
def test_the_key_of_an_engine_for_others_has_this_machine_too(bench: Bench, given: dict[str, Any]) -> None:
    assert bench.step(**given).reads([X], Profile({})) == {"version": bench.trt.__version__, **PLACE}


# --- the timing cache -----------------------------------------------------------------------------------------------


def test_what_was_timed_serves_the_next_build(bench: Bench) -> None:
    assert bench.build().meta["timing_cache_sha256"] == ""
    (file,) = (bench.folder / "frameworks" / "tensorrt").glob("*.timing")
    assert bench.trt.__version__ in file.name and "H100" in file.name
    assert b"timed here" in file.read_bytes()
    assert len(bench.build().meta["timing_cache_sha256"]) == 64
    assert bench.build(timing_cache=False).meta["timing_cache_sha256"] is None


def test_what_another_build_has_timed_meanwhile_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.build()
    (file,) = (bench.folder / "frameworks" / "tensorrt").glob("*.timing")
    parse = bench.trt.OnnxParser

    def slow(network: Any, logger: Any) -> Any:  # after this build has read the file
        file.write_bytes(b"timed elsewhere")
        return parse(network, logger)

    monkeypatch.setattr(bench.trt, "OnnxParser", slow)
    file.unlink()
    assert bench.build().meta["timing_cache_sha256"] == ""
    assert {b"timed elsewhere", b"timed here"} <= set(file.read_bytes().split(b";"))


def test_builds_at_the_same_time_wait_for_each_other_at_the_timing_cache(bench: Bench) -> None:
    bench.build()
    (lock,) = (bench.folder / "frameworks" / "tensorrt").glob("*.lock")
    with lock.open("w") as another, ThreadPoolExecutor(1) as pool:
        fcntl.flock(another, fcntl.LOCK_EX)
        built = pool.submit(bench.build)
        with pytest.raises(TimeoutError):
            built.result(timeout=0.3)
        fcntl.flock(another, fcntl.LOCK_UN)
        assert built.result(timeout=60).meta["timing_cache_sha256"]


def test_a_timing_cache_that_does_not_fit_begins_anew(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.build()
    (file,) = (bench.folder / "frameworks" / "tensorrt").glob("*.timing")
    file.write_bytes(b"of another TensorRT")
    assert bench.build().meta["timing_cache_sha256"] == ""
    assert "does not fit, and begins anew" in capsys.readouterr().err
    assert b"another" not in file.read_bytes()


def test_a_timing_cache_that_tensorrt_cannot_read_again_is_not_kept(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.trt.fails = "timing cache"
    assert bench.build().meta["timing_cache_sha256"] == ""
    assert "is not kept: TensorRT cannot read what it has written" in capsys.readouterr().err
    assert not list((bench.folder / "frameworks" / "tensorrt").glob("*.timing"))


def test_errors_about_a_timing_cache_are_no_reason_of_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.build()
    bench.trt.fails = "timing cache"
    monkeypatch.setattr(bench.trt, "OnnxParser", lambda network, logger: Refusing())
    with pytest.raises(BuildFailed) as raised:
        bench.build()
    assert raised.value.message == "tensorrt cannot parse the model: it gives no reason"


class Refusing:
    num_errors = 0

    def parse_from_file(self, path: str) -> bool:
        return False


# --- int8 by a calibrator -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibrator", ["entropy", "minmax"])
@pytest.mark.parametrize("version", ["8.6.0", "10.16.1"])
def test_a_calibrator_sees_all_samples(bench_of: Callable[[str], Bench], version: str, calibrator: str) -> None:
    bench = bench_of(version)
    (bench.folder / "data").mkdir()
    for number in range(5):
        np.save(bench.folder / "data" / f"{number}.npy", np.full(8, number, np.float32))
    engine = bench.build(precision="int8", weak=True, calibration="data", also=["fp16"], calibrator=calibrator)
    assert engine.meta["flags"] == ["FP16", "INT8"]
    assert engine.meta["calibration"] == {"samples": 5, "file": "calibration.txt", "calibrator": calibrator}
    assert Path(engine.path).with_name("calibration.txt").read_text().count("x: 3f") == 5
    assert bench.trt.config.calibration_profile.shapes == {"x": [[1, 8]] * 3}
    assert not bench.cuda.live and not bench.cuda.streams


def test_a_calibration_that_does_nothing_is_a_failure(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("8.6.0")
    bench.trt.fails = "calibrate"
    with pytest.raises(BuildFailed, match="TensorRT has not calibrated: it took 0 of 64 samples"):
        bench.build(precision="int8", weak=True)
    assert not bench.cuda.live and not bench.cuda.streams


def test_calibration_data_decides_whether_an_engine_of_before_will_do(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("8.6.0")
    (bench.folder / "data").mkdir()
    step, profile = bench.step(weak=True, calibration="data"), Profile({"batch": AxisRange.fixed(1)})
    hashes = []
    for value in (1, 2):
        np.save(bench.folder / "data" / "0.npy", np.full(8, value, np.float32))
        hashes.append(step.reads([X], profile)["calibration"])
    assert hashes[0] != hashes[1]


# --- the inspector --------------------------------------------------------------------------------------------------


def inspected(*types: str, key: str = "Format/Datatype") -> list[Layer]:
    layers = [{"Name": f"l{i}", "LayerType": "gemm", "Inputs": [{key: text}]} for i, text in enumerate(types)]
    return [read_layer(json.dumps(layer)) for layer in layers]


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Row major linear BF16", "bf16"),
        ("Row major linear Int32", ""),
        ("Half", "fp16"),
        ("Float", "fp32"),
    ],
)
@pytest.mark.parametrize("key", ["Format/Datatype", "Datatype"])
def test_types_of_layers(text: str, precision: str, key: str) -> None:
    assert inspected(text, key=key)[0].precision == precision


def test_most_layers_decide_the_precision_of_an_engine() -> None:
    half, full = "Row major linear FP16", "Row major linear FP32"
    assert effective_precision(inspected(half, half, full), "fp16") == "fp16"
    assert effective_precision(inspected(half, full, full), "fp16") == "fp32"
    assert effective_precision(inspected("Int64"), "fp16") == "fp16"  # nothing is told


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('"conv + relu"', "conv + relu"),
        ('{"Name": "a", "Type": ?}', "a"),
        ("fc\n", "fc"),
        ('{"Name": "b"}\0', "b"),
    ],
)
def test_an_inspector_that_tells_little(text: str, name: str) -> None:
    assert read_layer(text) == Layer(name=name)
