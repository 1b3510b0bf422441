"""What is told of memory that a block leaves."""

from __future__ import annotations

from typing import Any

import pytest

from benchfw.spec import Backend
from benchfw.worker.quiet import quiet
from benchfw.worker.server import _counted
from benchfw.worker.timing import Run

KEPT: list[object] = []


class Quiet(Backend):
    """Has no counters."""

    def load(self, artifact: Any) -> Any:
        return None

    def bind(self, slot: int, inputs: Any) -> Any:
        return None


def cycles() -> None:
    """Leave what refers to itself, and too little for Python to collect it as soon as it may."""
    for _ in range(300):
        one: list[object] = []
        one.append(one)


def keeps() -> None:
    KEPT.extend([] for _ in range(300))


def grown(block: Any) -> int:
    answer = _counted(Quiet({}, None), lambda: Run(quiet(block)))  # type: ignore[arg-type]
    return int(answer.values["counters"]["objects"])


@pytest.mark.parametrize(("block", "least", "most"), [(cycles, -200, 100), (keeps, 200, 900)])
def test_what_the_collector_frees_is_not_kept(block: Any, least: int, most: int) -> None:
    """Blocks run without it: one that leaves more of that than the one before it does not leak."""
    grown(lambda: None)
    assert least < grown(block) < most
    KEPT.clear()
