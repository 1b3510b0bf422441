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
            assert facts == {"cuda:1": {"locked_mhz": 1410, "sm_mhz": 1410, "released": None}}
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
    assert kept == {"cuda:1": {"locked_mhz": 1410, "sm_mhz": 1410, "released": True}}
    assert told == [
        "clocks are locked at 1410 MHz; they float at the end of the run, also where somebody had locked them before; "
        "if this run is killed: sudo nvidia-smi -rgc"
    ]


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
    assert caught.value.hint == (
        "only who has CAP_SYS_ADMIN of the machine may, as root has outside of containers; `benchfw doctor` says what "
        "this process lacks. A lock that nvidia-smi -lgc has set before holds too, but NVML does not tell it: the rows "
        "of such a run say `floating` like any others"
    )
    assert [gpu.locked for gpu in gpus] == [None, None]


def test_a_clock_that_the_gpu_does_not_have_is_refused_with_the_nearest() -> None:
    """The driver would take the nearest, and the rows would say another than the GPU runs at."""
    gpu = FakeGpu(steps=range(210, 1981, 15))
    with (
        pytest.raises(NvmlError, match="GPU 0 has no clock of 1400 MHz, its steps are 210 to 1980 MHz") as caught,
        locked_clocks(1400, {"cuda:0"}, print, FakeNvml([gpu])),
    ):
        raise AssertionError("it was locked")
    assert caught.value.hint == "the nearest: 1395 or 1410"
    with locked_clocks(1395, {"cuda:0"}, print, FakeNvml([gpu])) as facts:
        assert (gpu.locked, facts["cuda:0"]["locked_mhz"]) == (1395, 1395)
    assert gpu.locked is None


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceSetGpuLockedClocks"])
def test_a_driver_that_hangs_stops_no_run(function: str) -> None:
    fake = FakeNvml([FakeGpu()], hangs=[function])
    try:
        with (
            pytest.raises(NvmlError, match=r"the driver does not answer within 0\.05 s") as caught,
            locked_clocks(1410, {"cuda:0"}, print, fake, deadline_s=0.05),
        ):
            raise AssertionError("it was locked")
        assert "sudo nvidia-smi -rgc" in str(caught.value.hint)
    finally:
        fake.release()


def test_a_driver_that_hangs_at_the_end_is_told_of() -> None:
    fake, told = FakeNvml([FakeGpu()], hangs=["nvmlDeviceResetGpuLockedClocks"]), list[str]()
    try:
        with locked_clocks(1410, {"cuda:0"}, told.append, fake, deadline_s=0.2) as facts:
            pass
        assert facts["cuda:0"]["released"] is False
        assert told[-1].startswith("warning: the driver does not answer within 0.2 s; sudo nvidia-smi -i 0 -rgc")
    finally:
        fake.release()


def test_a_clock_that_cannot_be_let_go_is_told_of() -> None:
    gpu = FakeGpu(errors={"nvmlDeviceResetGpuLockedClocks": pynvml.NVML_ERROR_UNKNOWN})
    told: list[str] = []
    with locked_clocks(1410, {"cuda"}, told.append, FakeNvml([gpu])) as facts:
        pass
    assert facts == {"cuda:0": {"locked_mhz": 1410, "sm_mhz": 345, "released": False}}
    assert told[-1].endswith("sudo nvidia-smi -i 0 -rgc")


def test_without_a_case_on_a_gpu_or_without_the_gpu() -> None:
    with pytest.raises(UsageError, match="no case runs on a GPU"), locked_clocks(1410, {"cpu"}, print, FakeNvml()):
        raise AssertionError
    with pytest.raises(NvmlError, match="no cuda:0"), locked_clocks(1410, {"cuda:0"}, print, FakeNvml()):
        raise AssertionError
