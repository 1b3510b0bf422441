"""Runs of little that measure little, for tests that ask what a run does and not how well it measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchfw.measure import group, order, warmup
from benchfw.measure.gates import outputs

_SHORTER: tuple[tuple[Any, str, int], ...] = (
    (order, "BLOCK_NS", 10_000_000),
    (warmup, "_LOOK_NS", 10_000_000),
    (group, "_PAIR_NS", 500_000),
    (outputs, "_LOOKS_NS", 2_000_000),
)


def measure_little(setattr_: Callable[[Any, str, Any], None] = setattr) -> None:
    """Make blocks, and what else a run measures of each case whatever its budget is, a tenth as long or less.

    Nothing is left out. Holds for runs that this process conducts.

    Args:
        setattr_: That of a `pytest.MonkeyPatch`, which takes it back; default: for good.
    """
    for module, name, value in _SHORTER:
        assert getattr(module, name) > value, f"{module.__name__}.{name}"
        setattr_(module, name, value)


def small(name: str, rest: str, batches: Sequence[int] = (2,)) -> str:
    """Return a scenario for fake backends: one input, a cohort for each batch.

    Args:
        name: Its own.
        rest: Its tables `[measure]` and `[[backend]]`, and what else it has.
        batches: From 1 to 8.
    """
    return f"""
name = "{name}"
[model]
ref = "null:model"
[model.inputs.x]
shape = ["batch", 4]
[shapes]
batch = {{ min = 1, opt = 4, max = 8 }}
[[sweep]]
kind = "fixed"
batch = {list(batches)}
{rest}"""
