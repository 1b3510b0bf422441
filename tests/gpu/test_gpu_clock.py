"""The clock of a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchfw.errors import MissingDependency, OutOfMemory, Unsupported
from benchfw.worker import loops
from benchfw.worker.cuda import ask
from benchfw.worker.devices import Device, DeviceClock, open_device

pytestmark = pytest.mark.gpu

N = 200
SIZE = 64 << 20


@pytest.fixture(scope="module")
def driver(device: Device) -> Any:
    return pytest.importorskip("cuda.bindings.driver")


@pytest.fixture(scope="module")
def buffer(driver: Any) -> Iterator[Any]:
    """Device memory of 64 MiB, which takes some 20 to 100 µs to fill."""
    made = ask(driver, driver.cuMemAlloc(SIZE))
    yield made
    driver.cuMemFree(made)


@pytest.fixture(params=[False, True], ids=["spin", "blocking"])
def clock(request: pytest.FixtureRequest, device: Device, driver: Any) -> Iterator[DeviceClock]:
    stream = ask(driver, driver.cuStreamCreate(int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
    made = device.clock(int(stream), blocking=request.param)
    yield made
    made.close()
    driver.cuStreamDestroy(stream)


def test_facts(device: Device) -> None:
    assert device.facts["uuid"].startswith("GPU-")
    assert len(device.facts["uuid"]) == 40
    assert device.facts["cache_bytes"] > 1 << 20
    assert 0 < device.free_bytes() < device.facts["memory_bytes"]


def test_there_is_no_such_device(device: Device) -> None:
    with pytest.raises(MissingDependency, match="no device cuda:99"):
        open_device("cuda:99")


def test_events_agree_with_the_host(clock: DeviceClock, driver: Any, buffer: Any) -> None:
    """The device's own time is no longer than the host's, and nearly all of it: one fill is one kernel."""
    starts, enqueued, ends = [0] * N, [0] * N, [0] * N
    events = clock.events(2 * N)
    rows = list(zip(*[iter(events)] * 2, strict=True))
    launches = [lambda: [driver.cuMemsetD8Async(buffer, 1, SIZE, clock.stream) for _ in range(20)]] * N
    for _ in range(2):
        loops.stream_events(launches, rows, clock.record, clock.stream, clock.fence, starts, enqueued, ends)
    spans = clock.spans(rows)[:, 0]
    latencies = np.array(ends) - np.array(starts)
    assert (spans > 0).all()
    assert np.median(spans) <= np.median(latencies)
    assert np.median(spans) > 0.5 * np.median(latencies)


def test_a_graph_does_what_was_captured(clock: DeviceClock, device: Device, driver: Any, buffer: Any) -> None:
    replay = clock.capture(lambda: driver.cuMemsetD8Async(buffer, 7, SIZE, clock.stream))
    ask(driver, driver.cuMemsetD8(buffer, 0, SIZE))
    device.synchronize()
    replay()
    clock.fence()
    found = np.zeros(1 << 20, np.uint8)
    ask(driver, driver.cuMemcpyDtoH(found, buffer, found.nbytes))
    assert (found == 7).all()


def test_what_cannot_be_captured_says_why(clock: DeviceClock, device: Device, driver: Any, buffer: Any) -> None:
    with pytest.raises(Unsupported, match="nothing to capture"):
        clock.capture(lambda: None)
    with pytest.raises(Unsupported, match="CUDA_ERROR_STREAM_CAPTURE"):
        clock.capture(lambda: driver.cuStreamSynchronize(clock.stream))
    clock.capture(lambda: driver.cuMemsetD8Async(buffer, 7, SIZE, clock.stream))()  # the stream is as it was
    device.synchronize()


def test_memory_that_is_not_there(device: Device, driver: Any) -> None:
    with pytest.raises(OutOfMemory, match="CUDA_ERROR_OUT_OF_MEMORY"):
        ask(driver, driver.cuMemAlloc(2 * device.facts["memory_bytes"]))


def test_a_flush_makes_what_was_in_the_cache_slow_to_read(clock: DeviceClock, device: Device, driver: Any) -> None:
    """A copy of an eighth of the cache is faster when both sides are in it; the flush itself is in no time."""
    size = int(device.facts["cache_bytes"]) // 8
    source, target = (ask(driver, driver.cuMemAlloc(size)) for _ in range(2))
    try:
        free = device.free_bytes() + device.own_bytes
        flush = device.flusher(clock)
        assert device.free_bytes() + device.own_bytes == free
        assert device.own_bytes >= 2 * device.facts["cache_bytes"]
        launches = [lambda: driver.cuMemcpyDtoDAsync(target, source, size, clock.stream)] * N
        rows = list(zip(*[iter(clock.events(2 * N))] * 2, strict=True))
        spans = {}
        for name in ("warm", "flush"):
            starts, enqueued, ends = [0] * N, [0] * N, [0] * N
            each = loops.flushed(launches, flush, clock.fence) if name == "flush" else launches
            loops.stream_events(each, rows, clock.record, clock.stream, clock.fence, starts, enqueued, ends)
            device.synchronize()
            spans[name] = float(np.median(clock.spans(rows)))
        print(f"copy of {size} bytes: {spans['warm']:.0f} ns in the cache, {spans['flush']:.0f} ns after a flush")
        assert spans["flush"] > 1.1 * spans["warm"]
        alone = [0] * N, [0] * N, [0] * N
        loops.stream_latency([flush] * N, clock.fence, *alone)
        flush_ns = float(np.median(np.array(alone[2]) - np.array(alone[0])))
        print(f"a flush takes {flush_ns:.0f} ns")
        assert flush_ns > 1e9 * device.own_bytes / 1e13, "it writes, and not at 10 TB/s"
    finally:
        for address in (source, target):
            driver.cuMemFree(address)
