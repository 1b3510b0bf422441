"""Cases that are measured by workers of which only the answers exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.artifacts import Made
from benchfw.measure.blocks import Block
from benchfw.measure.member import Member
from benchfw.measure.observer import Observer
from benchfw.measure.order import Order
from benchfw.measure.record import Record
from benchfw.measure.session import Instance, LiveSession
from benchfw.measure.settings import Settings
from benchfw.measure.slots import Slots
from benchfw.scenario import Case, Scenario, make_plan
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import BackendInfo
from benchfw.spec.tensors import IoSpec
from benchfw.worker.protocol import Message

COUNTERS = {
    "cpu_time_ns": 1000,
    "nivcsw": 0,
    "minflt": 2,
    "majflt": 0,
    "nr_throttled": 0,
    "rss_bytes": 0,
    "objects": 0,
}


class Echo(LiveSession):
    """A session whose worker would take `latency_ns` per iteration; it notes what it was asked for.

    In a window the inferences of all lanes overlap.
    """

    latency_ns = 1_000_000
    asked: list[tuple[str, dict[str, Any]]]

    def ask(self, kind: str, timeout: float, /, **values: Any) -> Message:
        self.asked.append((kind, values))
        answer = {"counters": COUNTERS, "changes": {"compilations": 1}, "collections": 0}
        if kind == "window":
            length = self.latency_ns * -(-len(values["order"]) // len(values["lanes"]))
            return Message("ok", answer, {"starts": np.array([5]), "ends": np.array([5 + length])})
        if kind == "bind":
            return Message("ok", {"bind_s": 0.25}, {})
        if kind == "close":
            return Message("ok")
        assert kind == "block"
        n = len(values["slots"]) if "slots" in values else values["n"]
        starts = np.arange(n, dtype=np.int64) * self.latency_ns
        return Message("ok", answer, {"starts": starts, "ends": starts + self.latency_ns - 100})


class Members:
    """Makes cases and members, and blocks of them."""

    FIXED: Mapping[str, Any] = {"kind": "fixed", "batch": [4]}
    RANDOM: Mapping[str, Any] = {"kind": "random-batch", "seed": 3}
    COMMON: Mapping[str, Any] = {
        "scenario": "s",
        "model": "net",
        "model_hash": "0",
        "threads": 1,
        "seed": 0,
        "effort": "quick",
    }

    def case(self, sweep: Mapping[str, Any], high: int = 8) -> Case:
        scenario = Scenario.model_validate(
            {
                "name": "s",
                "model": {"ref": "null:net"},
                "shapes": {"batch": {"min": 1, "opt": 4, "max": high}},
                "sweep": [dict(sweep)],
                "backend": [{"use": "fake"}],
            }
        )
        info = BackendInfo(name="fake", summary="", factory="x:Y", accepts=("*",), provider="p")
        (case,) = make_plan(scenario, backends={"fake": info}).cases
        return case

    def member(
        self,
        sweep: Mapping[str, Any] = FIXED,
        high: int = 8,
        *,
        number: int = 0,
        sets: int = 1,
        depth: int = 1,
        **limits: Any,
    ) -> Member:
        """Return a member that is loaded; `limits` are those of `[measure]`."""
        case = self.case(sweep, high)

        def never(*_: object) -> Any:
            raise AssertionError("no worker is started here")

        settings = Settings(effort="quick", budget_s=None, interleave="all", threads=1, seed=0, limits=limits)
        session = Echo(session=case.session, settings=settings, start=never, root=Path(), frameworks=Path(), inputs=())
        session.asked = []
        made = Made(
            artifact=Artifact(format="null", path="x", sha256="0"),
            steps=("A", "B"),
            seconds=0.5,
            options=({"x": 1}, {}),
        )
        instance = Instance("i", made, 0.1, 0.2, IoSpec(inputs=(), outputs=()), {"provider_effective": "p"})
        member = Member(case, session, settings, Observer(None, 0), number=number, instance=instance, depth=depth)
        member.order = Order(case.sequence, Slots(member.sizes, sets))
        for place in range(len(member.sizes)):
            member.order.expect(place, float(session.latency_ns))
        return member

    def block(
        self,
        latencies: Iterable[int],
        *,
        phase: str = "measure",
        rewarm: int = 0,
        sizes: Sequence[int] | None = None,
        round_: int = 0,
    ) -> Block:
        ends = np.cumsum(np.array(list(latencies), np.int64))
        return Block(
            phase=phase,
            round=round_,
            position=0,
            sizes=None if sizes is None else np.array(sizes, np.int32),
            n=len(ends),
            rewarm=rewarm,
            starts=np.concatenate([[0], ends[:-1]]).astype(np.int64),
            ends=ends,
            counters=dict(COUNTERS),
            changes={},
        )

    def window(self, length_ns: int, n: int, *, depth: int = 2, round_: int = 0, phase: str = "window") -> Block:
        return Block(
            phase=phase,
            round=round_,
            position=0,
            sizes=None,
            n=n,
            rewarm=0,
            starts=np.array([7], np.int64),
            ends=np.array([7 + length_ns], np.int64),
            counters=dict(COUNTERS),
            changes={},
            depth=depth,
        )

    def measured(
        self, levels: Sequence[float] = (1000.0,) * 20, *, spread: float = 0.015, n: int = 100, **more: Any
    ) -> Member:
        """Return a member with a first call, a warm-up and a block of `n` iterations around each level, in ns."""
        member = self.member(**more)
        random = np.random.default_rng([2, member.number])
        member.blocks += [
            self.block([5000], phase="first", round_=-1),
            self.block([3000, 2000], phase="warmup", round_=-1),
        ]
        for round_, level in enumerate(levels):
            latencies = np.rint(level * random.uniform(1 - 2 * spread, 1 + 2 * spread, n)).astype(np.int64)
            member.blocks.append(self.block(latencies.tolist(), rewarm=5, round_=round_))
        member.stopping.look(member.count, len(levels), 1.0, member.evidence)
        return member

    def record(self, *members: Member, **more: Any) -> Record:
        return Record(members[0].case, {member.number: member for member in members}, **more)


@pytest.fixture
def members() -> Members:
    return Members()
