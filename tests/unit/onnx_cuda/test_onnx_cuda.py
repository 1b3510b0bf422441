"""ONNX Runtime on NVIDIA GPUs: what is asked of it, and what becomes of its answers.

The graphs run on its CPU provider, under the name of the provider that was asked for, and the device's memory is the
host's. Without that name it is ONNX Runtime itself that has no such provider.
"""

from __future__ import annotations

import importlib
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from benchfw.errors import BackendError, BuildFailed, FellBack, Invalid, OutOfMemory
from benchfw.spec import Artifact, AxisRange, Profile
from benchfw_onnxruntime.arguments import for_cuda, for_tensorrt
from benchfw_onnxruntime.cuda_options import TensorrtOptions
from benchfw_onnxruntime.plugin import benchfw_register_backends
from tests.unit.fake_cuda_modules import install
from tests.unit.onnx_cuda.lab import CUDA, TENSORRT, Lab, expected, images, only
from tests.unit.onnx_steps.graphs import artifact, convolutions

# --- what is asked for ----------------------------------------------------------------------------------------------


def test_a_provider_that_is_not_got_is_a_fallback(lab: Lab) -> None:
    with pytest.warns(UserWarning, match="not in available"), pytest.raises(FellBack, match=f"asked for {CUDA}, got"):
        lab.backend(real=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [("OrtCuda", "CUDA_PATH is set but CUDA wasn't able to be loaded"), ("OrtTensorrt", "Please install TensorRT")],
)
def test_a_provider_that_cannot_be_loaded_is_a_fallback(lab: Lab, name: str, words: str) -> None:
    lab.session.refusal = RuntimeError(words)
    with pytest.raises(FellBack, match=words) as raised:
        lab.backend(name)
    assert "doctor" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("asked", "of_artifact", "effective"),
    [("fp32", "fp32", "fp32"), ("fp16", "fp32", "fp32"), ("fp16", "fp16", "fp16"), ("int8", "int8", "fp32")],
)
def test_cuda_takes_the_place_of_tensorrt_where_that_is_allowed(
    lab: Lab, asked: str, of_artifact: str, effective: str
) -> None:
    lab.session.refusal, lab.session.refused = RuntimeError("Please install TensorRT"), [TENSORRT]
    source = artifact(convolutions(), lab.folder)
    source = Artifact(format="onnx", path=source.path, sha256=source.sha256, precision=of_artifact)
    backend = lab.backend("OrtTensorrt", precision=asked, source=source, allow_fallback=True)
    assert list(lab.session.asked) == [CUDA]
    facts = backend.facts()
    assert (facts["provider_effective"], facts["precision_effective"]) == (CUDA, effective)
    bound = backend.bind(0, images(2))
    bound.launch()
    np.testing.assert_allclose(only(bound.outputs()), expected(lab.folder, images(2)), rtol=1e-5)


@pytest.mark.parametrize("name", ["OrtCuda", "OrtTensorrt"])
def test_nothing_takes_the_place_of_cuda(lab: Lab, name: str) -> None:
    """Inputs and outputs lie on the device, which no other provider could read."""
    lab.session.refusal = RuntimeError("neither TensorRT nor CUDA can be loaded")
    with pytest.raises(FellBack, match=f"cannot load {CUDA}"):
        lab.backend(name, allow_fallback=True)


def test_the_cpu_does_not_take_it_either(lab: Lab) -> None:
    with pytest.warns(UserWarning, match="not in available"), pytest.raises(FellBack, match=f"asked for {CUDA}, got"):
        lab.backend(real=True, allow_fallback=True)


def test_a_device_without_memory_is_no_fallback(lab: Lab) -> None:
    lab.session.refusal = RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(&p, size)")
    with pytest.raises(OutOfMemory, match="CUDA failure 2"):
        lab.backend()


def test_other_errors_are_failed_builds(lab: Lab) -> None:
    lab.session.refusal = RuntimeError("the graph has a cycle")
    with pytest.raises(BuildFailed, match="a cycle"):
        lab.backend()


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_options_reach_the_provider(lab: Lab, precision: str) -> None:
    backend = lab.backend(
        precision=precision, device="cuda:1", prefer_nhwc=True, cudnn_conv_algo_search="HEURISTIC", threads=1
    )
    assert lab.session.asked == {
        CUDA: {
            "device_id": "1",
            "user_compute_stream": str(backend.stream),
            "use_tf32": str(int(precision == "tf32")),
            "cudnn_conv_algo_search": "HEURISTIC",
            "cudnn_conv_use_max_workspace": "1",
            "prefer_nhwc": "1",
            "arena_extend_strategy": "kNextPowerOfTwo",
        }
    }
    facts = backend.facts()
    assert (facts["provider_effective"], facts["precision_effective"]) == (CUDA, precision)
    backend.bind(0, images(2))
    assert lab.session.binding.devices == {("cuda", 1)}


def test_the_precision_of_a_model_is_that_in_effect(lab: Lab) -> None:
    source = artifact(convolutions(), lab.folder)
    half = Artifact(format="onnx", path=source.path, sha256=source.sha256, precision="fp16")
    assert lab.backend(precision="fp16", source=half).facts()["precision_effective"] == "fp16"


# --- TensorRT -------------------------------------------------------------------------------------------------------


def asked_of_tensorrt(lab: Lab, **given: Any) -> dict[str, str]:
    lab.backend("OrtTensorrt", **given).close()
    assert list(lab.session.asked) == [TENSORRT, CUDA]  # what it does not take runs on the GPU all the same
    return dict(lab.session.asked[TENSORRT])


def test_tensorrt_is_told_of_options_profile_and_caches(lab: Lab) -> None:
    asked = asked_of_tensorrt(lab, workspace_mib=64, builder_optimization_level=0, auxiliary_streams=0)
    assert asked["trt_max_workspace_size"] == str(64 << 20)
    assert (asked["trt_builder_optimization_level"], asked["trt_auxiliary_streams"]) == ("0", "0")
    assert "trt_min_subgraph_size" not in asked  # TensorRT's own
    shapes = [asked[f"trt_profile_{point}_shapes"] for point in ("min", "opt", "max")]
    assert shapes == ["x:1x3x8x8", "x:2x3x8x8", "x:3x3x8x8"]
    assert (asked["trt_engine_cache_enable"], asked["trt_timing_cache_enable"]) == ("True", "True")
    assert Path(asked["trt_engine_cache_path"]).is_dir()


def test_every_option_of_the_providers_is_passed_on() -> None:
    """What somebody may set and nothing reads would be a lie; what is not set stays the provider's own."""
    ours = {"threads", "optimization", "asynchronous", "disable_cpu_ep_fallback"}
    ours |= {"int8_calibration_table", "int8_use_native_calibration_table"}
    renamed = {"workspace_mib": "trt_max_workspace_size", "dla_core": "trt_dla_core"}
    fields = TensorrtOptions.model_fields
    every = {name: "folder" if name == "onnx_model_folder_path" else 3 for name in fields}
    passed = for_cuda(every) | for_tensorrt(every, Path())
    for name in set(fields) - ours:
        assert {name, f"trt_{name}", renamed.get(name)} & set(passed), name
    unset = TensorrtOptions().model_dump(mode="json")
    assert for_tensorrt(unset, Path()) == {}
    assert set(for_cuda(unset)) == {name for name in fields if unset[name] is not None and name in for_cuda(every)}


def test_lists_and_switches_are_text() -> None:
    options = TensorrtOptions(
        tactic_sources=["-CUDNN", "+JIT_CONVOLUTIONS"],
        extra_plugin_lib_paths=["a.so", "b.so"],
        sparsity_enable=False,
        dla_core=0,
        preview_features=["ALIASED_PLUGIN_IO_10_03"],
        onnx_model_folder_path="models/here",
        gpu_mem_limit=1 << 30,
    ).model_dump(mode="json")
    assert for_tensorrt(options, Path("/scenario")) == {
        "trt_tactic_sources": "-CUDNN,+JIT_CONVOLUTIONS",
        "trt_extra_plugin_lib_paths": "a.so;b.so",
        "trt_sparsity_enable": "False",
        "trt_dla_enable": "True",
        "trt_dla_core": "0",
        "trt_preview_features": "ALIASED_PLUGIN_IO_10_03",
        "trt_onnx_model_folder_path": "/scenario/models/here",
    }
    assert (for_cuda(options)["gpu_mem_limit"], for_cuda(options)["prefer_nhwc"]) == (str(1 << 30), "0")


def test_a_calibration_table_lies_among_the_engines(lab: Lab) -> None:
    (lab.folder / "ranges.flatbuffers").write_bytes(b"first")
    first = asked_of_tensorrt(lab, precision="int8", int8_calibration_table="ranges.flatbuffers")
    assert first["trt_int8_calibration_table_name"] == "ranges.flatbuffers"
    assert first["trt_int8_use_native_calibration_table"] == "False"
    assert first["trt_int8_enable"] == "True"
    assert (Path(first["trt_engine_cache_path"]) / "ranges.flatbuffers").read_bytes() == b"first"
    (lab.folder / "ranges.flatbuffers").write_bytes(b"second")
    second = asked_of_tensorrt(lab, precision="int8", int8_calibration_table="ranges.flatbuffers")
    assert second["trt_engine_cache_path"] != first["trt_engine_cache_path"], "other ranges make another engine"
    with pytest.raises(BuildFailed, match=r"no file other\.table"):
        lab.backend("OrtTensorrt", int8_calibration_table="other.table")


@pytest.mark.parametrize("ends", ["", "raise OSError('libcudart.so.13: cannot open shared object file')"])
def test_the_libraries_of_tensorrt_that_pip_installed_are_loaded(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "tensorrt_libs.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'a').close()\n{ends}\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "tensorrt_libs", raising=False)
    lab.backend("OrtCuda").close()
    assert not (tmp_path / "loaded").exists()
    lab.backend("OrtTensorrt").close()
    assert (tmp_path / "loaded").exists()
    sys.modules.pop("tensorrt_libs", None)


def test_one_shape_needs_no_profile(lab: Lab) -> None:
    asked = asked_of_tensorrt(lab, profile=Profile({"batch": AxisRange(min=2, opt=2, max=2)}))
    assert not [name for name in asked if "profile" in name]


@pytest.mark.parametrize(
    ("precision", "flag"), [("fp32", ""), ("fp16", "trt_fp16_enable"), ("bf16", "trt_bf16_enable")]
)
def test_the_builder_may_use_the_precision_that_is_asked_for(lab: Lab, precision: str, flag: str) -> None:
    asked = asked_of_tensorrt(lab, precision=precision)
    assert [name for name in asked if name.endswith(("16_enable", "int8_enable"))] == [flag] * bool(flag)
    assert lab.made.facts() == {}
    assert lab.made._precision == precision


@pytest.mark.parametrize("name", ["OrtCuda", "OrtTensorrt"])
def test_fp32_is_not_tf32(lab: Lab, name: str) -> None:
    lab.backend(name, precision="fp16").close()
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "unset by no test"
    lab.backend(name, precision="fp32")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert lab.session.asked[CUDA]["use_tf32"] == "0"


def test_engines_are_found_again_for_the_same_model_and_options_alone(lab: Lab) -> None:
    """ONNX Runtime finds engines by the names of a graph: those of other weights would be taken for this model's."""
    source = artifact(convolutions(), lab.folder)
    other = artifact(convolutions(scale=2.0), lab.folder, "other.onnx")
    wider = Profile({"batch": AxisRange(min=1, opt=2, max=8)})
    given: list[dict[str, Any]] = [
        {"source": source},
        {"source": other},
        {"source": source, "precision": "fp16"},
        {"source": source, "builder_optimization_level": 5},
        {"source": source, "profile": wider},
    ]
    paths = [asked_of_tensorrt(lab, **each)["trt_engine_cache_path"] for each in given]
    assert len(set(paths)) == len(given)
    assert asked_of_tensorrt(lab, source=source)["trt_engine_cache_path"] == paths[0]
    lab.cuda.device.name = b"NVIDIA L4\0"
    assert asked_of_tensorrt(lab, source=source)["trt_engine_cache_path"] not in paths


# --- slots ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [True, False])
def test_slots_compute_and_say_whether_they_wait(lab: Lab, asynchronous: bool) -> None:
    backend = lab.backend(asynchronous=asynchronous)
    slots = [backend.bind(slot, images(2, slot)) for slot in range(2)]
    for slot, bound in enumerate(slots):
        bound.launch()
        np.testing.assert_array_equal(only(bound.outputs()), expected(lab.folder, images(2, slot)))
    assert (backend.stream is not None) == asynchronous
    for info in benchfw_register_backends():
        if "cuda" in info.capabilities.devices:
            assert (info.blocking_options == {"asynchronous": asynchronous}) == (backend.stream is None)
    assert lab.session.entries == [str(int(asynchronous))] * 2


def test_copies_go_from_and_to_page_locked_memory(lab: Lab) -> None:
    bound = lab.backend().bind(0, images(2))
    (buffer,) = bound._buffers.values()
    buffer.host[...] = images(2, seed=1)["x"]
    bound.copy_in()
    bound.launch()
    bound.copy_out()
    (result,) = bound._results.values()
    np.testing.assert_array_equal(result.host, expected(lab.folder, images(2, seed=1)))


def test_memory_goes_back_when_a_slot_is_bound_anew_and_in_the_end(lab: Lab) -> None:
    backend = lab.backend()
    backend.bind(0, images(2))
    held = len(lab.cuda.live)
    bound = backend.bind(0, images(3))
    assert len(lab.cuda.live) == held
    bound.launch()
    assert only(bound.outputs()).shape == (3, 4)
    backend.bind(1, images(2))
    assert len(lab.cuda.live) == 2 * held
    backend.close()
    assert not lab.cuda.live and not lab.cuda.streams
    assert backend.stream in (0, None)
    backend.close()
    with pytest.raises(Invalid, match="before load"):
        backend.bind(0, images(2))


def test_a_slot_that_does_not_fit_leaves_nothing_behind(lab: Lab) -> None:
    backend = lab.backend()
    kept = backend.bind(0, images(1))
    held = len(lab.cuda.live)
    lab.cuda.limit = images(2)["x"].nbytes - 1
    with pytest.raises(OutOfMemory):
        backend.bind(1, images(2))
    assert len(lab.cuda.live) == held
    kept.launch()
    np.testing.assert_array_equal(only(kept.outputs()), expected(lab.folder, images(1)))


def test_outputs_of_unknown_shape_are_allocated_by_onnxruntime(lab: Lab) -> None:
    node = helper.make_node("NonZero", ["x"], ["y"])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])
    made = helper.make_tensor_value_info("y", TensorProto.INT64, [4, "found"])
    model = helper.make_model(
        helper.make_graph([node], "g", [given], [made]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.checker.check_model(model)
    bound = lab.backend(source=artifact(model, lab.folder)).bind(0, images(1))
    assert bound.copy_out is None
    bound.launch()
    np.testing.assert_array_equal(only(bound.outputs()), np.stack(np.nonzero(images(1)["x"])))


def test_what_does_not_fit_the_model_is_refused(lab: Lab) -> None:
    backend = lab.backend()
    wrong: list[Callable[[], Any]] = [
        lambda: backend.bind(0, {"y": images(1)["x"]}),
        lambda: backend.bind(0, {"x": images(1)["x"].astype(np.float64)}),
    ]
    for bind in wrong:
        with pytest.raises((Invalid, BackendError)):
            bind()
    assert not lab.cuda.live


def test_the_libraries_of_a_provider_are_looked_for_once_those_of_pip_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader itself does not look where pip installs. This ONNX Runtime has neither provider."""
    install(monkeypatch, tmp_path, ["benchfw_onnxruntime.cuda", "benchfw_onnxruntime.cuda_bound"])
    from benchfw_onnxruntime import cuda

    loaded: list[str] = []
    monkeypatch.setattr(ort, "preload_dlls", lambda: loaded.append("CUDA"), raising=False)
    monkeypatch.setattr(importlib, "import_module", loaded.append)
    assert cuda.OrtCuda.missing_libraries() == ["libonnxruntime_providers_cuda.so"] and loaded == ["CUDA"]
    assert cuda.OrtTensorrt.missing_libraries() == ["libonnxruntime_providers_tensorrt.so"]
    assert loaded[1:] == ["CUDA", "tensorrt_libs"]
    monkeypatch.setattr(cuda, "missing", lambda path: [str(path)])
    assert cuda.OrtCuda.missing_libraries() == [
        str(Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so")
    ]


def test_a_session_ends_before_the_stream_that_it_was_given(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchfw_onnxruntime import cuda

    backend = lab.backend()
    for slot in range(2):
        backend.bind(slot, images(2))
    session, destroy, alive = weakref.ref(backend._session), vars(cuda)["destroy_stream"], []

    def look(stream: int) -> None:
        alive.append(session())
        destroy(stream)

    monkeypatch.setattr(cuda, "destroy_stream", look)
    backend.close()
    assert alive == [None]
