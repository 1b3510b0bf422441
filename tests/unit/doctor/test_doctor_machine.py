"""What is said of machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchfw.doctor import machine
from benchfw.doctor.findings import Finding, examine

ALL = frozenset(range(4))
CPUS = "sys/devices/system/cpu"


def look(root: Path, affinity: frozenset[int] | None = ALL) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(machine.checks(root, affinity))}


def levels(root: Path, affinity: frozenset[int] | None = ALL) -> dict[str, str]:
    return {what: finding.level for what, finding in look(root, affinity).items() if finding.level != "OK"}


def test_a_laptop(laptop: Any) -> None:
    found = look(laptop.root)
    assert levels(laptop.root) == {"governor": "WARN", "turbo": "WARN", "SMT": "WARN"}
    assert found["governor"].text.startswith("powersave on 4 CPUs")
    assert found["governor"].remedy == "sudo cpupower frequency-set -g performance"
    assert found["turbo"].remedy == f"echo 1 | sudo tee /{CPUS}/intel_pstate/no_turbo"
    assert found["SMT"].remedy == f"echo off | sudo tee /{CPUS}/smt/control; without rights: taskset -c 0,1 benchfw …"
    assert found["memory"].text == "8.0 of 16.0 GiB available"
    assert found["CPUs"].text == "4, Fast CPU 9000"


def test_the_remedies_work(laptop: Any) -> None:
    laptop.write({f"{CPUS}/intel_pstate/no_turbo": "1\n", f"{CPUS}/smt/active": "0\n"})
    laptop.write({f"{CPUS}/cpu{cpu}/cpufreq/scaling_governor": "performance\n" for cpu in range(4)})
    assert levels(laptop.root) == {}


def test_one_thread_of_each_core(laptop: Any) -> None:
    assert look(laptop.root, frozenset({0, 1}))["SMT"].level == "OK"
    assert look(laptop.root, frozenset({0, 2}))["SMT"].level == "WARN"  # both threads of one core
    assert look(laptop.root, frozenset({0, 1, 2}))["SMT"].level == "WARN"
    assert look(laptop.root, frozenset({3}))["CPUs"].level == "WARN"


def test_boost_of_other_drivers(laptop: Any) -> None:
    (laptop.root / CPUS / "intel_pstate/no_turbo").unlink()
    assert look(laptop.root)["turbo"].text == "not visible here"
    laptop.write({f"{CPUS}/cpufreq/boost": "1\n"})
    assert look(laptop.root)["turbo"].remedy == f"echo 0 | sudo tee /{CPUS}/cpufreq/boost"
    laptop.write({f"{CPUS}/cpufreq/boost": "0\n"})
    assert look(laptop.root)["turbo"].text == "off"


@pytest.mark.parametrize(
    ("quota", "level"), [("50000", "FAIL"), ("100000", "WARN"), ("399999", "WARN"), ("400000", "OK"), ("900000", "OK")]
)
def test_quotas_of_both_versions(quota: str, level: str, laptop: Any) -> None:
    laptop.limit(2, cpu__max=f"{quota} 100000\n", cpu__stat="nr_throttled 17\n")
    second = look(laptop.root)["quota"]
    laptop.root = laptop.root.with_name("other")
    laptop.limit(1, cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000", cpu__stat="nr_throttled 17\n")
    assert look(laptop.root)["quota"] == second
    assert second.level == level
    assert ("(17 times so far)" in second.text) == (level == "WARN")


def test_memory_that_a_container_may_use(laptop: Any) -> None:
    laptop.limit(1, memory__limit_in_bytes="9223372036854771712")
    assert look(laptop.root)["memory"].text == "8.0 of 16.0 GiB available"
    laptop.limit(1, memory__limit_in_bytes=str(1 << 30))
    found = look(laptop.root)["memory"]
    assert (found.level, "limited to 1.0 GiB, of which 1.0 GiB are left" in found.text) == ("WARN", True)
    laptop.root = laptop.root.with_name("other")
    laptop.write({"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 400000 kB\n"})
    laptop.limit(2, memory__max="max\n")
    assert look(laptop.root)["memory"].level == "FAIL"


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (1, {"limit_in_bytes": 4 << 30, "usage_in_bytes": 4 << 30, "stat": f"total_inactive_file {1 << 28}"}),
        (2, {"max": 4 << 30, "current": 4 << 30, "stat": f"anon 7\ninactive_file {1 << 28}"}),
    ],
)
def test_memory_that_a_container_has_used(version: int, files: dict[str, object], laptop: Any) -> None:
    laptop.limit(version, **{f"memory__{name}": str(value) for name, value in files.items()})
    found = look(laptop.root)["memory"]
    assert found.level == "FAIL"
    assert found.text == (
        "8.0 of 16.0 GiB available, limited to 4.0 GiB, of which 0.2 GiB are left: no worker may start"
    )


@pytest.mark.parametrize(
    ("name", "others", "level", "remedy"),
    [
        ("tsc", "tsc hpet", "OK", ""),
        ("kvm-clock", "", "OK", ""),
        ("hpet", "hpet acpi_pm", "WARN", "dmesg"),
        ("acpi_pm", "hpet tsc acpi_pm", "WARN", "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/"),
    ],
)
def test_clocks(name: str, others: str, level: str, remedy: str, laptop: Any) -> None:
    folder = "sys/devices/system/clocksource/clocksource0"
    laptop.write({f"{folder}/current_clocksource": f"{name}\n", f"{folder}/available_clocksource": f"{others} \n"})
    found = look(laptop.root)["clock"]
    assert found.level == level
    assert remedy in found.remedy


def test_a_run_that_measures(laptop: Any) -> None:
    (found,) = (each for each in examine(machine.checks(laptop.root, ALL, "a run of ann")) if each.what == "runs")
    assert (found.level, found.text.partition(":")[0]) == ("WARN", "a run of ann is measuring on these CPUs")


@pytest.mark.parametrize(("load", "level"), [("0.49", "OK"), ("0.51", "WARN")])
def test_load_of_a_small_machine(load: str, level: str, laptop: Any) -> None:
    laptop.write({"proc/loadavg": f"{load} 9 9 1/1 1\n"})
    assert look(laptop.root)["load"].level == level


def test_load_of_a_large_machine(laptop: Any) -> None:
    laptop.write({f"{CPUS}/cpu{cpu}/online": "1" for cpu in range(128)})
    laptop.write({"proc/loadavg": "6.3 9 9 1/1 1\n"})
    assert look(laptop.root)["load"].level == "OK"
    laptop.write({"proc/loadavg": "6.5 9 9 1/1 1\n"})
    assert look(laptop.root)["load"].level == "WARN"


@pytest.mark.parametrize(("stolen", "level"), [(0, "OK"), (90, "OK"), (200, "WARN")])
def test_stolen_time(stolen: int, level: str, laptop: Any) -> None:
    laptop.write({"proc/stat": f"cpu  1000 0 500 8000 0 0 0 {stolen} 0 0\n"})
    assert look(laptop.root)["steal"].level == level


def test_a_system_without_proc(tmp_path: Path) -> None:
    found = look(tmp_path, None)
    assert set(found) == {
        "system",
        "CPUs",
        "quota",
        "governor",
        "turbo",
        "SMT",
        "clock",
        "memory",
        "load",
        "steal",
        "runs",
    }
    assert {finding.level for finding in found.values()} == {"OK"}
    assert not any("check failed" in finding.text for finding in found.values())


def test_nonsense_costs_its_own_check_only(laptop: Any) -> None:
    laptop.write({"proc/loadavg": "much\n", f"{CPUS}/cpu0/topology/thread_siblings_list": "x\n"})
    found = look(laptop.root)
    assert "this check failed: ValueError" in found["load"].text
    assert "this check failed: ValueError" in found["SMT"].text
    assert found["steal"].level == "OK"


def test_this_machine_can_be_read() -> None:
    assert not any("check failed" in finding.text for finding in look(Path("/")).values())
