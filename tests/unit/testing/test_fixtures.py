"""The fixtures for authors of plugins, in a test module as an author writes it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

MODULE = '''
import os
import threading
from pathlib import Path

import pytest

from benchfw.errors import NvmlError
from benchfw.gpu.nvml import open_nvml
from benchfw.testing.nvml import FakeGpu

pytest_plugins = ["benchfw.testing.fixtures"]

SCENARIO = """
name = "fixtures"
[model]
ref = "null:model"
[[sweep]]
kind = "fixed"
[measure]
effort = "quick"
budget = "1s"
"""


def test_a_run(project, virtual_backend, tmp_path):
    text = SCENARIO + virtual_backend("slow", latency_us=2000) + virtual_backend("quick", latency_us=500)
    outcome, results = project.run(text)
    assert {row["status"] for row in outcome.rows} == {"OK"}
    p50 = results.cases.set_index("name").latency_p50_ns
    assert p50["slow"] == pytest.approx(2e6, rel=0.05)
    assert p50["quick"] == pytest.approx(5e5, rel=0.05)
    assert Path(outcome.folder).is_relative_to(tmp_path)
    for variable in ("BENCHFW_CACHE", "BENCHFW_LOCKS"):
        assert Path(os.environ[variable]).is_relative_to(tmp_path.parent)


def test_one_gpu_that_is_scripted(fake_nvml):
    fake_nvml.gpus[0].temperature = 88
    fake_nvml.gpus[0].errors = {"nvmlDeviceGetEccMode": 3}
    with open_nvml(fake_nvml) as nvml:
        assert nvml.count == 1
        assert nvml.device(0).read("temperature_c", "ecc") == {"temperature_c": 88, "ecc": None}
        fake_nvml.gpus[0].temperature = 40
        assert nvml.device(0).read("temperature_c") == {"temperature_c": 40}


def test_each_test_has_its_own(fake_nvml):
    assert fake_nvml.gpus == [FakeGpu()]
    fake_nvml.errors["nvmlInit"] = 9
    with pytest.raises(NvmlError) as caught, open_nvml(fake_nvml):
        pass
    assert caught.value.code == 9


THREADS = []


def test_a_hang(fake_nvml):
    fake_nvml.hangs.add("nvmlDeviceGetTemperature")
    THREADS.append(threading.Thread(target=fake_nvml.nvmlDeviceGetTemperature, args=(fake_nvml.gpus[0], 0)))
    THREADS[0].start()
    assert THREADS[0].is_alive()


def test_a_hang_ends_with_its_test():
    THREADS[0].join(timeout=20)
    assert not THREADS[0].is_alive()
'''


def test_a_module_of_an_author(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MODULE)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=5)
