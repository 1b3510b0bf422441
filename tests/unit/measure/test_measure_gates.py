"""Gates: what is said, from which value on."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchfw.measure.canary import Canaries
from benchfw.measure.gates import Finding, host, latency, telemetry
from benchfw.measure.gates.host import HostEvidence, host_findings
from benchfw.measure.pauses import Pauses, RoundMedian, cost_of, paused_in
from benchfw.stats import modes, paired_effect

SECOND = 10**9
QUIET = HostEvidence(
    blocks=20,
    cpus=4,
    usable=4,
    threads=4,
    nr_throttled=0,
    nivcsw=200,
    majflt=2,
    elapsed_ns=2 * SECOND,
    busy_ns=7 * SECOND,
    steal_ns=SECOND // 25,
    sibling_ns=SECOND // 10,
    own_ns=66 * SECOND // 10,
    siblings=1,
    governors={"performance"},
    pressure=0.1,
)
"""Just within every threshold."""


def test_a_quiet_host_gives_no_finding() -> None:
    assert host_findings(QUIET) == []
    unknown = replace(QUIET, busy_ns=None, steal_ns=None, sibling_ns=None, siblings=0, governors=(), pressure=None)
    assert host_findings(unknown) == []
    assert host_findings(replace(QUIET, blocks=0, elapsed_ns=0, nivcsw=0, majflt=0)) == []


@pytest.mark.parametrize(
    ("change", "code", "value", "threshold", "words"),
    [
        ({"nr_throttled": 3}, "W10", 3, 0, "raise it or lower `threads`"),
        ({"steal_ns": SECOND // 10}, "W10", 0.0125, 0.005, "the hypervisor took 1.2% of the CPU time"),
        ({"nivcsw": 400}, "W10", 20, 10, "20 involuntary context switches per block"),
        ({"threads": 8, "usable": 2}, "W10", 8, 2, "set `threads = 2`"),
        ({"own_ns": 5 * SECOND}, "W09", 0.25, 0.05, "other processes took 25% of the usable CPUs"),
        ({"governors": {"performance", "powersave"}}, "W11", None, None, "governor is powersave"),
        ({"sibling_ns": SECOND}, "W11", 0.5, 0.05, "busy for 50% of the time"),
        ({"pressure": 0.4}, "H02", 0.4, 0.1, "waited for memory in 40% of 10 s"),
        ({"majflt": 30}, "H02", 1.5, 0.1, "1.5 pages per block came from a disk"),
    ],
)
def test_each_thing_that_a_host_does(
    change: dict[str, Any], code: str, value: float | None, threshold: float | None, words: str
) -> None:
    (finding,) = host_findings(replace(QUIET, **change))
    assert (finding.code, finding.threshold) == (code, threshold)
    assert finding.value == (None if value is None else pytest.approx(value))
    assert words in finding.message and "\n" not in finding.message


def test_single_ticks_of_steal_may_be_chance() -> None:
    assert host.stolen(20_000_000, SECOND, 1) is None
    assert host.stolen(30_000_000, SECOND, 1) is not None
    assert host.stolen(30_000_000, 100 * SECOND, 1) is None


def test_what_latencies_look_like() -> None:
    assert latency.spread(None) is latency.spread(0.025) is latency.outliers(None) is latency.outliers(0.01) is None
    assert latency.dependent(50.0) is latency.dependent(None) is latency.overhead(10.0, 1000.0) is None
    found = [latency.spread(0.03), latency.outliers(0.02), latency.dependent(80.0), latency.overhead(50, 1000)]
    assert [finding and finding[:3] for finding in found] == [
        ("W04", 0.03, 0.025),
        ("W05", 0.02, 0.01),
        ("W18", 80.0, 50.0),
        ("W15", 0.05, 0.01),
    ]


def test_two_modes() -> None:
    random = np.random.default_rng(1)
    fast = random.normal(1e6, 5e3, 2000)
    assert latency.bimodal(modes(fast)) is None
    two = np.where(random.random(2000) < 0.25, 1.1, 1.0) * fast
    finding = latency.bimodal(modes(two))
    assert finding is not None and finding.code == "W17"
    assert finding.value == pytest.approx(0.1, abs=0.01)
    assert re.match(r"latencies have two modes, \d+\.?\d* and 1\d\d\d µs, 2\d% of them in the slower", finding.message)


def test_costs_are_said_when_there_is_no_doubt() -> None:
    random = np.random.default_rng(2)
    small, clear = (paired_effect(random.normal(mean, 0.005, 30)) for mean in (0.004, 0.03))
    unsure = paired_effect(random.normal(0.03, 0.1, 10))
    for gate, code in ((latency.instrumentation, "W14"), (telemetry.costly, "W13")):
        assert gate(None) is gate(small) is gate(unsure) is None
        finding = gate(clear)
        assert finding is not None and finding.code == code
        assert finding.value == pytest.approx(0.03, abs=0.005)


# --- the cost of telemetry ------------------------------------------------------------------------------------------


def test_pauses_are_balanced_and_tell_nothing_of_places() -> None:
    states = np.array([[paused_in(round_, seed) for round_ in range(400)] for seed in range(20)])
    assert (states.reshape(20, -1, 2).sum(axis=2) == 1).all(), "each pair has one of both"
    first = states.reshape(20, -1, 2)[:, :, 0]
    assert (first.reshape(20, -1, 2).sum(axis=2) == 1).all(), "of two pairs each begins with another one"
    assert 0.3 < first[:, ::2].mean() < 0.7
    assert len({tuple(row) for row in states.tolist()}) == 20, "seeds differ"


def rounds(
    cost: float, *, drift: float = 0.0, noise: float = 0.002, pairs: int = 30, cases: int = 3
) -> list[RoundMedian]:
    """Medians of rounds in which running samplers cost so much."""
    random = np.random.default_rng(3)
    return [
        RoundMedian(
            f"case{case}",
            0,
            round_,
            int(not paused_in(round_, 7)),
            1e6
            * (case + 1)
            * math.exp(drift * round_ + random.normal(0, noise))
            * (1 if paused_in(round_, 7) else 1 + cost),
        )
        for round_ in range(2 * pairs)
        for case in range(cases)
    ]


@pytest.mark.parametrize("drift", [0.0, 0.002])
@pytest.mark.parametrize("cost", [0.0, 0.02])
def test_the_cost_is_found_and_a_drift_is_not_taken_for_it(cost: float, drift: float) -> None:
    effect = cost_of(rounds(cost, drift=drift))
    assert effect is not None
    assert effect.n == 30
    assert effect.value - 1 == pytest.approx(cost, abs=0.0015)
    assert effect.low <= 1 + cost + 0.0015 and effect.high >= 1 + cost - 0.0015


def test_what_is_no_pair_does_not_count() -> None:
    assert cost_of([]) is None
    block = RoundMedian("a", 0, 0, 1, 100.0)
    assert cost_of([block, block._replace(round=2, telemetry=0)]) is None, "of two pairs"
    assert cost_of([block, block._replace(round=1, telemetry=0, case="b")]) is None, "of two cases"
    assert cost_of([block, block._replace(round=1, telemetry=0, invocation=1)]) is None, "of two processes"
    assert cost_of([block._replace(telemetry=None), block._replace(round=1, telemetry=None)]) is None
    effect = cost_of([block, block._replace(round=1, telemetry=0, median_ns=50.0)])
    assert effect is not None and effect.n == 1
    assert effect.value == pytest.approx(2.0)
    assert telemetry.costly(effect) is None, "nobody is sure after one pair"


class Samplers:
    """Telemetry that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.running: bool | None = True

    def pause(self) -> None:
        self.running = False
        self.told.append("pause")

    def resume(self) -> None:
        self.running = True
        self.told.append("resume")


def test_samplers_that_cost_too_much_are_read_between_rounds_only() -> None:
    samplers: Any = Samplers()
    pauses = Pauses(samplers, seed=7)
    assert [pauses.begin(round_) for round_ in range(8)] == [int(not paused_in(round_, 7)) for round_ in range(8)]
    assert pauses.judge(rounds(0.0))[1] is None
    effect, finding = pauses.judge(rounds(0.02))
    assert effect is not None and finding is not None and finding.code == "W13"
    samplers.told.clear()
    assert [pauses.begin(round_) for round_ in range(3)] == [0, 0, 0]
    assert samplers.told == ["resume", "pause"] * 3, "one reading before each round"
    pauses.end()
    assert samplers.running
    assert pauses.judge(())[1] is None and pauses.boundary


def test_without_samplers_there_is_nothing_to_pause() -> None:
    samplers: Any = Samplers()
    samplers.pause = samplers.resume = lambda: None
    samplers.running = None
    assert [Pauses(samplers, 7).begin(round_) for round_ in range(4)] == [None] * 4


# --- the canary -----------------------------------------------------------------------------------------------------

PARTS = {"roots_ns": 1000, "product_ns": 2000, "copy_ns": 4000}


def test_a_canary_that_shifts() -> None:
    canaries = Canaries()
    assert (canaries.shift, canaries.finding()) == (None, None)
    canaries.note(PARTS)
    assert (canaries.shift, canaries.finding()) == (None, None)
    canaries.note({"roots_ns": 1009, "product_ns": 1981, "copy_ns": 4000})
    assert canaries.finding() is None
    canaries.note({"roots_ns": 1009, "product_ns": 1900, "copy_ns": 4100})  # the last one counts
    assert canaries.shift == pytest.approx(-0.05)
    finding = canaries.finding()
    assert isinstance(finding, Finding)
    assert (finding.code, finding.threshold) == ("W21", 0.01)
    assert finding.value == pytest.approx(0.05)
    assert "matrix product became 5.0% faster while its worker measured" in finding.message
    assert "square roots +0.9%, copy in memory +2.5%" in finding.message


def test_parts_that_one_look_lacks_are_not_compared() -> None:
    canaries = Canaries()
    canaries.note({"roots_ns": 1000})
    canaries.note({"roots_ns": 0, "copy_ns": 5})
    assert canaries.shift is None
