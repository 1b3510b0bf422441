"""Denormal weights: what artifacts say of theirs, and what a user should know of those that stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_REMEDY = "DenormalFreeWeights"


def denormals_left(metas: Sequence[Mapping[str, Any]]) -> str:
    """Return a warning of the denormal weights on a route's end; empty if there are none.

    Args:
        metas: Those of the model and of every artifact made of it, in order. The last one that knows its weights
            counts: an engine does not know them, what it was made of does.
    """
    known = [meta["weights"] for meta in metas if isinstance(meta.get("weights"), Mapping)]
    count = known[-1].get("denormal", 0) if known else 0
    if not count:
        return ""
    return (
        f"{count} of {known[-1].get('elements')} float32 weights are denormal numbers, with which CPUs compute many "
        f"times slower; a table `[steps.{_REMEDY}]` in the scenario makes them 0"
    )
