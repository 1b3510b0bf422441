"""The backends of TensorRT, on TensorRTs that are made up: what they ask of it, and what they say when it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.errors import BackendError, BuildFailed, Invalid, MissingDependency, OutOfMemory, Unsupported
from benchfw.spec import TensorSpec
from tests.unit.tensorrt import fake_tensorrt
from tests.unit.tensorrt.conftest import Bench

ONE = TensorSpec(name="x", dtype="float32", shape=(4, 8))


def rows(batch: int, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((batch, 8)).astype(np.float32)}


def outputs(bound: Any) -> Any:
    bound.launch()
    return bound.outputs()["y"].copy()


@pytest.mark.parametrize("name", ["TrtStatic", "TrtDynamic"])
def test_an_engine_for_one_shape_runs_under_both(bench: Bench, name: str) -> None:
    backend = bench.backend(name)
    io = backend.load(bench.build(bench.model(shape=[4, 8]), axes={}, inputs=(ONE,)))
    assert io.outputs == (TensorSpec(name="y", dtype="float32", shape=(4, 8)),)
    slots = [backend.bind(slot, rows(4, slot)) for slot in range(3)]
    for slot, bound in enumerate(slots):
        np.testing.assert_array_equal(outputs(bound), 2 * rows(4, slot)["x"])
    facts = backend.facts()
    assert (facts["provider_effective"], facts["precision_effective"], facts["threads_effective"]) == (
        "TensorRT",
        "fp32",
        1,
    )
    assert facts["engine_sha256"] == "1" * 64 and facts["backend_version"] == bench.trt.__version__
    backend.close()
    backend.close()
    assert not bench.cuda.live and not bench.cuda.streams
    assert backend.stream is None and backend.facts() == {}


def test_a_static_runner_binds_once(bench: Bench) -> None:
    backend = bench.backend("TrtStatic")
    backend.load(bench.build(axes={"batch": (4, 4, 4)}))  # static from dynamic
    slots = [backend.bind(slot, rows(4, slot)) for slot in range(2)]
    bench.trt.calls.clear()
    for _ in range(3):
        for bound in slots:
            bound.launch()
    assert bench.trt.calls == []
    assert bench.trt.executed == [(4, 8)] * 6


def test_a_dynamic_runner_sets_what_differs(bench: Bench) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build())
    two, two_more, eight = (backend.bind(slot, rows(batch, slot)) for slot, batch in enumerate((2, 2, 8)))
    addresses = [("address", "x"), ("address", "y")]
    for bound, calls in [
        (two, [("shape", "x", (2, 8)), *addresses]),
        (two, []),
        (two_more, addresses),  # the same shape elsewhere
        (eight, [("shape", "x", (8, 8)), *addresses]),
        (two, [("shape", "x", (2, 8)), *addresses]),
    ]:
        bench.trt.calls.clear()
        bound.launch()
        assert bench.trt.calls == calls
    for slot, bound in enumerate((two, two_more, eight)):
        np.testing.assert_array_equal(outputs(bound), 2 * rows((2, 2, 8)[slot], slot)["x"])
    backend.close()
    assert not bench.cuda.live


def test_the_profile_that_serves_a_shape_best_is_chosen(bench: Bench) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build(profiles=[{"batch": (1, 1, 2)}, {"batch": (2, 6, 8)}]))
    small, large = backend.bind(0, rows(1)), backend.bind(1, rows(6))
    assert [backend.bind(2, rows(batch)).profile for batch in (1, 2, 3, 8)] == [0, 0, 1, 1]
    outputs(small)
    bench.trt.calls.clear()
    outputs(large)
    assert bench.trt.calls[:2] == [("profile", 1), ("shape", "x", (6, 8))]


@pytest.mark.parametrize(
    ("profiles", "batch", "says"),
    [
        ((), 9, "outside of the engine's profile: axis 0 (batch) of input 'x' is 9, it takes 1 to 8"),
        (
            ({"batch": (1, 1, 2)}, {"batch": (4, 4, 8)}),
            3,
            "outside of the engine's profiles: axis 0 (batch) of input 'x' is 3, it takes 1 to 2; "
            "axis 0 (batch) of input 'x' is 3, it takes 4 to 8",
        ),
    ],
)
def test_a_shape_outside_of_the_profile_is_refused_before_the_call(
    bench: Bench, profiles: tuple[Any, ...], batch: int, says: str
) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build(profiles=profiles))
    bench.trt.calls.clear()
    with pytest.raises(Invalid) as raised:
        backend.bind(0, rows(batch))
    assert raised.value.message == says
    assert bench.trt.calls == []
    np.testing.assert_array_equal(outputs(backend.bind(0, rows(1))), 2 * rows(1)["x"])


def test_a_static_runner_refuses_an_engine_for_several_shapes(bench: Bench) -> None:
    backend = bench.backend("TrtStatic")
    with pytest.raises(Unsupported, match="the engine takes several shapes of 'x', and trt-static one"):
        backend.load(bench.build())
    backend.close()
    assert not bench.cuda.live and not bench.cuda.streams


@pytest.mark.parametrize("name", ["TrtStatic", "TrtDynamic"])
def test_a_slot_that_is_bound_anew_gives_its_memory_back(bench: Bench, name: str) -> None:
    backend = bench.backend(name)
    backend.load(bench.build(axes={"batch": (4, 4, 4)}))
    old = backend.bind(0, rows(4))
    before = len(bench.cuda.live)
    for seed in range(5):
        bound = backend.bind(0, rows(4, seed))
    assert len(bench.cuda.live) == before
    np.testing.assert_array_equal(outputs(bound), 2 * rows(4, 4)["x"])
    with pytest.raises(Invalid, match="bound anew"):
        old.launch()


def test_copies_go_through_page_locked_memory(bench: Bench) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build())
    bound = backend.bind(0, rows(2))
    bound.buffers["x"].host[...] = 3.0
    bound.copy_in()
    bound.launch()
    bound.copy_out()
    assert (bound.buffers["y"].host == 6.0).all()


def test_a_captured_slot_has_a_context_of_its_own(bench: Bench) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build())
    two, eight = backend.bind(0, rows(2)), backend.bind(1, rows(8))
    assert backend.capture(two) is None
    eight.launch()
    bench.trt.calls.clear()
    np.testing.assert_array_equal(outputs(two), 2 * rows(2)["x"])
    assert bench.trt.calls == []


def test_wider_types_of_a_model_are_cast(bench_of: Callable[[str], Bench]) -> None:
    ids = (TensorSpec(name="x", dtype="int64", shape=("batch", 8)),)
    bench = bench_of("8.6.0")
    backend = bench.backend("TrtDynamic", ids)
    io = backend.load(bench.build(bench.model(kind="INT64"), inputs=ids))
    assert (io.inputs[0].dtype, io.outputs[0].dtype) == ("int64", "int32")
    values = np.arange(16, dtype=np.int64).reshape(2, 8)
    np.testing.assert_array_equal(outputs(backend.bind(0, {"x": values})), 2 * values)
    facts = backend.facts()
    assert (facts["cast_inputs"], facts["io_dtype"]) == ({"x": "int64 -> int32"}, "int32")
    with pytest.raises(Invalid, match="input 'x' has values that do not fit into int32"):
        backend.bind(0, {"x": values << 40})


@pytest.mark.parametrize(
    ("layer", "weak", "asked", "effective"),
    [("FP32", True, "fp16", "fp32"), ("FP16", True, "fp16", "fp16"), ("FP32", True, "tf32", "tf32")],
)
def test_the_effective_precision_is_that_of_products(
    bench_of: Callable[[str], Bench], layer: str, weak: bool, asked: str, effective: str
) -> None:
    bench = bench_of("10.16.1")
    bench.trt.layer_type = layer
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build(precision=asked, weak=weak))
    assert backend.facts()["precision_effective"] == effective


def test_layers_are_timed_without_the_warm_up(bench: Bench) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build())
    backend.bind(0, rows(2))
    profile = backend.profile(4)
    product, copy = profile.layers
    assert (product.name, product.op, product.precision) == ("product", "CaskConvolution", "fp32")
    assert (list(product.time_ns), product.nodes, product.kernel) == ([0.25e6] * 4, ("mul", "add"), "sm80_xmma")
    assert (copy.op, len(profile.inference_ns)) == ("Reformat", 4)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("version", "9.9.9", "the engine was made by TensorRT 9.9.9; here is "),
        (
            "gpu",
            "NVIDIA A10",
            "the engine was made on NVIDIA A10 (9.0), for which it is tuned; here is NVIDIA H100 80GB",
        ),
        ("driver", "535.1", "the engine was made with the driver 535.1, here is CUDA 13.0"),
    ],
)
def test_an_engine_that_belongs_elsewhere_is_not_loaded(bench: Bench, field: str, value: str, says: str) -> None:
    engine = bench.build()
    bench.trt.fails = "deserialize"  # it must not come to that
    with pytest.raises(BuildFailed) as raised:
        bench.backend("TrtDynamic").load(replace(engine, meta={**engine.meta, field: value}))
    assert raised.value.message.startswith(says)
    assert raised.value.hint == "build it again; the cache does so by itself"
    assert not bench.cuda.streams


@pytest.mark.parametrize(
    ("call", "text", "error"),
    [
        ("deserialize", "Error Code 6: API Usage Error (The engine plan file is not compatible)", BuildFailed),
        ("deserialize", "Error Code 2: OutOfMemory (no further information)", OutOfMemory),
        ("execute", "Error Code 3: API Usage Error (address is not set)", BackendError),
        ("execute", "Error Code 1: Cuda Runtime (out of memory)", OutOfMemory),
    ],
)
def test_what_tensorrt_says_stands_in_the_error(bench: Bench, call: str, text: str, error: type[BackendError]) -> None:
    engine = bench.build()
    bench.trt.errors = [text]
    backend = bench.backend("TrtDynamic")
    if call == "execute":
        backend.load(engine)
        bound = backend.bind(0, rows(1))
    bench.trt.fails = call
    with pytest.raises(error) as raised:
        bound.launch() if call == "execute" else backend.load(engine)
    assert type(raised.value) is error
    assert text in raised.value.message
    backend.close()
    assert not bench.cuda.live


def test_what_tensorrt_says_is_found_whichever_engine_was_loaded_last(bench: Bench) -> None:
    """A worker holds an engine for each mode: TensorRT tells one log per process."""
    engine = bench.build()
    first, last = (bench.backend(name) for name in ("TrtDynamic", "TrtDynamic"))
    first.load(engine)
    last.load(engine)
    bound = first.bind(0, rows(1))
    last.bind(0, rows(1))
    bench.trt.fails, bench.trt.errors = "execute", ["Error Code 1: Cuda Runtime (out of memory)"]
    with pytest.raises(OutOfMemory, match="out of memory"):
        bound.launch()
    for backend in (first, last):
        backend.close()
    assert not bench.cuda.live


def test_memory_that_runs_out_while_a_slot_is_bound(bench: Bench) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build())
    small = backend.bind(0, rows(1))
    bench.cuda.limit = 128
    with pytest.raises(OutOfMemory, match=r"cudaMalloc: cudaErrorMemoryAllocation \(256 bytes were asked for\)"):
        backend.bind(1, rows(8))
    np.testing.assert_array_equal(outputs(small), 2 * rows(1)["x"])
    backend.close()
    assert not bench.cuda.live


def test_a_bind_that_fails_halfway_leaves_other_slots_right(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = bench.backend("TrtDynamic")
    backend.load(bench.build())
    two = backend.bind(0, rows(2))
    outputs(two)
    bench.cuda.limit = 128
    with pytest.raises(OutOfMemory):
        backend.bind(1, rows(8))
    bench.cuda.limit = 1 << 20
    with monkeypatch.context() as patch:
        patch.setattr(fake_tensorrt.Context, "get_tensor_shape", lambda self, name: (-1, 8))
        with pytest.raises(Unsupported, match=r"the values of inputs decide the shape \[-1, 8\] of output 'y'"):
            backend.bind(1, rows(8))  # the context has the new shape by then
    two.launch()
    assert bench.trt.executed[-1] == (2, 8)
    np.testing.assert_array_equal(two.outputs()["y"], 2 * rows(2)["x"])


def test_where_there_is_no_gpu(bench: Bench) -> None:
    engine = bench.build()
    bench.cuda.device = None
    with pytest.raises(MissingDependency) as raised:
        bench.backend("TrtDynamic").load(engine)
    assert raised.value.hint == "this needs an NVIDIA GPU and its driver"


def test_layouts_that_benchfw_does_not_fill(bench: Bench) -> None:
    """No option asks for one; it would be filled wrongly without a word."""
    engine = bench.build()
    file = Path(engine.path)
    plan = json.loads(file.read_text())
    plan["tensors"][0][4] = 1 << int(bench.trt.TensorFormat.HWC8)
    file.write_text(json.dumps(plan))
    with pytest.raises(Unsupported, match="'x' has the layout HWC8"):
        bench.backend("TrtDynamic").load(engine)


def test_a_budget_for_weights_needs_an_engine_that_streams_them(bench: Bench) -> None:
    with pytest.raises(Unsupported, match="the engine does not stream weights"):
        bench.backend("TrtDynamic", weight_streaming_budget="1GiB").load(bench.build())


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_a_budget_for_weights_reaches_the_engine(bench_of: Callable[[str], Bench], version: str) -> None:
    bench = bench_of(version)
    engine = bench.build(weight_streaming=True)
    for budget, wanted in ((None, 1 << 20), ("64KiB", 64 << 10)):
        backend = bench.backend("TrtDynamic", weight_streaming_budget=budget)
        backend.load(engine)
        assert backend._engine.weight_streaming_budget_v2 == wanted
        backend.close()


def test_bind_before_load(bench: Bench) -> None:
    with pytest.raises(Invalid, match="bind before load"):
        bench.backend("TrtStatic").bind(0, rows(1))
