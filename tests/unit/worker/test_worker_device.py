"""What a worker says when something fails on its device."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from benchfw.errors import BackendError, DeviceLost, OutOfMemory
from benchfw.spec import Backend, Bound
from benchfw.testing.device import OWN, FakeDevice
from benchfw.worker.protocol import Message
from benchfw.worker.quiet import quiet
from benchfw.worker.server import Instance, Server
from benchfw.worker.timing import Mode, timing_of


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice(0)


def ask(device: FakeDevice, failure: Exception, *, dies: bool) -> None:
    server: Any = Server()
    server._device = device

    def on_bind(values: Any) -> Message:
        device.is_lost = dies
        raise failure

    server.on_bind = on_bind
    server.answer(Message("bind", {}))


@pytest.mark.parametrize("failure", [RuntimeError("CUDA error: illegal address\nmore"), BackendError("copy failed")])
def test_what_fails_on_a_device_that_is_lost_is_final(device: FakeDevice, failure: Exception) -> None:
    """The worker would else be kept for other cases, which all fail of it, each with words of its own."""
    with pytest.raises(DeviceLost) as raised:
        ask(device, failure, dies=True)
    assert raised.value.message in (
        "the fake device has failed; CUDA error: illegal address",
        "the fake device has failed; copy failed",
    )


@pytest.mark.parametrize("failure", [OutOfMemory("no memory"), RuntimeError("of another kind")])
def test_what_fails_on_a_device_that_works_is_what_it_is(device: FakeDevice, failure: Exception) -> None:
    with pytest.raises(type(failure)) as raised:
        ask(device, failure, dies=False)
    assert raised.value is failure


class Model:
    """Refers to itself, as models with hooks do."""

    def __init__(self) -> None:
        self.me = self


class Collecting:
    """A backend that collects garbage before it tells its framework to give memory back."""

    def __init__(self) -> None:
        self.model: Model | None = Model()
        self.seen = weakref.ref(self.model)
        self.dead: bool | None = None

    def close(self) -> None:
        self.model = None
        gc.collect()
        self.dead = self.seen() is None


def test_a_backend_that_is_closed_after_blocks_finds_its_garbage() -> None:
    server: Any = Server()
    backend: Any = Collecting()
    server._instances["case"] = Instance(backend, mode=Any)  # type: ignore[arg-type]
    quiet(lambda: None)
    server.answer(Message("close", {"instance": "case"}))
    assert backend.dead


class Holding:
    """A backend whose memory goes with its objects, as a framework's does that counts references."""

    def __init__(self, device: FakeDevice, n: int) -> None:
        device.used_bytes += n
        weakref.finalize(self, self._give_back, device, n)

    @staticmethod
    def _give_back(device: FakeDevice, n: int) -> None:
        device.used_bytes -= n

    def close(self) -> None:
        pass


def test_what_goes_with_the_objects_of_a_closed_backend_is_given_back(device: FakeDevice) -> None:
    server: Any = Server()
    server._device = device

    def on_open(values: Any) -> Message:
        held: Any = Holding(device, 1 << 20)
        server._instances["case"] = Instance(held, mode=Any)  # type: ignore[arg-type]
        return Message("ok", {})

    server.on_open = on_open
    server.answer(Message("open", {"instance": "case"}))
    assert server.answer(Message("close", {"instance": "case"})).values["device_bytes"] == 0


class Launched(Bound):
    """Notes what is called, in order."""

    def __init__(self, device: FakeDevice) -> None:
        self.calls: list[str] = []

        def launch() -> None:
            self.calls.append("captured" if device.is_capturing else "launched")
            device.enqueue(OWN, 1000)

        self.launch = launch

    def outputs(self) -> dict[str, Any]:
        return {}


class Early(Backend):
    """Enqueues on a stream, and lets the core capture it."""

    stream = OWN

    def load(self, artifact: Any) -> Any:
        return None

    def bind(self, slot: int, inputs: Any) -> Any:
        return None


def test_a_slot_is_captured_once_after_two_launches(device: FakeDevice) -> None:
    backend: Any = Early({}, None)  # type: ignore[arg-type]
    timing = timing_of(backend, device, Mode(graph="on"))
    bound = Launched(device)
    timing.bind(0, bound)
    timing.capture(0)
    timing.block([0, 0, 0], events=False)
    assert bound.calls == ["launched", "launched", "captured"]
