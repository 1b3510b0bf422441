"""What NVML has seen of a case: by time, from rows of telemetry; and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.measure.gates.gpu import GpuEvidence, clock_mismatch, contended, gpu_findings, throttled
from benchfw.measure.gpu import Series, evidence

MS = 1_000_000
FACTS = {"scope": "gpu", "sm_max_mhz": 1980, "persistence": True, "refused": {}}


def rows(field: str, values: Iterable[tuple[int, float]], device: str = "cuda:0") -> list[dict[str, Any]]:
    return [
        {"sampler": "nvml", "field": f"{field}:{device}", "time_ns": time * MS, "value": value}
        for time, value in values
    ]


def spans(*pairs: tuple[int, int]) -> Any:
    return np.array(pairs, np.int64).reshape(-1, 2) * MS


def test_what_was_read_within_blocks_of_a_case_is_the_cases() -> None:
    series = Series(
        rows("sm_clock", [(0, 345), (10, 1980), (15, 1500), (20, 1470), (25, 1980), (30, 1000), (99, 7)])
        + rows("sm_clock", [(12, 5)], "cuda:1")
        + rows("power", [(12, float("nan"))]),
        "cuda:0",
    )
    assert series.within("sm_clock", spans((10, 20), (30, 40))).tolist() == [1980, 1500, 1470, 1000]
    assert series.within("sm_clock", spans()).tolist() == []
    assert series.within("power", spans((0, 99))).tolist() == [], "null is no value"
    assert series.within("nobody", spans((0, 99))).tolist() == []


def test_counters_are_taken_from_around_blocks() -> None:
    series = Series(rows("power_cap", [(0, 1.0), (100, 1.05), (110, 1.05), (210, 1.15), (400, 9.0)]), "cuda:0")
    grown = series.grown("power_cap", spans((5, 95), (112, 205)))
    assert list(grown or ()) == pytest.approx([0.15, 0.2])
    assert series.grown("power_cap", spans((5, 95), (390, 500))) is None, "nobody has read it after the block"
    assert series.grown("energy", spans((5, 95))) is None


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=20),
    st.lists(st.floats(0, 10), min_size=60, max_size=60),
)
def test_a_counter_never_grows_by_more_than_between_the_first_and_the_last_reading(
    lengths: list[tuple[int, int]], steps: list[float]
) -> None:
    readings = list(zip(range(0, 60 * 40, 40), np.cumsum(steps), strict=True))
    ends = np.cumsum(np.array(lengths).ravel()) + 1
    measured = spans(*zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))
    grown = Series(rows("power_cap", readings), "cuda:0").grown("power_cap", measured[:1])
    assert grown is not None
    assert 0 <= grown[0] <= readings[-1][1]
    assert grown[1] * 1e9 >= measured[0, 1] - measured[0, 0]


def measured_case(**more: Any) -> GpuEvidence:
    """Return what was seen of a case that a power limit held for half of the time, at 1485 of 1980 MHz."""
    clocks = [(time, 1485 if time % 200 else 1470) for time in range(0, 1000, 50)]
    capped = [(time, time / 2000) for time in range(0, 1001, 100)]
    thermal = [(time, 0.0) for time in range(0, 1001, 100)]
    read = rows("sm_clock", clocks) + rows("memory_clock", [(time, 2619) for time, _ in clocks])
    read += rows("power_cap", capped) + rows("hw_thermal", thermal) + rows("foreign_processes", thermal)
    read += rows("temperature", [(time, 60 + time // 100) for time in range(0, 1000, 100)])
    blocks = spans(*((start + 10, start + 90) for start in range(0, 1000, 100)))
    return evidence(read, "cuda:0", FACTS, measured=blocks, **more)


def test_a_power_limit_that_lowers_the_clock_is_throttling() -> None:
    seen = measured_case()
    assert (seen.sm_mhz, seen.sm_min_mhz, seen.memory_mhz, seen.temperature_c) == (1485, 1485, 2619, None)
    assert seen.shares["power_cap"] == pytest.approx(0.5)
    assert throttled(seen) == (
        "the SM clock was 1485 MHz, 25% below 1980 MHz: held by the power limit for 50% of the time"
    )
    assert [finding.code for finding in gpu_findings(seen)] == ["W06"]
    assert throttled(replace(seen, asked_mhz=1500)) is None, "the run has locked the clock there"
    assert throttled(replace(seen, shares={"power_cap": 0.05})) is None, "now and then"
    assert throttled(replace(seen, shares={})) is None, "a low clock without a reason is idleness"
    assert throttled(replace(seen, sm_mhz=1900)) is None
    assert "heat (the hardware) for 0%" in str(throttled(replace(seen, shares={"hw_thermal": 0.001})))


def test_a_locked_clock_is_what_was_asked_for() -> None:
    assert measured_case(locked_mhz=1485).asked_mhz == 1485
    assert throttled(measured_case(locked_mhz=1485)) is None


def test_without_counters_the_bits_of_readings_are_counted() -> None:
    read = rows("sm_clock", [(1, 1400), (2, 1400)]) + rows("reasons", [(1, 4), (2, 0x40 | 1)])
    seen = evidence(read, "cuda:0", FACTS, measured=spans((0, 9)))
    assert seen.shares == {
        "power_cap": 0.5,
        "sync_boost": 0.0,
        "sw_thermal": 0.0,
        "hw_thermal": 0.5,
        "power_brake": 0.0,
    }
    assert [finding.code for finding in gpu_findings(seen)] == ["W06", "W07"]


def test_energy_of_a_sample_with_the_doubt_that_steps_leave() -> None:
    read = rows("energy", [(0, 100.0), (2000, 1500.0)]) + rows("power", [(500, 650.0), (1500, 680.0)])
    stretch = spans((10, 1990)), 7000
    seen = evidence(read, "cuda:0", FACTS, measured=spans(), stretch=stretch)
    assert seen.power_w == 700.0
    assert seen.energy_j == pytest.approx((0.2, 0.19, 0.21)), "one of 20 steps"
    shared = evidence(read, "cuda:0", {**FACTS, "scope": "gpu_shared"}, measured=spans(), stretch=stretch)
    assert (shared.power_w, shared.energy_j) == (None, None), "that of a whole GPU is not that of a slice"
    unsupported = evidence(
        rows("power", [(500, 650.0), (1500, 680.0)]), "cuda:0", FACTS, measured=spans(), stretch=stretch
    )
    assert (unsupported.power_w, unsupported.energy_j) == (680.0, None), "readings lag by a second"
    assert [finding.code for finding in gpu_findings(shared)] == ["W12"]


def test_somebody_else_on_the_gpu() -> None:
    busy = rows("busy", [(time, 1.0) for time in range(0, 1000, 100)] + [(2100, 0.4), (3000, 0.31), (3200, 0.3)])
    there = rows("foreign_processes", [(0, 0), (500, 1), (1000, 0)])
    seen = evidence(busy + there, "cuda:0", FACTS, measured=spans((0, 1000)), held=spans((2000, 3250)))
    assert (seen.foreign, seen.idle_busy) == (1, 0.31)
    assert contended(seen) == "cuda:0 was busy for 31% of the time while every worker was held: 1 foreign processes"
    assert [finding.code for finding in gpu_findings(seen)] == ["W09"]
    idle = replace(seen, idle_busy=0.0)
    assert contended(idle) is None, "a process that only holds memory"
    assert [finding.code for finding in gpu_findings(idle)] == ["W09"]
    hidden = replace(seen, foreign=None)
    assert "not visible from here" in str(contended(hidden))
    assert [finding.code for finding in gpu_findings(hidden)] == ["W09"]
    assert contended(evidence(busy, "cuda:0", FACTS, measured=spans((0, 1000)))) is None, "nobody has looked"


@pytest.mark.parametrize(
    ("facts", "codes"),
    [
        ({}, []),
        ({"persistence": False}, ["W20"]),
        ({"persistence": None, "display": True, "ecc_uncorrected": 3}, ["W20", "W20"]),
        ({"refused": {"energy_j": "Not Supported (code 3)"}}, ["W12"]),
        ({"scope": "gpu_shared", "refused": {"busy": "Not Supported (code 3)"}}, ["W12"]),
    ],
)
def test_the_state_of_the_gpu(facts: dict[str, Any], codes: list[str]) -> None:
    found = list(gpu_findings(GpuEvidence(device="cuda:0", facts=facts)))
    assert [finding.code for finding in found] == codes
    assert all(";" in finding.message or finding.code == "W12" for finding in found), "with a remedy"


def test_clocks_of_two_cases_that_differ() -> None:
    fast, slow = (GpuEvidence(device="cuda:0", sm_mhz=mhz) for mhz in (1980.0, 1755.0))
    finding = clock_mismatch(slow, fast)
    assert finding is not None
    assert finding.code == "W08"
    assert finding.value == pytest.approx(0.1136, abs=1e-4)
    assert clock_mismatch(fast, fast) is None
    assert clock_mismatch(GpuEvidence(device="cuda:0"), fast) is None


def test_nothing_that_was_read_is_nothing_that_is_said() -> None:
    seen = evidence([], "cuda:0", FACTS, measured=spans((0, 10)), stretch=(spans((0, 10)), 5), held=spans((0, 9)))
    assert seen == GpuEvidence(device="cuda:0", facts=FACTS, asked_mhz=1980)
    assert list(gpu_findings(seen)) == []


def test_the_memory_of_a_worker_is_that_of_its_session() -> None:
    read = rows("worker_memory", [(0, 9), (5, 3), (20, 7), (900, 8)], "cuda:0:a-fp32")
    read += rows("worker_memory", [(5, 99)], "cuda:0:b-fp32") + rows("worker_memory", [(5, 98)], "cuda:1:a-fp32")
    seen = evidence(read, "cuda:0", FACTS, measured=spans((2, 10), (12, 18)), session="a-fp32")
    assert seen.worker_bytes == 7, "around the blocks, as boundaries are read after them"
    assert evidence(read, "cuda:0", FACTS, measured=spans((2, 10)), session="c").worker_bytes is None
