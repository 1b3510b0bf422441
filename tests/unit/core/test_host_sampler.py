"""The sampler `host`, on machines that are described in files."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.builtin.host import HostSampler
from benchfw.errors import MissingDependency

CPU = "sys/devices/system/cpu"
MACHINE = {
    "proc/stat": "cpu  100 0 100 800 0 0 0 0 50 0\ncpu0 100 0 100 800 0 0 0 0 50 0\nintr 5\n",
    "proc/loadavg": "1.25 0.50 0.25 2/300 4000\n",
    "proc/meminfo": "MemTotal:  8000 kB\nMemFree:  100 kB\nMemAvailable:  4000 kB\n",
    "proc/pressure/memory": "some avg10=2.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=9.00 avg60=0.00 total=1\n",
    "proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2000.5\n\nprocessor\t: 1\ncpu MHz\t\t: 3000.5\n",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
    f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/temp": "56500\n",
    "sys/class/hwmon/hwmon0/temp1_input": "90000\n",
}
LATER = "cpu  130 0 110 840 10 0 0 10 70 0\n"  # of 100 ticks 40 are work, 10 are stolen


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_every_figure_in_its_unit(tmp_path: Path) -> None:
    sampler = HostSampler(write(tmp_path, MACHINE))
    units = sampler.open()
    first = sampler.sample()
    assert (first["cpu_busy"], first["cpu_steal"]) == (None, None)  # no tick has passed since it was opened
    write(tmp_path, {"proc/stat": LATER})
    assert sampler.sample() == {
        "load_1min": 1.25,
        "cpu_busy": 0.4,
        "cpu_steal": 0.1,
        "cpu_freq_mean": 2000.0,
        "memory_available": 4000 * 1024,
        "memory_pressure_10s": 0.025,
        "temperature_max": 56.5,
    }
    assert units.keys() == first.keys()
    assert units["cpu_freq_mean"] == "MHz"
    assert units["temperature_max"] == "°C"


def test_what_a_machine_does_not_have_is_none_or_comes_from_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, {"proc/stat": MACHINE["proc/stat"]})
    sampler = HostSampler(tmp_path)
    assert set(sampler.open()) == set(sampler.sample())
    assert set(sampler.sample().values()) == {None}
    write(tmp_path, {name: MACHINE[name] for name in ("proc/cpuinfo", "sys/class/hwmon/hwmon0/temp1_input")})
    sampler = HostSampler(tmp_path)
    sampler.open()
    figures = sampler.sample()
    assert (figures["cpu_freq_mean"], figures["temperature_max"]) == (2500.5, 90.0)


def test_broken_sensors_do_not_count(tmp_path: Path) -> None:
    zones = dict(enumerate(("-273200", "99999999", "", "x", "37000")))
    write(tmp_path, MACHINE | {f"sys/class/thermal/thermal_zone{n}/temp": text for n, text in zones.items()})
    sampler = HostSampler(tmp_path)
    sampler.open()
    assert sampler.sample()["temperature_max"] == 37.0


def test_of_many_cores_some_are_read(tmp_path: Path) -> None:
    write(tmp_path, MACHINE | {f"{CPU}/cpu{n}/cpufreq/scaling_cur_freq": f"{n}000\n" for n in range(100)})
    sampler = HostSampler(tmp_path)
    sampler.open()
    mean = sampler.sample()["cpu_freq_mean"]
    assert mean is not None
    assert 40 < mean < 60  # of 0 to 99 MHz


def test_without_proc_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="proc/stat"):
        HostSampler(tmp_path).open()


def test_this_machine() -> None:
    sampler = HostSampler()
    assert set(sampler.open()) == set(sampler.sample())
    assert (sampler.sample()["memory_available"] or 0) > 1 << 20


WORDS = st.sampled_from(
    ["cpu", "some", "avg10=", "MemAvailable:", "cpu MHz", ":", "nan", "-1", "1e400", "9" * 400, "7"]
)
BROKEN = st.binary(max_size=60) | st.lists(WORDS, max_size=12).map(lambda words: " ".join(words).encode())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted(MACHINE)), BROKEN), BROKEN)
def test_broken_files_give_none_or_a_finite_number(files: dict[str, bytes], stat: bytes) -> None:
    with TemporaryDirectory() as folder:
        root = write(Path(folder), MACHINE)
        sampler = HostSampler(root)
        units = sampler.open()
        for name, content in {"proc/stat": stat, **files}.items():
            (root / name).write_bytes(content)
        for _ in range(2):
            figures = sampler.sample()
            assert figures.keys() == units.keys()
            for field, value in figures.items():
                assert value is None or (math.isfinite(value) and value >= 0)
                assert value is None or units[field] != "ratio" or field == "memory_pressure_10s" or value <= 1
