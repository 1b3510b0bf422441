"""Shares the budget of a run out over its groups of cases, by what their blocks will probably cost."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchfw.measure.blocks import BLOCK_NS, KEEP_MIN
from benchfw.measure.member import Member
from benchfw.scenario import Case


class Budget:
    """Time for warm-up and blocks.

    Args:
        seconds: The whole of it; None for no bound.
    """

    def __init__(self, seconds: float | None) -> None:
        self._left_s = seconds
        self._ns_per_element: dict[str, float] = {}

    def learn(self, member: Member) -> None:
        """Note how long a backend takes for one element of the product of its axes, at best."""
        for slot in range(len(member.sizes)):
            elements = math.prod(member.sizes_at(slot).values())
            rate = member.order.expected_ns(slot) / elements
            key = member.case.session.session_id
            self._ns_per_element[key] = min(rate, self._ns_per_element.get(key, rate))

    def share(self, cases: Iterable[Case], later: Iterable[Case]) -> float | None:
        """Return the seconds that `cases` may take if `later` are to get theirs."""
        if self._left_s is None:
            return None
        mine, others = sum(map(self._block_ns, cases)), sum(map(self._block_ns, later))
        return max(0.0, self._left_s) * mine / (mine + others) if mine else 0.0

    def spend(self, seconds: float) -> None:
        if self._left_s is not None:
            self._left_s -= seconds

    def _block_ns(self, case: Case) -> float:
        """Return what a block of a case will probably take: what it aims at, or its least number of iterations."""
        rate = self._ns_per_element.get(case.session.session_id, 0.0)
        others = math.prod(case.sizes.values())
        iterations = (
            [others] * (KEEP_MIN + 1) if case.sequence is None else [n * others for n in case.sequence.chunk(0)]
        )
        return max(BLOCK_NS, rate * sum(iterations))
