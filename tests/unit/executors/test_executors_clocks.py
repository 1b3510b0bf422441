"""Locked clocks, on a fake GPU."""

from __future__ import annotations

import pynvml
import pytest

from benchfw.errors import NvmlError, UsageError
from benchfw.executors.clocks import locked_clocks
from benchfw.gpu.nvml import open_nvml
from benchfw.testing.nvml import FakeGpu, FakeNvml


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def test_clocks_are_left_alone_unless_that_was_asked_for() -> None:
    fake = FakeNvml([FakeGpu()])
    with locked_clocks(None, {"cuda:0"}, print, fake) as facts:
        assert facts == {}
    assert fake.calls == []


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, OSError])
def test_clocks_are_locked_and_let_go_whatever_happens(error: type[BaseException] | None) -> None:
    gpus = [FakeGpu(uuid="GPU-a"), FakeGpu(uuid="GPU-b", bus="00000000:02:00.0", clocks={1: (1980, 1980)})]
    told: list[str] = []

    def run() -> None:
        with locked_clocks(1410, {"cpu", "cuda:1"}, told.append, FakeNvml(gpus)) as facts:
            kept.update(facts)
            assert [gpu.locked for gpu in gpus] == [None, 1410]
            assert facts == {"cuda:1": {"locked_mhz": 1410, "restored": None}}
            with open_nvml(FakeNvml(gpus)) as nvml:
                assert nvml.device(1).read("sm_mhz") == {"sm_mhz": 1410}
            if error:
                raise error

    kept: dict[str, object] = {}
    if error:
        with pytest.raises(error):
            run()
    else:
        run()
    assert [gpu.locked for gpu in gpus] == [None, None]
    assert kept == {"cuda:1": {"locked_mhz": 1410, "restored": True}}
    assert told == ["clocks are locked at 1410 MHz; if this run is killed: sudo nvidia-smi -rgc"]


def test_without_permission_nothing_is_changed_and_the_message_says_what_to_do() -> None:
    gpus = [
        FakeGpu(),
        FakeGpu(errors={"nvmlDeviceSetGpuLockedClocks": pynvml.NVML_ERROR_NO_PERMISSION}, bus="00000000:02"),
    ]
    with (
        pytest.raises(NvmlError, match="the clock of GPU 1 cannot be locked: Insufficient Permissions") as caught,
        locked_clocks(1410, {"cuda:0", "cuda:1"}, print, FakeNvml(gpus)),
    ):
        raise AssertionError("it was locked")
    assert "sudo nvidia-smi -i 1 -lgc 1410" in str(caught.value.hint)
    assert [gpu.locked for gpu in gpus] == [None, None]


def test_a_clock_that_cannot_be_let_go_is_told_of() -> None:
    gpu = FakeGpu(errors={"nvmlDeviceResetGpuLockedClocks": pynvml.NVML_ERROR_UNKNOWN})
    told: list[str] = []
    with locked_clocks(1410, {"cuda"}, told.append, FakeNvml([gpu])) as facts:
        pass
    assert facts == {"cuda:0": {"locked_mhz": 1410, "restored": False}}
    assert told[-1].endswith("sudo nvidia-smi -i 0 -rgc")


def test_without_a_case_on_a_gpu_or_without_the_gpu() -> None:
    with pytest.raises(UsageError, match="no case runs on a GPU"), locked_clocks(1410, {"cpu"}, print, FakeNvml()):
        raise AssertionError
    with pytest.raises(NvmlError, match="no cuda:0"), locked_clocks(1410, {"cuda:0"}, print, FakeNvml()):
        raise AssertionError
