"""Heat that holds a clock down: which rounds do not count, how long is waited, and when all of them count after all."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from benchfw.errors import Interrupted
from benchfw.measure import cooling
from benchfw.measure.cooling import COOL_S, HOT, MARGIN_C, Cooling
from benchfw.measure.gpu import heat
from benchfw.spec.stop import Stop

S = 1_000_000_000
ROUND_S = 0.25
"""So that a segment is two rounds."""


def row(field: str, time_s: float, value: float, device: str = "cuda:0") -> dict[str, Any]:
    return {"sampler": "nvml", "field": f"{field}:{device}", "time_ns": round(time_s * S), "value": value}


class Machine:
    """A GPU whose heat is scripted by round, on a clock of its own; takes the place of the observer.

    Args:
        is_hot: Whether heat holds the clock in a round, by its number.
        cools_in_s: How long it takes to cool down.
    """

    block: Callable[[], Any]

    def __init__(self, members: Any, is_hot: Callable[[int], bool], cools_in_s: float = 3.0) -> None:
        self.members, self.is_hot, self.cools_in_s = members, is_hot, cools_in_s
        self.time_s = 100.0
        self.held_s = 0.0
        self.round = 0
        self.waited_s = 0.0
        self.rows: list[dict[str, Any]] = []
        self.gpus = SimpleNamespace(active=True, reads=lambda member: True)
        self.told: list[Any] = []

    def collect(self) -> list[dict[str, Any]]:
        cold = not self.rows or self.waited_s >= self.cools_in_s
        self.rows.append(row("temperature", self.time_s, 60.0 if cold else 60.0 + MARGIN_C + 1))
        return self.rows

    def end_rounds(self) -> None:
        self.waited_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        self.waited_s += seconds

    def rounds(self, wanted: int, stop: Stop | None = None) -> Cooling:
        """Run so many rounds that count."""
        member = self.members
        watch = Cooling([member], self, stop or Stop(), self.told.append)  # type: ignore[arg-type]
        number = 0
        while number < wanted:
            self.rows.append(row("sw_thermal", self.time_s, self.held_s))
            member.blocks.append(self.block())
            self.time_s += ROUND_S
            self.held_s += 0.01 if self.is_hot(self.round) else 0.0
            self.rows.append(row("sw_thermal", self.time_s, self.held_s))
            number += 1
            number -= watch.after(self.round, last=number == wanted)
            self.round += 1
        watch.finish()
        return watch


@pytest.fixture
def machine(members: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    def make(is_hot: Callable[[int], bool], **more: Any) -> Machine:
        member = members.member()
        member.case.session.__dict__["device"] = "cuda:0"
        made = Machine(member, is_hot, **more)
        made.block = lambda: members.block([1000] * 50, round_=made.round)
        monkeypatch.setattr(cooling, "now", lambda: round(made.time_s * S))
        monkeypatch.setattr(cooling, "time", SimpleNamespace(sleep=made.sleep, monotonic=lambda: made.time_s))
        return made

    return make


def counted(machine: Machine) -> list[int]:
    return [block.round for block in machine.members.measured]


def left_out(machine: Machine) -> list[int]:
    return [block.round for block in machine.members.blocks if block.phase == HOT]


def test_a_cool_gpu_costs_nothing(machine: Callable[..., Machine]) -> None:
    made = machine(lambda round_: False)
    watch = made.rounds(20)
    assert (counted(made), watch.segments, made.waited_s, made.members.warnings) == (list(range(20)), 10, 0.0, [])


def test_a_segment_that_was_too_hot_is_measured_again_after_cooling(machine: Callable[..., Machine]) -> None:
    made = machine(lambda round_: round_ == 5, cools_in_s=3.0)
    watch = made.rounds(20)
    assert left_out(made) == [4, 5], "the whole segment"
    assert counted(made) == [*range(4), *range(6, 22)], "as many rounds count as were wanted"
    assert 3.0 <= made.waited_s < 4.0
    assert (watch.hot, watch.segments) == (1, 11)
    (warning,) = made.members.warnings
    assert (warning["code"], warning["value"]) == ("W07", pytest.approx(1 / 11))
    assert made.members.unstable is None


def test_the_last_segment_may_be_shorter_and_is_judged_too(machine: Callable[..., Machine]) -> None:
    made = machine(lambda round_: round_ == 20)
    made.rounds(21)
    assert left_out(made) == [20] and len(counted(made)) == 21


def test_nobody_waits_for_longer_than_half_a_minute(machine: Callable[..., Machine]) -> None:
    made = machine(lambda round_: round_ == 5, cools_in_s=math.inf)
    made.rounds(20)
    assert made.waited_s == pytest.approx(COOL_S, abs=1.0)


def test_heat_that_comes_back_is_the_state_of_the_gpu(machine: Callable[..., Machine]) -> None:
    made = machine(lambda round_: round_ >= 8)
    watch = made.rounds(30)
    assert left_out(made) == [], "all is kept"
    assert counted(made) == list(range(34)), "two segments were measured twice more"
    assert watch.kept
    assert made.members.unstable.startswith("heat held the clock in 3 of 7 segments"), "the third is hot too"
    assert made.members.stopping.targets


def test_not_more_than_a_fifth_is_left_out(machine: Callable[..., Machine]) -> None:
    seldom = machine(lambda round_: round_ % 20 == 1)
    watch = seldom.rounds(100)
    assert not watch.kept and 0 < watch.hot <= 0.2 * watch.segments
    often = machine(lambda round_: round_ % 6 == 1)
    watch = often.rounds(100)
    assert watch.kept and left_out(often) == []


def test_a_wish_to_stop_ends_the_wait(machine: Callable[..., Machine]) -> None:
    stop = Stop()
    made = machine(lambda round_: True, cools_in_s=math.inf)
    made.told = SimpleNamespace(append=lambda event: setattr(stop, "reason", "a test"))  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        made.rounds(20, stop)


def test_a_power_limit_is_no_heat() -> None:
    rows = [row(field, time, value) for time, value in ((1, 0.0), (2, 1.0)) for field in ("power_cap", "sync_boost")]
    assert heat(rows, ["cuda:0"], 0) is None
    rows += [row("hw_thermal", 3, 0.5)]
    assert heat(rows, ["cuda:0"], 0) is None, "one reading tells no growth"
    rows += [row("hw_thermal", 4, 0.6)]
    assert heat(rows, ["cuda:0"], 0) == "hw_thermal"
    assert heat(rows, ["cuda:1"], 0) is None
    assert heat(rows, ["cuda:0"], 3_500_000_000) is None, "it was before"


def test_without_counters_bits_tell_of_heat() -> None:
    assert heat([row("reasons", 1, 0x4)], ["cuda:0"], 0) is None
    assert heat([row("reasons", 1, 0x20)], ["cuda:0"], 0) == "sw_thermal"
    assert heat([row("sw_thermal", 1, 1.0), row("reasons", 1, 0x20), row("sw_thermal", 2, 1.0)], ["cuda:0"], 0) is None
