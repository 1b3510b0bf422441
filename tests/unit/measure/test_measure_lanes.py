"""Windows as the parent asks for them, and the choice of how many inferences are outstanding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchfw.errors import OutOfMemory
from benchfw.measure.blocks import Block
from benchfw.measure.inputs import InputMaker
from benchfw.measure.lanes import MIN_GAIN, PILOT_WINDOWS, Lanes, ProcessLanes, ThreadLanes, choose_depth
from benchfw.spec.tensors import TensorSpec
from benchfw.worker.protocol import Message


class Scaling(Lanes):
    """Lanes whose windows are as fast as a table says, by their depth."""

    kind = "threads"

    def __init__(self, member: Any, speeds: dict[int, float]) -> None:
        self._speeds = speeds
        self.tried: list[int] = []
        super().__init__(member, None)  # type: ignore[arg-type]

    def _bind(self, lane: int) -> None:
        pass

    def _ask(self, depth: int, order: list[int]) -> list[tuple[Any, Any, Message]]:
        self.tried.append(depth)
        length = round(1e6 * len(order) / self._speeds[depth])
        values = {"counters": {}, "changes": {}, "collections": 0}
        return [(np.array([0]), np.array([length]), Message("ok", values, {}))]

    def keep(self, depth: int) -> None:
        pass

    def outputs(self, lane: int) -> Any:
        raise AssertionError("nobody asks")

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 8),
        ({1: 1.0, 2: 1.9, 4: 1.93, 8: 1.5}, 2),
        ({1: 1.0, 2: 1.01, 4: 0.9, 8: 0.5}, 1),
        ({1: 1.0, 2: 0.7, 4: 1.5, 8: 1.51}, 4),
        ({4: 0.5}, 4),  # only one was asked for
    ],
)
def test_the_fewest_lanes_that_complete_most_are_taken(speeds: dict[int, float], best: int, members: Any) -> None:
    member = members.member()
    lanes = Scaling(member, speeds)
    assert choose_depth(member, lanes, sorted(speeds, reverse=True)) == best
    assert lanes.tried == [depth for depth in sorted(speeds) for _ in range(PILOT_WINDOWS)]
    assert {block.phase for block in member.blocks} == {"pilot"}
    assert member.measured_s == 0.0, "what is tried is not measured"


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([1, 2, 3, 4, 8, 16]), st.floats(0.1, 10.0), min_size=1))
def test_no_other_depth_is_much_better_and_no_smaller_one_as_good(members: Any, speeds: dict[int, float]) -> None:
    member = members.member()
    best = choose_depth(member, Scaling(member, speeds), list(speeds))
    assert best in speeds
    slack = MIN_GAIN * 1.001
    assert all(speed <= speeds[best] * slack for speed in speeds.values())
    assert all(speed * MIN_GAIN <= speeds[best] * 1.001 for depth, speed in speeds.items() if depth < best)


def _maker(folder: Any) -> InputMaker:
    return InputMaker([TensorSpec(name="x", dtype="float32", shape=("batch", 4))], {}, seed=0, folder=folder)


def test_threads_share_the_order_and_have_slots_of_their_own(members: Any, tmp_path: Any) -> None:
    member = members.member(sets=4)
    lanes = ThreadLanes(member, _maker(tmp_path))
    block: Block = lanes.window(3, (7, 1))
    asked: Sequence[tuple[str, dict[str, Any]]] = member.session.asked
    assert [values["slot"] for kind, values in asked if kind == "bind"] == list(range(4, 12))
    assert [values["slot"] for kind, values in asked if kind == "block"] == list(range(4, 12)), "each is launched once"
    kind, values = asked[-1]
    assert kind == "window"
    assert values["lanes"] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert values["order"] == [place % 4 for place in range(300)]
    assert (block.phase, block.round, block.position, block.n, block.depth) == ("window", 7, 1, 300, 3)
    assert block.is_window and not block.is_stamped
    assert member.work(block) == 300 * 4
    assert block.duration_ns == 100 * 1_000_000
    lanes.window(2, (8, 0))
    assert sum(kind == "bind" for kind, _ in asked) == 8, "lanes are bound once"


def test_windows_of_a_mixture_are_whole_chunks(members: Any, tmp_path: Any) -> None:
    member = members.member(members.RANDOM)
    block = ThreadLanes(member, _maker(tmp_path)).window(2, (0, 0))
    assert block.n % 4 == 0
    assert block.sizes is not None
    assert np.bincount(block.sizes)[1:].tolist() == [block.n // 4] * 4
    assert member.work(block) == block.n // 4 * (1 + 2 + 3 + 4)


def test_inferences_without_stamps_are_no_samples(members: Any, tmp_path: Any) -> None:
    member = members.member(sets=4)
    block = ThreadLanes(member, _maker(tmp_path)).plain(50)
    assert member.session.asked[-1][1]["order"] == [0] * 50
    assert (block.phase, block.depth, block.n, block.is_stamped) == ("pilot", 1, 50, False)
    assert member.count == 0


def test_a_process_that_cannot_load_is_ended(members: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    member = members.member()
    closed: list[object] = []

    class Companion:
        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(type(member.session), "companion", lambda self: Companion())

    def load(session: Any) -> Any:
        raise OutOfMemory("no room for another one")

    lanes = ProcessLanes(member, _maker(tmp_path), load)
    with pytest.raises(OutOfMemory):
        lanes.window(2, (0, 0))
    assert len(closed) == 1
    lanes.close()
