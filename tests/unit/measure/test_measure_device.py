"""What blocks with times of a device say, and which of them are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchfw.errors import ProtocolError
from benchfw.measure.blocks import Block, device_times
from benchfw.measure.gates import GateFailed, device
from benchfw.worker.protocol import Message

N = 40


def block(
    phase: str = "events", *, round_: int = 0, latency: int = 200_000, enqueue: int = 20_000, spans: Any = (180_000,)
) -> Block:
    starts = np.arange(N, dtype=np.int64) * 1_000_000
    return Block(
        phase=phase,
        round=round_,
        position=0,
        sizes=None,
        n=N,
        rewarm=0,
        starts=starts,
        ends=starts + latency,
        counters={},
        changes={},
        enqueued=starts + enqueue,
        spans=np.tile(np.array(spans, np.float32), (N, 1)) if spans else None,
    )


@pytest.mark.parametrize(
    ("spans", "latency", "honest"),
    [
        ((180_000,), 200_000, True),
        ((91_000,), 200_000, True),  # half of the wait
        ((89_000,), 200_000, False),
        ((30_000, 30_000, 31_000), 200_000, True),  # copies are part of it
        ((30_000, 30_000, 29_000), 200_000, False),
        ((1_000,), 69_000, True),  # the host may be late by so much
        ((1_000,), 71_000, False),
    ],
)
def test_events_on_another_stream(spans: Any, latency: int, honest: bool) -> None:
    blocks = [block(spans=spans, latency=latency), block("measure", spans=())]
    if honest:
        device.check_stream(blocks)
        return
    with pytest.raises(GateFailed, match="V03") as error:
        device.check_stream(blocks)
    assert (error.value.value, error.value.threshold) == (sum(spans), (latency - 20_000) / 2)


def test_no_events_say_nothing() -> None:
    device.check_stream([block("measure", spans=())])
    assert device.instrumentation_effect([block("measure", spans=())]) is None
    assert device.launch_bound(None, None) is device.transfer_bound(0.0, None) is device.short(None) is None


def test_instrumentation_is_compared_within_rounds() -> None:
    """The machine becomes ten times slower from round to round; events add 3 %."""
    blocks = []
    for round_ in range(8):
        latency = 100_000 * 10**round_
        blocks += [block("measure", round_=round_, latency=latency, spans=())]
        blocks += [block(round_=round_, latency=round(1.03 * latency))] if round_ != 3 else []
    effect = device.instrumentation_effect(blocks)
    assert effect is not None
    assert effect.value == pytest.approx(1.03, rel=1e-3)
    finding = device.instrumentation(effect, 0.01)
    assert finding is not None
    assert finding.code == "W14"
    assert finding.value == pytest.approx(0.03, rel=0.05)
    assert device.instrumentation(effect, 0.05) is None


def _answer(**arrays: Any) -> tuple[Any, Any, Any]:
    starts = np.array([0, 100], np.int64)
    return Message("ok", {}, arrays), starts, starts + 50


def test_times_of_a_device_are_taken_as_they_are() -> None:
    enqueued, spans = np.array([0, 150], np.int64), np.ones((2, 3), np.float32)
    assert device_times(*_answer()) == (None, None)
    found = device_times(*_answer(enqueued=enqueued, spans=spans))
    assert found[0] is enqueued
    assert found[1] is spans


@pytest.mark.parametrize(
    "arrays",
    [
        {"enqueued": np.array([0], np.int64)},
        {"enqueued": np.array([0, 99], np.int64)},  # before the launch
        {"enqueued": np.array([51, 150], np.int64)},  # after its end
        {"enqueued": np.array([0.0, 150.0])},
        {"spans": np.ones((2, 2), np.float32)},
        {"spans": np.ones((3, 1), np.float32)},
        {"spans": np.ones((2, 1))},
        {"spans": np.array([[1.0], [np.nan]], np.float32)},
        {"spans": np.ones(2, np.float32)},
    ],
)
def test_times_that_cannot_be_are_refused(arrays: Any) -> None:
    with pytest.raises(ProtocolError):
        device_times(*_answer(**arrays))
