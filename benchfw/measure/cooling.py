"""Heat that holds the clock of a GPU down: what was measured meanwhile is measured again once the GPU has cooled.

A power limit is no heat: it holds the same clock for as long as the work goes on, which is the state to be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchfw.measure.blocks import Block
from benchfw.measure.gates.gpu import CAUSES
from benchfw.measure.gpu import heat, latest
from benchfw.measure.member import Member
from benchfw.measure.observer import Observer
from benchfw.spec.events import Event, Stage
from benchfw.spec.stop import Stop
from benchfw.worker.clocks import now

SEGMENT_NS = 500_000_000
"""Rounds are judged together until they are that long."""
MAX_TRIES = 2
"""How often one segment is measured again."""
MAX_SHARE = 0.2
"""Of all segments, so many may be left out, but two of a few; more of them, and all are kept."""
COOL_S = 30.0
MARGIN_C = 3.0
_POLL_S = 0.5
_RECENT_NS = 2_000_000_000

HOT = "hot"
"""Phase of a block that does not count for that reason."""


class Cooling:
    """Watches the rounds of a group of cases.

    Args:
        members: The cases.
        observer: Watches the machine.
        stop: Ends waiting.
        notify: Told of it.

    Attributes:
        segments, hot: How many were judged, and in how many of these heat held the clock.
        kept: The hot ones count after all, and no more are judged: heat comes back.
    """

    def __init__(
        self, members: Sequence[Member], observer: Observer, stop: Stop, notify: Callable[[Event], None]
    ) -> None:
        self._members = members
        self._observer = observer
        self._stop = stop
        self._notify = notify
        rows = observer.collect() if observer.gpus.active else []
        self._devices = sorted({member.case.session.device for member in members if observer.gpus.reads(member)})
        self._rounds: list[int] = []
        self._left_out: list[tuple[Block, str]] = []
        self._tries = 0
        self._begin_ns = now()
        self._cool_c = self._temperatures(rows)
        self.segments = self.hot = 0
        self.kept = False

    def after(self, round_: int, *, last: bool) -> int:
        """Judge the segment that ends with a round, if one does; return how many rounds do not count.

        Args:
            round_: Its number.
            last: No round comes after it, unless some do not count.
        """
        if self.kept or not self._devices or not self._observer.gpus.active:
            return 0
        self._rounds.append(round_)
        if not last and now() - self._begin_ns < SEGMENT_NS:
            return 0
        self.segments += 1
        cause = heat(self._observer.collect(), self._devices, self._begin_ns)
        again = self._leave_out(cause) if cause else 0
        if not cause:
            self._tries = 0
        self._rounds = []
        self._begin_ns = now()
        return again

    def finish(self) -> None:
        """Tell the cases, once there are no more rounds."""
        if not self.hot:
            return
        share = self.hot / self.segments
        for member in self._members:
            text = f"{self.hot} of {self.segments} segments of its rounds: cool the GPU, or lower its power limit"
            if self.kept:
                member.unstable = f"heat held the clock in {text}"
            else:
                text = f"heat held the clock in {text}; they were measured again after cooling"
                member.warn("W07", share, MAX_SHARE, text)

    def _leave_out(self, cause: str) -> int:
        """Leave a segment out and wait; or keep all of them, if that has been done often enough."""
        self.hot += 1
        if self._tries == MAX_TRIES or self.hot > max(MAX_TRIES, MAX_SHARE * self.segments):
            self._keep_all()
            return 0
        self._tries += 1
        for member in self._members:
            blocks = [block for block in member.blocks if block.round in self._rounds and block.round >= 0]
            self._left_out += [(block, block.phase) for block in blocks]
            for block in blocks:
                block.phase = HOT
            member.recount()
        self._cool(cause)
        return len(self._rounds)

    def _keep_all(self) -> None:
        self.kept = True
        for block, phase in self._left_out:
            block.phase = phase
        self._left_out = []
        for member in self._members:
            member.recount()

    def _cool(self, cause: str) -> None:
        """Wait until the GPUs are as cool as they were at first, or nearly, while all workers are held."""
        self._notify(Stage(f"{CAUSES[cause]} held the clock of the GPU: it cools down for {COOL_S:.0f} s at most"))
        self._observer.end_rounds()
        deadline = time.monotonic() + COOL_S
        while time.monotonic() < deadline:
            time.sleep(_POLL_S)
            self._stop.check()
            warm = self._temperatures(self._observer.collect())
            if warm and all(warm[name] <= self._cool_c.get(name, 0.0) + MARGIN_C for name in warm):
                return

    def _temperatures(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        """Return the temperatures in °C that were read within the last seconds, by the devices."""
        read = {name: latest(rows, name, ("temperature",), now() - _RECENT_NS) for name in self._devices}
        return {name: values["temperature"] for name, values in read.items() if values}
