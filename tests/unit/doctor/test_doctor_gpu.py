"""What is said of GPUs."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from benchfw.doctor import gpu
from benchfw.doctor.findings import Finding, examine
from benchfw.testing.nvml import FakeGpu, FakeNvml


def look(fake: FakeNvml, deadline_s: float = 20.0) -> list[Finding]:
    return list(examine(gpu.checks(fake, deadline_s=deadline_s)))


def troubles(fake: FakeNvml) -> list[str]:
    found = [finding for finding in look(fake) if finding.level != "OK"]
    assert all(finding.remedy for finding in found)
    return [f"{finding.level} {finding.what}: {finding.text}" for finding in found]


def test_a_gpu_that_is_well() -> None:
    driver: dict[str, str | None] = {}
    found = list(examine(gpu.checks(FakeNvml([FakeGpu()]), driver=driver)))
    whats = ["driver", "clocks", *["GPU 0"] * 3]
    assert [(finding.what, finding.level) for finding in found] == [(what, "OK") for what in whats]
    assert driver == {"cuda": "13.0"}
    texts = [finding.text for finding in found]
    assert texts[0] == "580.95.05, CUDA up to 13.0"
    assert "--lock-clocks" in texts[1]
    assert texts[2] == (
        "NVIDIA Fake 80GB, 80.0 GiB, 30 °C, 70 of 700 W, 345 of 1980 MHz, GPU-00000000-0000-0000-0000-000000000000"
    )
    assert texts[3] == "persistence mode on, ECC on, MIG off, display off, memory clock 2619 of 2619 MHz"
    often = ["sm_mhz", "memory_mhz", "power_w", "temperature_c", "busy", "reasons"]
    between = ["counters", "memory_used_bytes", "processes", "energy_j"]
    calls, each = re.subn(r"\d+ µs", "N µs", texts[4])
    assert each == 13
    assert re.sub(r"dearest \w+ ", "dearest ", calls) == (
        f"telemetry reads 6 of 6 fields in N µs ten times per second: {', '.join(f'{name} N µs' for name in often)}; "
        f"between blocks {', '.join(f'{name} N µs' for name in between)}; once 15 calls in N µs, the dearest N µs"
    )


def test_a_driver_without_a_gpu_serves_nothing() -> None:
    """As on a machine whose GPUs a container was not given: what is told to be installed is for a machine without."""
    driver: dict[str, str | None] = {}
    (found,) = examine(gpu.checks(FakeNvml(), driver=driver))
    assert (found.level, found.text) == ("WARN", "580.95.05, CUDA up to 13.0, but no GPU is visible")
    assert driver == {}


class Slow(FakeNvml):
    """One call takes longer than all the others."""

    def nvmlDeviceGetMigMode(self, handle: Any) -> Any:  # noqa: N802 (NVML's name)
        time.sleep(0.02)
        return super().nvmlDeviceGetMigMode(handle)


def test_what_is_asked_once_has_its_cost_too() -> None:
    """Among what is asked once are the dearest calls: a driver may take milliseconds for one."""
    text = look(Slow([FakeGpu()]))[-1].text
    found = re.search(r"; once \d+ calls in (\d+) µs, the dearest mig (\d+) µs$", text)
    assert found is not None and int(found[1]) >= int(found[2]) >= 20_000


STATUS = "Name:\tpython\nUid:\t{user}\t{user}\t{user}\t{user}\nCapEff:\t{rights}\n"
ALL, DOCKERS = "000001ffffffffff", "00000000a80425fb"


@pytest.mark.parametrize(
    ("user", "rights", "users", "words"),
    [
        (0, ALL, "         0          0 4294967295\n", "--lock-clocks may hold the SM clock, if the GPU can: "),
        (
            0,
            DOCKERS,
            "         0          0 4294967295\n",
            "will refuse --lock-clocks: this is root without CAP_SYS_ADMIN",
        ),
        (1000, "0000000000000000", "         0          0 4294967295\n", "will refuse --lock-clocks: it wants root"),
        (0, ALL, "         0       1000          1\n", "will refuse --lock-clocks: this is root of a user namespace"),
        (0, ALL, None, "--lock-clocks may hold the SM clock, if the GPU can: "),
    ],
)
def test_whether_clocks_may_be_locked(user: int, rights: str, users: str | None, words: str, tmp_path: Path) -> None:
    """Root of a container has Docker's set of rights, unless it is given more."""
    (tmp_path / "status").write_text(STATUS.format(user=user, rights=rights))
    if users is not None:
        (tmp_path / "uid_map").write_text(users)
    found = list(examine(gpu.checks(FakeNvml([FakeGpu()]), process=tmp_path)))
    assert [words in finding.text for finding in found if finding.what == "clocks"] == [True]


def test_where_the_kernel_does_not_tell_of_rights_nothing_is_promised(tmp_path: Path) -> None:
    fake = FakeNvml([FakeGpu()])
    _, clocks, *_ = examine(gpu.checks(fake, process=tmp_path))
    assert "cannot be told" in clocks.text
    assert not [name for name in fake.calls if "Locked" in name], "nothing is tried"


def test_calls_that_cost_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_DEAR_US", 0.0)
    (trouble,) = troubles(FakeNvml([FakeGpu(errors={"nvmlDeviceGetUtilizationRates": 3})]))
    assert trouble.startswith("WARN GPU 0: telemetry reads 5 of 6 fields in ")


def test_without_a_driver_nothing_is_wrong() -> None:
    (found,) = look(FakeNvml(errors={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}))
    assert (found.level, found.text) == ("OK", "no NVIDIA driver: GPU backends cannot run here")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "reboot"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_UNKNOWN, "nvidia-smi"),
        (4711, "nvidia-smi"),
    ],
)
def test_a_driver_that_cannot_be_used(code: int, remedy: str) -> None:
    (found,) = look(FakeNvml(errors={"nvmlInit": code}))
    assert found.level == "FAIL"
    assert f"code {code}" in found.text
    assert remedy in found.remedy


def test_a_driver_that_hangs() -> None:
    fake = FakeNvml([FakeGpu()], hangs=["nvmlDeviceGetTemperature"])
    try:
        (found,) = look(fake, deadline_s=0.05)
    finally:
        fake.release()
    assert found.level == "FAIL"
    assert "does not answer" in found.text


def test_what_disturbs() -> None:
    gpu = FakeGpu(
        persistence=False,
        mig=True,
        reasons=pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwThermalSlowdown,
        ecc_uncorrected=2,
        processes=[(41, 3 << 30), (42, None)],
    )
    assert troubles(FakeNvml([gpu])) == [
        "WARN GPU 0: persistence mode is off: the driver unloads when nobody uses the GPU, and forgets clocks that "
        "were set",
        "WARN GPU 0: MIG is on: there is no utilisation, and power, clocks and temperature are those of the whole GPU",
        "WARN GPU 0: its clock is held down now: power cap, thermal slowdown by the hardware",
        "WARN GPU 0: 2 uncorrected memory errors since the driver was loaded: outputs may be wrong",
        "WARN GPU 0: others compute on it: process 41 (3.0 GiB), 42",
    ]


def test_a_gpu_that_is_idle_or_kept_slow_by_its_user_is_not_throttled() -> None:
    harmless = (
        pynvml.nvmlClocksEventReasonGpuIdle
        | pynvml.nvmlClocksEventReasonApplicationsClocksSetting
        | pynvml.nvmlClocksEventReasonSyncBoost
        | pynvml.nvmlClocksEventReasonDisplayClockSetting
    )
    assert troubles(FakeNvml([FakeGpu(reasons=harmless)])) == []


def test_processes_that_a_container_does_not_see() -> None:
    assert troubles(FakeNvml([FakeGpu(memory_used=9 << 30)])) == [
        "WARN GPU 0: 9.0 GiB are in use by processes that are not visible from here"
    ]
    assert troubles(FakeNvml([FakeGpu(memory_used=600 << 20)])) == []


def test_a_lost_gpu_does_not_hide_the_others() -> None:
    lost = pynvml.NVML_ERROR_GPU_IS_LOST
    gpus = [
        FakeGpu(errors={"nvmlDeviceGetHandleByIndex": lost}),
        FakeGpu(errors={"nvmlDeviceGetUUID": lost}),
        FakeGpu(),
    ]
    fake = FakeNvml(gpus)
    assert troubles(fake) == [f"FAIL GPU {index}: GPU {index}: GPU is lost (NVML code {lost})" for index in (0, 1)]
    assert [finding.what for finding in look(fake) if finding.level == "OK"] == ["driver", "clocks", *["GPU 2"] * 3]


def test_a_driver_without_a_gpu() -> None:
    (trouble,) = troubles(FakeNvml())
    assert "no GPU is visible" in trouble


def test_what_a_gpu_does_not_tell() -> None:
    missing = pynvml.NVML_ERROR_NOT_SUPPORTED
    names = [name for name in vars(FakeNvml) if name.startswith("nvmlDeviceGet")]
    told = {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}
    errors = {name: missing for name in (*names, "nvmlDeviceGetMemoryInfo_v2") if name not in told}
    _, _, summary, modes, calls, refused = look(FakeNvml([FakeGpu(errors=errors)]))
    assert (summary.level, summary.text) == ("OK", "without a name, without a UUID")
    assert modes.text == "persistence mode unknown, ECC unknown, MIG unknown, display unknown"
    assert calls.text == "telemetry reads 0 of 6 fields in 0 µs ten times per second"
    assert "ecc: Not Supported (code 3)" in refused.text
