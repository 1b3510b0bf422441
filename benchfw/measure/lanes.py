"""Windows: several inferences outstanding, for the throughput.

Each lane has its own slots and keeps one inference outstanding. Lanes are threads of the worker if the backend releases
Python's interpreter lock while it runs, else processes of their own, each with the artifact loaded. Where launches only
enqueue on a stream, one thread keeps as many outstanding as are wanted.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchfw.errors import CaseError
from benchfw.measure.blocks import Block, stamps
from benchfw.measure.inputs import InputMaker
from benchfw.measure.member import Member
from benchfw.measure.session import Instance, LiveSession
from benchfw.spec.accuracy import Outputs
from benchfw.worker.protocol import Message

PILOT_WINDOWS = 2
MIN_GAIN = 1.02
"""More lanes must complete so much more than fewer, or the fewer are taken."""
_LEAD_NS = 20_000_000
"""Processes begin together, so long after they were told: all of them must have heard of it by then."""

Load = Callable[[LiveSession], Instance]


class Lanes(ABC):
    """The lanes of one case.

    Attributes:
        kind: `threads`, `processes` or `stream`.
    """

    kind: str

    def __init__(self, member: Member, inputs: InputMaker) -> None:
        self._member = member
        self._inputs = inputs
        self._bound = 1

    def window(self, depth: int, place: tuple[int, int], phase: str = "window") -> Block:
        """Run one window with `depth` lanes; it is added to the member's blocks."""
        while self._bound < depth:
            self._bind(self._bound)
            self._bound += 1
        return self._window(self._member.order.window(depth), depth, place, phase)

    def _window(self, order: list[int], depth: int, place: tuple[int, int], phase: str) -> Block:
        member = self._member
        answers, host = member.observer.around(self._processes(depth), lambda: self._ask(depth, order))
        begun = [int(starts[0]) for starts, _, _ in answers]
        block = Block(
            phase=phase,
            round=place[0],
            position=place[1],
            sizes=member.order.sizes_of(order),
            n=len(order),
            rewarm=0,
            starts=np.array([min(begun)], np.int64),
            ends=np.array([max(int(ends[-1]) for _, ends, _ in answers)], np.int64),
            counters=_summed([answer.values["counters"] for _, _, answer in answers]),
            changes=_summed(
                [{**answer.values["changes"], "collections": answer.values["collections"]} for _, _, answer in answers]
            ),
            depth=depth,
            host=host,
        )
        member.blocks.append(block)
        return block

    def plain(self, n: int) -> Block:
        """Run `n` inferences of the first slot, one at a time and without stamps in between, outside of the rounds."""
        return self._window([self._member.slots.of(0)] * n, 1, (-1, -1), "pilot")

    @abstractmethod
    def outputs(self, lane: int) -> Outputs:
        """Return the outputs of the last launch of the first slot of a lane."""

    @abstractmethod
    def keep(self, depth: int) -> None:
        """Give up the lanes that only larger depths need."""

    @abstractmethod
    def _bind(self, lane: int) -> None:
        """Bind the slots of another lane."""

    @abstractmethod
    def _ask(self, depth: int, order: list[int]) -> list[tuple[Any, Any, Message]]:
        """Run a window and return the stamps of each worker, with its answer."""

    def _processes(self, depth: int) -> tuple[int, ...]:
        """Return the processes that run a window."""
        return self._member.session.processes

    @abstractmethod
    def close(self) -> None:
        """End what only the lanes need."""


class ThreadLanes(Lanes):
    """Lanes that are threads of the case's own worker."""

    kind: str = "threads"

    def _bind(self, lane: int) -> None:
        member = self._member
        assert member.instance is not None
        member.bind_lane(member.session, member.instance, self._inputs, lane)
        for slot in range(member.slots.of(0, 0, lane), member.slots.of(0, 0, lane + 1)):
            member.call("warmup", slot, 1, timeout=member.settings.build_s)
        member.capture(lane)

    def _ask(self, depth: int, order: list[int]) -> list[tuple[Any, Any, Message]]:
        member = self._member
        assert member.instance is not None
        lanes = [list(range(member.slots.of(0, 0, lane), member.slots.of(0, 0, lane + 1))) for lane in range(depth)]
        answer = member.session.ask(
            "window", member.deadline(order), instance=member.instance.key, lanes=lanes, order=order
        )
        return [(*stamps(answer, 1), answer)]

    def outputs(self, lane: int) -> Outputs:
        return self._member.outputs(self._member.slots.of(0, 0, lane))

    def keep(self, depth: int) -> None:
        """Do nothing: a slot that is not used costs its memory alone, and goes with the worker."""

    def close(self) -> None:
        """Do nothing: slots go with the worker."""


class StreamLanes(ThreadLanes):
    """Lanes that are sets of slots on one stream: one thread enqueues as many inferences, one behind the other."""

    kind = "stream"


class ProcessLanes(Lanes):
    """Lanes that are processes: the case's own worker and others like it."""

    kind = "processes"

    def __init__(self, member: Member, inputs: InputMaker, load: Load) -> None:
        super().__init__(member, inputs)
        self._load = load
        self._others: list[tuple[LiveSession, Instance]] = []

    def _bind(self, lane: int) -> None:
        member = self._member
        session = member.session.companion()
        try:
            instance = self._load(session)
        except BaseException:
            session.close()
            raise
        self._others.append((session, instance))
        member.bind_lane(session, instance, self._inputs, 0)
        for slot in range(member.slots.per_lane):
            session.ask("block", member.settings.build_s, instance=instance.key, slot=slot, n=1)

    def _ask(self, depth: int, order: list[int]) -> list[tuple[Any, Any, Message]]:
        member = self._member
        assert member.instance is not None
        workers = [(member.session, member.instance), *self._others[: depth - 1]]
        start_ns = time.perf_counter_ns() + _LEAD_NS
        lane = list(range(member.slots.per_lane))
        deadline = member.deadline(order)

        def ask(place: int) -> Message:
            session, instance = workers[place]
            values = {"lanes": [lane], "order": order[place::depth], "start_ns": start_ns}
            return session.ask("window", deadline, instance=instance.key, **values)

        with ThreadPoolExecutor(depth) as pool:
            answers = list(pool.map(ask, range(depth)))
        return [(*stamps(answer, 1), answer) for answer in answers]

    def _processes(self, depth: int) -> tuple[int, ...]:
        others = (session.processes for session, _ in self._others[: depth - 1])
        return (*self._member.session.processes, *itertools.chain.from_iterable(others))

    def outputs(self, lane: int) -> Outputs:
        if lane == 0:
            return self._member.outputs(0)
        session, instance = self._others[lane - 1]
        return session.ask("outputs", self._member.settings.load_s, instance=instance.key, slot=0).arrays

    def keep(self, depth: int) -> None:
        for session, _ in self._others[max(0, depth - 1) :]:
            session.close()
        del self._others[max(0, depth - 1) :]
        self._bound = min(self._bound, max(1, depth))

    def close(self) -> None:
        self.keep(1)


def choose_depth(member: Member, lanes: Lanes, depths: Sequence[int]) -> int:
    """Try each number of lanes and return the one that completes most; of those that are as good, the least."""
    best, best_rate = 1, 0.0
    for depth in sorted(set(depths)):
        try:
            rate = _rate(member, lanes, depth)
        except CaseError as error:
            if depth == 1 or not member.ready:
                raise
            member.warn("R04", depth, None, f"{depth} inferences at once cannot be tried: {error.message}")
            return best
        if rate > best_rate * MIN_GAIN:
            best, best_rate = depth, rate
    return best


def _rate(member: Member, lanes: Lanes, depth: int) -> float:
    rates = []
    for _ in range(PILOT_WINDOWS):
        block = lanes.window(depth, (-1, -1), phase="pilot")
        rates.append(member.work(block) / block.duration_ns)
    return float(np.median(rates))


def _summed(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(count[name] for count in counts) for name in counts[0]}
