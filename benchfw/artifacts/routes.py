"""Which steps lead from the format of a model to one that a backend accepts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchfw.errors import Unsupported
from benchfw.spec.artifact import StepInfo

ANY = "*"
_MAX_STEPS = 3


def find_route(
    source: str, accepts: Sequence[str], steps: Iterable[StepInfo], *, specialize: bool
) -> tuple[StepInfo, ...]:
    """Return the shortest route; of equally short ones the one to the format that the backend wants most.

    Args:
        source: Format of the model.
        accepts: Formats of the backend, most wanted first; `*` takes any.
        steps: Every step that plugins provide.
        specialize: The artifact is to be made for one shape. A step between two formats does that itself; a model
            that is already in the right format needs the step from that format to itself, where there is one.

    Raises:
        Unsupported: There is no route.
    """
    if ANY in accepts:
        return ()
    profile = "static" if specialize else "dynamic"
    usable = [step for step in steps if profile in step.profiles]
    if source in accepts:
        same = [step for step in usable if step.source == step.target == source]
        return tuple(same[:1]) if specialize else ()
    routes: list[tuple[StepInfo, ...]] = [()]
    for _ in range(_MAX_STEPS):
        routes = [
            (*route, step)
            for route in routes
            for step in usable
            if step.source == (route[-1].target if route else source) and step.target != step.source
        ]
        ends = {route[-1].target: route for route in reversed(routes)}
        for wanted in accepts:
            if wanted in ends:
                return ends[wanted]
    raise Unsupported(
        f"no step leads from {source!r} to {' or '.join(map(repr, accepts))}",
        hint="`benchfw backends` lists the steps that are installed",
    )
