"""When warm-up ends: by looks alone, and on a GPU by its SM clock, which falls and then holds, or hops for ever."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.measure.settling import LOOKS, MIN_LOOKS, Clock, Settling
from benchfw.measure.warmup import warm_up
from benchfw.worker.protocol import Message
from tests.unit.measure.conftest import Echo

FULL, CAPPED = 1980.0, 1470.0
SINKING = [FULL, FULL, 1890.0, 1800.0, 1650.0, 1530.0]


def clocks(values: Iterable[float | None], *, held: bool = True) -> list[Clock | None]:
    return [None if mhz is None else Clock(mhz, FULL, held) for mhz in values]


def looks_until_settled(trace: Iterable[Clock | None], looks: Iterable[int] = itertools.repeat(1000)) -> int | None:
    """Return how many looks it takes; None if the trace ends before."""
    settling = Settling("its latency")
    for number, (look, clock) in enumerate(zip(looks, trace, strict=False), 1):
        settling.note(look, clock)
        if settling.settled:
            return number
    return None


def test_without_a_clock_five_looks_that_agree_are_enough() -> None:
    assert looks_until_settled(clocks([None] * 20)) == LOOKS
    assert looks_until_settled(clocks([None] * 20), [3000, 2000, *[1000] * 18]) == LOOKS + 2


def test_a_clock_that_is_read_takes_a_second_at_least() -> None:
    assert looks_until_settled(clocks([FULL] * 20)) == MIN_LOOKS


@pytest.mark.parametrize("warm", [0, 10, 30])
def test_warm_up_goes_on_until_a_clock_that_falls_has_settled(warm: int) -> None:
    """The latency of work that waits for memory does not tell: it is the same all the time."""
    trace = [*SINKING[:1] * warm, *SINKING, *[CAPPED] * 30]
    found = looks_until_settled(clocks(trace))
    if warm < MIN_LOOKS:
        assert found is not None and trace[found - LOOKS : found] == [CAPPED] * LOOKS
    else:
        assert found == MIN_LOOKS, "it fell later: that is what the segments of G3 are for"


def test_a_clock_that_hops_around_a_level_has_settled() -> None:
    """As those of GPUs at their power limit do: it goes by steps of 15 MHz, each more than 1 % of 1470 MHz."""
    hopping = [CAPPED, 1485.0, 1455.0, CAPPED, 1500.0, 1455.0, 1485.0, CAPPED] * 4
    found = looks_until_settled(clocks([*SINKING, *hopping]))
    assert found is not None and len(SINKING) + LOOKS <= found <= len(SINKING) + 3 * LOOKS


def test_a_low_clock_that_nothing_holds_has_not_come_up_yet() -> None:
    rising = [345.0] * 15 + [FULL] * 20
    assert looks_until_settled(clocks(rising, held=False)) == 15 + LOOKS
    assert looks_until_settled(clocks([345.0] * 40, held=True)) == MIN_LOOKS, "that is its power limit"
    assert looks_until_settled(clocks([0.8 * FULL] * 40, held=False)) == MIN_LOOKS


def test_a_clock_that_is_not_read_any_more_is_not_waited_for() -> None:
    found = looks_until_settled(clocks([FULL, 1800.0, *[None] * 20]))
    assert found is not None and found <= MIN_LOOKS


def test_readings_at_every_third_look_are_enough() -> None:
    seldom = [FULL if number % 3 == 0 else None for number in range(40)]
    assert looks_until_settled(clocks(seldom)) == 3 * (LOOKS - 1) + 1


@given(st.lists(st.floats(300, 2000), min_size=1, max_size=40), st.integers(300, 2000))
def test_whatever_the_clock_did_before_it_settles_once_it_holds(before: Sequence[float], level: int) -> None:
    trace = clocks([*before, *[float(level)] * MIN_LOOKS])
    found = looks_until_settled(trace)
    assert found is not None
    assert found >= MIN_LOOKS


@given(st.floats(0.015, 0.2))
def test_a_clock_that_goes_on_falling_never_settles(step: float) -> None:
    assert looks_until_settled(clocks(FULL * (1 - step) ** number for number in range(60))) is None


# --- in a warm-up ---------------------------------------------------------------------------------------------------


class Quiet(Echo):
    """Its worker compiles nothing, and its canary is always the same."""

    def ask(self, kind: str, timeout: float, /, **values: Any) -> Message:
        if kind == "canary":
            self.asked.append((kind, values))
            return Message("ok", {"canary_ns": 1000}, {})
        answer = super().ask(kind, timeout, **values)
        return Message("ok", {**answer.values, "changes": {}}, answer.arrays)


def warmed_up(members: Any, trace: Iterator[Clock | None], settle_time: float) -> Any:
    member = members.member(settle_time=settle_time)
    member.session.__class__ = Quiet
    member.observer.clock = lambda of, since_ns: next(trace)
    warm_up(member, None)
    return member


def test_a_warm_up_looks_at_the_clock(members: Any) -> None:
    trace = iter(clocks([*SINKING, *[CAPPED] * 30]))
    member = warmed_up(members, trace, 600.0)
    looks = sum(kind == "canary" for kind, _ in member.session.asked)
    assert looks == len(SINKING) + LOOKS
    assert member.warnings == []


@pytest.mark.parametrize(
    ("trace", "held", "words"),
    [
        ([FULL, CAPPED], True, "the SM clock still varied by 34.7%"),
        ([345.0], False, "the SM clock was 345 of 1980 MHz and nothing held it: the GPU idles in between"),
    ],
)
def test_a_clock_that_does_not_settle_in_time_is_told(members: Any, trace: list[float], held: bool, words: str) -> None:
    member = warmed_up(members, itertools.cycle(clocks(trace, held=held)), 0.05)
    (warning,) = member.warnings
    assert warning["code"] == "G2"
    assert warning["value"] is not None and warning["threshold"] is not None
    assert words in warning["message"]


def test_a_clock_that_was_read_too_seldom_is_not_said_to_vary(members: Any) -> None:
    member = warmed_up(members, itertools.repeat(Clock(FULL, FULL, held=False)), 0.0)
    (warning,) = member.warnings
    assert (warning["code"], warning["value"], warning["threshold"]) == ("G2", 1, LOOKS)
    assert "1 of 5 looks within 0.0 s do not show whether the machine has settled" in warning["message"]
