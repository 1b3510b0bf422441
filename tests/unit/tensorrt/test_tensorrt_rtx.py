"""The backend of TensorRT-RTX, on one that is made up. What it shares with the others is tested with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.errors import BackendError, BuildFailed, Invalid, MissingDependency, Unsupported
from benchfw.spec import Artifact
from tests.unit.tensorrt.conftest import Bench
from tests.unit.tensorrt.fake_tensorrt import RTX, RuntimeCacheObject
from tests.unit.tensorrt.test_tensorrt_runner import outputs, rows

HOPPER = (
    "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine cannot run on this GPU, which has "
    "compute capability 9.0. Supported compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0.)"
)
DRIVER = "Error Code 1: Cuda Runtime (In getDevice: cudaError 35: CUDA driver version is insufficient)"


@pytest.fixture
def bench(bench_of: Callable[[str], Bench]) -> Bench:
    return bench_of(RTX)


def test_an_engine_for_several_shapes_runs(bench: Bench) -> None:
    engine = bench.build()
    assert engine.meta["flags"] == ["REQUIRE_USER_ALLOCATION"]
    backend = bench.backend("TrtRtx")
    backend.load(engine)
    assert backend.stream in bench.cuda.streams
    for slot, batch in enumerate((1, 4, 8)):
        np.testing.assert_array_equal(outputs(backend.bind(slot, rows(batch, slot))), 2 * rows(batch, slot)["x"])
    with pytest.raises(Invalid, match=r"axis 0 \(batch\) of input 'x' is 9, it takes 1 to 8"):
        backend.bind(0, rows(9))
    facts = backend.facts()
    assert (facts["provider_effective"], facts["precision_effective"]) == ("TensorRT-RTX", "fp32")
    assert (facts["nodes"], facts["backend_version"]) == ({"TensorRT-RTX": 2}, RTX)
    assert (facts["engine_validity"], facts["specialization"], facts["runtime_cache"]) == ("valid", "EAGER", "off")
    backend.close()
    backend.close()
    assert not bench.cuda.live and not bench.cuda.streams
    assert backend.facts() == {}


@pytest.mark.parametrize("wanted", ["eager", "lazy", "none"])
def test_kernels_for_a_shape_are_compiled_before_it_is_timed_unless_asked_otherwise(bench: Bench, wanted: str) -> None:
    backend = bench.backend("TrtRtx", specialization=wanted)
    backend.load(bench.build())
    assert backend.facts()["specialization"] == wanted.upper()
    assert backend._config.cuda_graph_strategy.name == "DISABLED"  # graphs are captured by benchfw, or not at all
    backend.close()


def test_a_captured_slot_keeps_its_shape(bench: Bench) -> None:
    backend = bench.backend("TrtRtx")
    backend.load(bench.build())
    two, eight = backend.bind(0, rows(2)), backend.bind(1, rows(8))
    backend.capture(two)
    outputs(eight)
    bench.trt.calls.clear()
    np.testing.assert_array_equal(outputs(two), 2 * rows(2)["x"])
    assert bench.trt.calls == []
    bench.trt.capturable = False
    with pytest.raises(Unsupported, match="launches of this engine cannot be captured") as raised:
        backend.capture(eight)
    assert "option user_allocation" in (raised.value.hint or "")
    backend.close()


def test_compiled_kernels_are_kept_where_that_is_asked_for(bench: Bench) -> None:
    engine = bench.build()
    folder = bench.folder / "tensorrt-rtx"
    for state in ("cold", "warm"):
        backend = bench.backend("TrtRtx", runtime_cache=True)
        backend.load(engine)
        assert backend.facts()["runtime_cache"] == state
        backend.close()
        (file,) = folder.iterdir()
        assert file.name == f"{RTX}-NVIDIA-H100-80GB-HBM3-9.0-CUDA-13.0.kernels"
    file.write_bytes(b"of another GPU")
    backend = bench.backend("TrtRtx", runtime_cache=True)
    backend.load(engine)
    assert backend.facts()["runtime_cache"] == "cold"
    backend.close()
    assert file.read_bytes() == b"kernels"


def test_a_cache_that_cannot_be_written_costs_no_result(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    (bench.folder / "tensorrt-rtx").write_text("a file")
    backend = bench.backend("TrtRtx", runtime_cache=True)
    backend.load(bench.build())
    backend.close()
    assert "[warning] the runtime cache" in capfd.readouterr().err
    assert not bench.cuda.live


def test_kernels_that_are_not_told_cost_no_result(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    backend = bench.backend("TrtRtx", runtime_cache=True)
    backend.load(bench.build())
    monkeypatch.setattr(RuntimeCacheObject, "serialize", lambda cache: None)
    backend.close()
    assert "[warning] TensorRT-RTX does not tell the kernels" in capfd.readouterr().err
    assert not bench.cuda.live and not (bench.folder / "tensorrt-rtx").exists()


@pytest.mark.parametrize(
    ("words", "kind", "hint"),
    [
        (HOPPER, MissingDependency, "run it on a GPU that TensorRT-RTX supports"),
        (DRIVER, MissingDependency, "this needs an NVIDIA GPU and its driver"),
    ],
)
def test_what_another_machine_could_do_is_skipped_in_its_own_words(
    bench: Bench, words: str, kind: type[BackendError], hint: str
) -> None:
    engine = bench.build()
    bench.trt.fails, bench.trt.errors = "deserialize", [words]
    backend = bench.backend("TrtRtx")
    with pytest.raises(kind) as raised:
        backend.load(engine)
    assert raised.value.status == "SKIPPED"
    assert raised.value.message == f"trt-rtx cannot load the engine (unsupported cc): {words}"
    assert raised.value.hint == hint
    backend.close()
    assert not bench.cuda.live and not bench.cuda.streams


def test_an_engine_of_another_version_is_not_loaded(bench: Bench) -> None:
    engine = bench.build()
    content = bytearray(Path(engine.path).read_bytes())
    content[25] = 6
    Path(engine.path).write_bytes(content)
    bench.trt.fails = "deserialize"  # it must not come to that
    with pytest.raises(BuildFailed, match=r"was made by TensorRT-RTX 1\.6\.1\.116, which only that version can load"):
        bench.backend("TrtRtx").load(engine)


def test_tf32_is_a_precision_of_its_own(bench: Bench) -> None:
    engine = bench.build(precision="tf32", user_allocation=False)
    assert engine.meta["flags"] == ["TF32"]
    backend = bench.backend("TrtRtx")
    backend.load(engine)
    assert backend.facts()["precision_effective"] == "tf32"


def test_an_engine_that_may_allocate(bench: Bench) -> None:
    assert bench.build(user_allocation=False).meta["flags"] == []


def test_layers_are_timed(bench: Bench) -> None:
    backend = bench.backend("TrtRtx")
    made: Artifact = bench.build()
    backend.load(made)
    backend.bind(0, rows(2))
    profile: Any = backend.profile(3)
    assert [(layer.name, layer.time_ns) for layer in profile.layers] == [
        ("product", [2.5e5] * 3),
        ("copy", [1.25e5] * 3),
    ]
    backend.close()
