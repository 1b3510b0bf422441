"""The CUDA clock over a driver that answers what it is told to: errors, captures, and what is freed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchfw.errors import BackendError, DeviceLost, Invalid, MissingDependency, OutOfMemory, Unsupported
from benchfw.worker import cuda
from benchfw.worker.cuda import CudaClock, CudaDevice, ask
from benchfw.worker.devices import DeviceMemory, open_device

OK, OUT_OF_MEMORY, NO_DEVICE, ILLEGAL_ADDRESS, INVALIDATED = 0, 2, 100, 700, 901
NAMES = {
    OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY",
    NO_DEVICE: b"CUDA_ERROR_NO_DEVICE",
    ILLEGAL_ADDRESS: b"CUDA_ERROR_ILLEGAL_ADDRESS",
    INVALIDATED: b"CUDA_ERROR_X",
}


class Driver:
    """Answers calls with success and a number that counts up; `answers` has others by the names of functions."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "cuGetErrorName": lambda error: (OK, NAMES[error]),
            "cuGetErrorString": lambda error: (OK, b"words"),
            "cuEventRecord": (OK,),
            "cuStreamSynchronize": (OK,),
            "cuStreamBeginCapture": (OK,),
            "cuGraphGetNodes": (OK, ["node"], 1),
            "cuGraphUpload": (OK,),
            **answers,
        }
        self.calls: list[str] = []
        self.freed: list[Any] = []
        self.CUevent_flags = SimpleNamespace(CU_EVENT_DEFAULT=0, CU_EVENT_BLOCKING_SYNC=1, CU_EVENT_DISABLE_TIMING=2)
        self.CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def CUstream(self, handle: int) -> int:  # noqa: N802  (the driver's own name)
        return handle

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if "Destroy" in name:
                self.freed.append(arguments[0])
                return (OK,)
            answer = self.answers.get(name, (OK, f"{name}{self.calls.count(name)}"))
            return answer(*arguments) if callable(answer) else answer

        return call


def clock(*, blocking: bool = False, **answers: Any) -> tuple[CudaClock, Driver]:
    driver = Driver(**answers)
    return CudaClock(driver, 7, blocking=blocking), driver


def test_answers_are_unpacked_and_errors_raised() -> None:
    driver = Driver()
    assert [ask(driver, (OK,)), ask(driver, (OK, 5)), ask(driver, (OK, 5, 6))] == [(), 5, (5, 6)]
    with pytest.raises(OutOfMemory, match=r"CUDA_ERROR_OUT_OF_MEMORY \(words\)"):
        ask(driver, (OUT_OF_MEMORY,))
    with pytest.raises(BackendError, match="CUDA_ERROR_X"):
        ask(driver, (INVALIDATED, None))
    with pytest.raises(DeviceLost, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        ask(driver, (ILLEGAL_ADDRESS,))


@pytest.mark.parametrize(
    ("error", "kind"), [(OUT_OF_MEMORY, OutOfMemory), (ILLEGAL_ADDRESS, DeviceLost), (INVALIDATED, DeviceLost)]
)
def test_what_a_device_fails_at_is_final_but_for_memory(
    monkeypatch: pytest.MonkeyPatch, error: int, kind: type[BackendError]
) -> None:
    device, _ = opened(monkeypatch, cache_bytes=50, cuCtxSynchronize=(error,))
    with pytest.raises(kind) as raised:
        device.synchronize()
    assert raised.value.message == f"the CUDA device failed: {NAMES[error].decode()} (words)"


def test_the_default_stream_is_refused() -> None:
    with pytest.raises(Invalid, match="default"):
        CudaClock(Driver(), 0, blocking=False)


def test_events_are_recorded_beforehand_and_kept() -> None:
    made, driver = clock()
    events = made.events(4)
    assert driver.calls.count("cuEventRecord") == 4
    assert made.events(2) == events[:2]
    assert made.events(5)[:4] == events
    assert driver.calls.count("cuEventCreate") == 5


@pytest.mark.parametrize(("blocking", "flags"), [(False, 2), (True, 3)])
def test_what_is_waited_for_blocks_or_spins(blocking: bool, flags: int) -> None:
    seen: list[int] = []

    def create(flag: int) -> tuple[int, str]:
        seen.append(flag)
        return OK, "event"

    made, driver = clock(blocking=blocking, cuEventCreate=create)
    made.markers(1)
    driver.calls.clear()
    made.fence()
    assert driver.calls == (["cuEventRecord", "cuEventSynchronize"] if blocking else ["cuStreamSynchronize"])
    assert set(seen) == {flags}, "markers tell no time, and block only if they shall"


def test_a_graph_is_replayed_on_the_stream_and_freed_once() -> None:
    launches: list[Any] = []

    def replayed(*what: Any) -> tuple[int]:
        launches.append(what)
        return (OK,)

    made, driver = clock(cuGraphLaunch=replayed)
    replay = made.capture(lambda: launches.append("captured"))
    replay()
    assert launches == ["captured", ("cuGraphInstantiate1", 7)]
    order = [name for name in driver.calls if name in ("cuGraphInstantiate", "cuGraphUpload", "cuGraphLaunch")]
    assert order == ["cuGraphInstantiate", "cuGraphUpload", "cuGraphLaunch"], "the first replay uploads nothing"
    events = made.events(2)
    made.close()
    made.close()
    assert driver.freed == ["cuGraphInstantiate1", "cuStreamEndCapture1", *events]


def test_a_graph_goes_when_nobody_can_replay_it_any_more() -> None:
    """A worker binds slots anew for each point of a sweep."""
    made, driver = clock()
    replay = made.capture(lambda: None)
    assert driver.freed == []
    replay = made.capture(lambda: None)
    assert driver.freed == ["cuGraphInstantiate1", "cuStreamEndCapture1"]
    made.close()
    assert driver.freed[2:] == ["cuGraphInstantiate2", "cuStreamEndCapture2"]
    del replay
    assert len(driver.freed) == 4


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"cuStreamEndCapture": (INVALIDATED, None)}, "CUDA_ERROR_X"),
        ({"cuGraphGetNodes": (OK, [], 0)}, "nothing to capture"),
    ],
)
def test_a_capture_that_fails_says_why(answers: Any, words: str) -> None:
    made, driver = clock(**answers)
    with pytest.raises(Unsupported, match=words):
        made.capture(lambda: None)
    assert driver.freed == ([] if "cuStreamEndCapture" in answers else ["cuStreamEndCapture1"])


def test_a_capture_is_ended_if_the_launch_raises() -> None:
    made, driver = clock()

    def launch() -> None:
        raise RuntimeError("not while capturing\nmore")

    with pytest.raises(Unsupported, match=r"not while capturing$"):
        made.capture(launch)
    assert driver.freed == ["cuStreamEndCapture1"]


def test_no_driver_no_device_and_no_such_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_load_driver", lambda: Driver(cuDeviceGetCount=(OK, 1)))
    with pytest.raises(MissingDependency, match="no device cuda:3: CUDA sees 1"):
        CudaDevice(3)
    assert open_device("cpu") is None
    with pytest.raises(Unsupported, match="'abacus'"):
        open_device("abacus:1")


def opened(monkeypatch: pytest.MonkeyPatch, *, cache_bytes: int, **answers: Any) -> tuple[CudaDevice, Driver]:
    """Return a device of 1000 bytes, of which each allocation takes 300."""
    driver: Any = Driver(
        cuDeviceGetCount=(OK, 1),
        cuDeviceGetName=(OK, b"H100\0"),
        cuDeviceGetUuid=(OK, SimpleNamespace(bytes=bytes(16))),
        cuDeviceGetAttribute=(OK, cache_bytes),
        cuMemGetInfo=lambda: (OK, 900 - 300 * driver.calls.count("cuMemAlloc"), 1000),
        **answers,
    )
    driver.CUctx_flags = SimpleNamespace(CU_CTX_SCHED_SPIN=1)
    driver.CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
        CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE=38,
    )
    monkeypatch.setattr(cuda, "_load_driver", lambda: driver)
    return CudaDevice(0), driver


def test_the_context_of_a_device_spins_whatever_the_driver_would_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def set_flags(device: str, flags: int) -> tuple[int]:
        seen.append((device, flags))
        return (OK,)

    _, driver = opened(monkeypatch, cache_bytes=50, cuDevicePrimaryCtxSetFlags=set_flags)
    assert seen == [("cuDeviceGet1", driver.CUctx_flags.CU_CTX_SCHED_SPIN)]
    assert driver.calls.index("cuDevicePrimaryCtxSetFlags") < driver.calls.index("cuDevicePrimaryCtxRetain")


def test_a_flush_writes_twice_the_cache_on_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    def fill(*what: Any) -> tuple[int]:
        written.append(what)
        return (OK,)

    device, driver = opened(monkeypatch, cache_bytes=50, cuMemsetD8Async=fill, cuMemAlloc=lambda size: (OK, size))
    flush = device.flusher(device.clock(7, blocking=False))
    device.flusher(device.clock(8, blocking=False))
    flush()
    assert written == [(100, 0, 100, 7), (100, 0, 100, 8), (100, 0, 100, 7)], "each was tried when it was made"
    assert driver.calls.count("cuMemAlloc") == 1, "for all streams"
    assert device.own_bytes == 300, "what the allocation took, which is more than was asked for"


def test_what_cannot_be_flushed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = opened(monkeypatch, cache_bytes=0)
    with pytest.raises(Unsupported, match="H100 does not tell the size of its cache"):
        device.flusher(device.clock(7, blocking=False))
    device, _ = opened(monkeypatch, cache_bytes=50, cuMemAlloc=(OUT_OF_MEMORY, None))
    with pytest.raises(OutOfMemory):
        device.flusher(device.clock(7, blocking=False))
    device, _ = opened(monkeypatch, cache_bytes=50, cuMemsetD8Async=(INVALIDATED,))
    with pytest.raises(BackendError, match="CUDA_ERROR_X"):
        device.flusher(device.clock(7, blocking=False))


def test_memory_is_that_of_the_instance_that_a_message_names() -> None:
    free = [100, 70, 70, 60, 60, 65, 90, 90, 80]
    device: Any = SimpleNamespace(facts={"memory_bytes": 200}, free_bytes=lambda: free.pop(0), own_bytes=0)
    memory = DeviceMemory()
    for name in ("a", "b"):
        with memory.watched(device, name):
            pass
    with memory.watched(device, "a"):
        assert memory.look(device, "a") == 25
    with memory.watched(device, "c"):
        pass
    assert memory.look(None, "a") is None
    assert memory._of == {"a": 0, "b": 10, "c": 10}


def test_memory_of_benchfw_itself_is_no_case_s() -> None:
    device: Any = SimpleNamespace(facts={"memory_bytes": 200}, free_bytes=lambda: 150 - device.own_bytes, own_bytes=0)
    memory = DeviceMemory()
    with memory.watched(device):
        device.own_bytes = 40
        assert memory.look(device, "") == 0
    assert memory.told() == {"free_bytes": 110, "peak_bytes": 0, "device_peak_bytes": 50}, "it is not free either"


def test_memory_is_what_messages_take() -> None:
    free = [100, 70, 70, 60, 60, 90]
    device: Any = SimpleNamespace(facts={"memory_bytes": 200}, free_bytes=lambda: free.pop(0), own_bytes=0)
    memory = DeviceMemory()
    assert memory.told() is None
    for _ in range(3):
        with memory.watched(device):
            pass
    assert memory.told() == {"free_bytes": 90, "peak_bytes": 40, "device_peak_bytes": 140}
