"""Cases that are measured together: warmed up one by one, then block by block in rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from benchfw.measure import judge, warmup
from benchfw.measure.budget import Budget
from benchfw.measure.cooling import Cooling
from benchfw.measure.gates import device, latency, memory, outputs, providers
from benchfw.measure.gpu_watch import LEAD_S, run_for
from benchfw.measure.inputs import InputMaker
from benchfw.measure.lanes import Lanes, Load, ProcessLanes, StreamLanes, ThreadLanes, choose_depth
from benchfw.measure.member import Member
from benchfw.measure.observer import Observer
from benchfw.measure.record import Record
from benchfw.measure.rounds import orders
from benchfw.measure.settings import Settings
from benchfw.scenario import Case
from benchfw.spec.events import Event, RoundDone, Stage
from benchfw.spec.stop import Stop
from benchfw.stats import paired_effect

MIN_ROUNDS = 3
WINDOW_EVERY = 2
"""Every so many rounds a case whose depth is more than 1 has a window after its block."""

EVENTS_EVERY = 3
"""Every so many rounds a case on a stream has a block with events after its block without: one to three."""

_STEADY_NS = 50_000_000
_PAIRS = 6
_PAIR_NS = 5_000_000
_SHORT_NS = 1_000_000
"""Stamps cost some 0.3 µs: for longer inferences that is not worth the time to measure it."""


class Group:
    """The members of a cohort that take turns, in one invocation.

    Args:
        members: In the order in which they were loaded.
        records: Of all cases of the cohort, by `case_id`.
        inputs: Makes the inputs of a case.
        load: Loads a case's artifact in another worker of its session.
        settings: How much.
        budget: Of the run.
        stop: Ends the run after the current block.
        others: Describes the other runs that measure on the same devices now.
        notify: Told what happens, between blocks.
        failures: Turns what is raised into the row of a member.
        observer: Watches the machine.
        rounds: Run so many, whatever is known by then; None to go on until every case has enough.
    """

    def __init__(
        self,
        members: Sequence[Member],
        records: dict[str, Record],
        *,
        inputs: Callable[[Member], InputMaker],
        load: Callable[[Member], Load],
        settings: Settings,
        budget: Budget,
        stop: Stop,
        others: Callable[[], str | None],
        notify: Callable[[Event], None],
        failures: Callable[[Member], AbstractContextManager[None]],
        observer: Observer,
        rounds: int | None = None,
        first_round: int = 0,
    ) -> None:
        self._members = members
        self._records = records
        self._inputs = inputs
        self._load = load
        self._settings = settings
        self._budget = budget
        self._stop = stop
        self._others = others
        self._notify = notify
        self._failures = failures
        self._observer = observer
        self._rounds_wanted = rounds
        self.next_round = first_round
        self._lanes: dict[str, Lanes] = {}

    def conduct(self, later: Sequence[Case], seed: int) -> None:
        """Warm up, then run rounds until every case has enough or the time is up.

        Args:
            later: Cases that the rest of the budget is for.
            seed: Of the orders.
        """
        start = time.monotonic()
        cases = [member.case for member in self._members]
        for member in self._ready:
            self._budget.learn(member)
        share = self._budget.share(cases, later)
        try:
            for member in self._ready:
                if member.lost:  # with the worker that another case of its session took down just now
                    continue
                with self._failures(member):
                    self._notify(Stage(f"{member.name}: warming up"))
                    warmup.warm_up(member, None if share is None else share / len(self._members))
                    self._prepare_windows(member)
                    self._budget.learn(member)
            for member in self._ready:
                if member.is_asynchronous and not member.lost:
                    with self._failures(member):
                        if member.depth > 1:
                            self._lanes[member.case.case_id].window(member.depth, (-1, -1), phase="warmup")
                        warmup.quiet_again(member)
            share = self._budget.share(cases, later)
            self._look(opening=True)
            self._rounds(self._ready, None if share is None else share - (time.monotonic() - start), seed)
            self._observer.end_rounds()
            self._look(opening=False)
            self._observer.look_at_held()
            for member in self._ready:
                if member.lost:
                    continue
                with self._failures(member):
                    self._finish(member)
        finally:
            for lanes in self._lanes.values():
                lanes.close()
        self._budget.spend(time.monotonic() - start)

    @property
    def _ready(self) -> list[Member]:
        return [member for member in self._members if member.ready]

    def _prepare_windows(self, member: Member) -> None:
        """Look behind the fence once, and choose the depth of the windows in the first invocation."""
        record = self._records[member.case.case_id]
        if member.number == 0:
            outputs.check_fence(member)
        depths = self._settings.device_depths if member.is_asynchronous else self._settings.depths
        if depths == (1,) or record.depth == 1 or not member.has_throughput:
            record.depth = 1
            return
        member.read_facts()
        member.has_lanes = True
        lanes = self._make_lanes(member)
        self._lanes[member.case.case_id] = lanes
        if record.depth is None:
            record.depth = choose_depth(member, lanes, depths)
            record.lanes = lanes.kind if record.depth > 1 else None
            lanes.keep(record.depth)
        else:  # the lanes of this process are as cold as those of the first one were
            lanes.window(record.depth, (-1, -1), phase="warmup")
        member.order.rewind()
        member.depth = record.depth
        self._check_lanes(member)

    def _make_lanes(self, member: Member) -> Lanes:
        info, inputs = member.case.session.info, self._inputs(member)
        assert info is not None
        if member.is_asynchronous:
            return StreamLanes(member, inputs)
        if info.capabilities.releases_gil:
            return ThreadLanes(member, inputs)
        return ProcessLanes(member, inputs, self._load(member))

    def _check_lanes(self, member: Member) -> None:
        """Compare the outputs of all lanes: a throughput of lanes that get in each other's way is worth nothing."""
        lanes = self._lanes.get(member.case.case_id)
        for lane in range(1, member.depth if lanes else 1):
            assert lanes is not None
            what = f"between inferences at once (lane {lane})"
            outputs.check_unchanged(lanes.outputs(0), lanes.outputs(lane), member.case.session.precision, what=what)

    def _look(self, *, opening: bool) -> None:
        """Look at the canary of every worker: once before its first rounds, and after all of them."""
        for member in {id(member.session): member for member in self._ready}.values():
            if not opening or not member.session.canaries.opening:
                with self._failures(member):
                    member.session.look()

    # --- rounds -------------------------------------------------------------------------------------------------

    def _rounds(self, members: list[Member], left: float | None, seed: int) -> None:
        start = time.monotonic()
        self._note_others(members)
        order = orders(len(members), self._settings.seed + seed) if members else iter(())
        cooling = Cooling(members, self._observer, self._stop, self._notify)
        number = 0
        while self._goes_on(members, number):
            if self._is_over(start, left) and number >= MIN_ROUNDS:
                break
            self._observer.begin_round(self.next_round)
            for position, place in enumerate(next(order)):
                member = members[place]
                if not member.ready or (member.stopping.exhausted and self._rounds_wanted is None):
                    continue
                with self._failures(member):
                    self._turn(member, self.next_round, position)
                self._stop.check()
            self._note_others(members)
            number += 1
            if not self._is_over(start, left):
                again = cooling.after(self.next_round, last=not self._goes_on(members, number))
                number -= again
                if again:
                    self._warm_again(members)
            self.next_round += 1
            self._notify(_round_event(number, members, None if left is None else left - (time.monotonic() - start)))
        cooling.finish()

    def _warm_again(self, members: Sequence[Member]) -> None:
        """Bring up the clock of a GPU that has cooled down, which takes longer than the re-warm of a block."""
        for member in members:
            if member.ready:
                with self._failures(member):
                    run_for(member, LEAD_S, "warmup")

    @staticmethod
    def _is_over(start: float, left: float | None) -> bool:
        return left is not None and time.monotonic() - start >= left

    def _goes_on(self, members: Sequence[Member], number: int) -> bool:
        open_ = [member for member in members if member.ready]
        if self._rounds_wanted is not None:
            return bool(open_) and number < self._rounds_wanted
        return any(not member.stopping.done for member in open_)

    def _turn(self, member: Member, number: int, position: int) -> None:
        """Run a block of a case, in some rounds one with events or a window too, and look whether it has enough."""
        with self._stop.deferred():
            self._observer.lead(member)
            for phase in _phases(member, number):
                memory.check_changes(member.measure(number, position, phase).changes)
            if member.depth > 1 and number % WINDOW_EVERY == 0:
                memory.check_changes(self._lanes[member.case.case_id].window(member.depth, (number, position)).changes)
        member.stopping.look(member.count, len(member.measured), member.measured_s, member.evidence)

    def _note_others(self, members: Sequence[Member]) -> None:
        """Note the runs that measure on the same devices now; one that was there stays noted."""
        others = self._others()
        for member in members:
            member.contended = others or member.contended

    def _finish(self, member: Member) -> None:
        """Take what belongs to a measured case: final intervals, constant runs, peak memory, warnings."""
        member.stopping.conclude(member.evidence(), member.measured_s)
        self._check_lanes(member)
        memory.check_growth(member.measured)
        if member.case.sequence is not None:
            for place in range(len(member.sizes)):
                n = max(4, min(100, round(_STEADY_NS / member.order.expected_ns(place))))
                member.call("steady", member.slots.of(place), n).rewarm = 1
        elif member.number == 0 and not member.is_asynchronous and member.order.expected_ns(0) <= _SHORT_NS:
            member.instrumentation_cost = self._instrumentation_cost(member)
        if member.number == 0:
            self._observer.gpus.stretch(member)
        member.read_facts()
        providers.tell_departures(member)
        if member.is_asynchronous:
            device.check_stream([block for block in member.blocks if block.phase == "events"])
        judge.add_warnings(member)

    def _instrumentation_cost(self, member: Member) -> float:
        """Compare launches with stamps, as in blocks, and without, as in windows, in pairs whose order alternates."""
        lanes = ThreadLanes(member, self._inputs(member))
        n = max(4, min(1024, round(_PAIR_NS / member.order.expected_ns(0))))
        ratios = []
        for pair in range(_PAIRS):
            times = {}
            for stamped in (pair % 2 == 0, pair % 2 == 1):
                block = member.call("pilot", member.slots.of(0), n) if stamped else lanes.plain(n)
                times[stamped] = int(block.ends[-1] - block.starts[0]) / block.n
            ratios.append(np.log(times[True] / times[False]))
        effect = paired_effect(np.array(ratios))
        finding = latency.instrumentation(effect)
        if finding is not None:
            member.warn(*finding)
        return effect.value - 1.0


def _phases(member: Member, number: int) -> tuple[str, ...]:
    """Return the blocks of a case in a round; which of two comes first alternates: no drift shall look like a cost."""
    if not member.is_asynchronous or number % EVENTS_EVERY:
        return ("measure",)
    return ("measure", "events") if number // EVENTS_EVERY % 2 else ("events", "measure")


def _round_event(number: int, members: Sequence[Member], left_s: float | None) -> RoundDone:
    open_ = [member for member in members if member.ready and not member.stopping.done]
    widths = [(member.stopping.widest, member.name) for member in open_ if member.stopping.widest is not None]
    widest = max(widths, default=None)
    return RoundDone(number, left_s, len(open_), (widest[1], widest[0] or 0.0) if widest else None)


def grouped(cases: Sequence[Case], interleave: str, reference: str | None) -> list[list[Case]]:
    """Split cases by what is interleaved.

    Args:
        cases: Of one cohort.
        interleave: `all`, `session` or `off`.
        reference: Name of the backend that comes first, since the others are checked against it.
    """
    cases = sorted(cases, key=lambda case: case.session.entry.label != reference)
    if interleave == "all":
        return [cases] if cases else []
    groups: dict[str, list[Case]] = {}
    for case in cases:
        key = case.case_id if interleave == "off" else case.session.session_id
        groups.setdefault(key, []).append(case)
    return list(groups.values())
