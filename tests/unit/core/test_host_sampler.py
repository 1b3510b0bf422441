"""The sampler `host`: this machine, and machines that psutil is told of."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchfw.builtin import host
from benchfw.builtin.host import HostSampler
from benchfw.errors import MissingDependency

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")


def sensors(*shown: float | None) -> dict[str, list[SimpleNamespace]]:
    return {"chip": [SimpleNamespace(current=value) for value in shown]}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine whose figures a test may change."""
    figures = SimpleNamespace(
        times=Times(1.0, 0.0, 1.0, 8.0, 0, 0, 0, 0, 0.5, 0),
        clock=SimpleNamespace(current=2000.0),
        sensors=sensors(41.0),
    )
    pressure = tmp_path / "memory"
    pressure.write_text("some avg10=2.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=9.00 avg60=0.00 total=1\n")
    monkeypatch.setattr(host, "_PRESSURE", pressure)
    monkeypatch.setattr(psutil, "cpu_times", lambda: figures.times)
    monkeypatch.setattr(psutil, "cpu_freq", lambda: figures.clock)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: figures.sensors, raising=False)
    monkeypatch.setattr(psutil, "getloadavg", lambda: (1.25, 0.5, 0.25))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4000))
    figures.pressure = pressure
    return figures


def test_every_figure_in_its_unit(machine: SimpleNamespace) -> None:
    sampler = HostSampler()
    units = sampler.open()
    first = sampler.sample()
    assert (first["cpu_busy"], first["cpu_steal"]) == (None, None)  # no tick has passed since it was opened
    assert units.keys() == first.keys()
    assert (units["cpu_freq_mean"], units["temperature_max"], units["memory_available"]) == ("MHz", "°C", "bytes")
    assert (first["cpu_freq_mean"], first["temperature_max"]) == (2000.0, 41.0)
    machine.times = Times(1.3, 0.0, 1.1, 8.4, 0.1, 0, 0, 0.1, 0.7, 0)  # of 1 s 0.4 are work, 0.1 are stolen
    second = sampler.sample()
    assert second == {
        "load_1min": 1.25,
        "cpu_busy": pytest.approx(0.4),
        "cpu_steal": pytest.approx(0.1),
        "memory_available": 4000,
        "memory_pressure_10s": 0.025,
    }


def test_clock_and_temperature_cost_much_and_are_read_seldom(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = HostSampler()
    sampler.open()
    there = ["temperature_max" in sampler.sample() for _ in range(21)]
    assert [place for place, is_there in enumerate(there) if is_there] == [0, 10, 20]


@pytest.mark.parametrize(
    ("clock", "shown", "expected"),
    [
        (None, sensors(), (None, None)),
        (SimpleNamespace(current=0.0), {}, (None, None)),
        (SimpleNamespace(current=math.inf), sensors(-273.2, 99999.0, None, 37.0), (None, 37.0)),
    ],
)
def test_broken_sensors_and_those_that_are_not_there(
    clock: object, shown: object, expected: tuple[float | None, float | None], machine: SimpleNamespace
) -> None:
    machine.clock, machine.sensors = clock, shown
    sampler = HostSampler()
    sampler.open()
    figures = sampler.sample()
    assert (figures["cpu_freq_mean"], figures["temperature_max"]) == expected


@pytest.mark.parametrize("text", ["", "some", "some avg10=", "some avg10=x total=1", "full avg60=1"])
def test_a_kernel_that_does_not_tell_of_pressure(text: str, machine: SimpleNamespace) -> None:
    machine.pressure.write_text(text)
    sampler = HostSampler()
    sampler.open()
    assert sampler.sample()["memory_pressure_10s"] is None
    machine.pressure.unlink()
    assert sampler.sample()["memory_pressure_10s"] is None


def test_a_machine_that_hides_itself_has_nothing_to_read(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden() -> None:
        raise PermissionError(13, "hidden", "/proc/stat")

    monkeypatch.setattr(psutil, "cpu_times", hidden)
    with pytest.raises(MissingDependency, match="/proc/stat"):
        HostSampler().open()


def test_the_memory_of_workers_is_read_while_they_live() -> None:
    """On this machine."""
    sampler = HostSampler()
    assert sampler.open().keys() == sampler.sample().keys()
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stdout.readline()
        watched = {"me": os.getpid(), "child": child.pid, "nobody": 2**22 + 1}
        assert sampler.watch(watched) == {"rss:me": "bytes", "rss:child": "bytes"}
        figures = sampler.sample()
        assert (figures["rss:me"] or 0) > 1 << 20 and (figures["rss:child"] or 0) > 1 << 16
        assert "temperature_max" not in figures
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
        assert "rss:child" not in sampler.sample()
    assert sampler.watch({}) == {}
    assert "rss:me" not in sampler.sample()
