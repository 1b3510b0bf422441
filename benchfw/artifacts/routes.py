"""Which steps lead from a model to an artifact that a backend accepts, in the precision that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from benchfw.errors import Unsupported
from benchfw.spec.artifact import StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.spec.device import CPU

ANY = "*"
_MAX_STEPS = 4
HERE = "default"
"""The environment of benchfw's own interpreter."""
FULL = "fp32"
"""Other precisions are made of this one, and of no other."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The artifact that a case needs.

    Attributes:
        accepts: Formats of the backend, most wanted first; `*` takes any.
        precision: Precision of the artifact; None for that of the model, which the backend turns itself.
        specialize: It is to be made for one shape. Where a step from the model's format to itself does
            that, it comes first; steps between two formats do it too.
        given: Options of steps that somebody gives, by the steps' names. To name a step is to ask for it.
        presets: Options of steps that the backend wants other than by default; what is given comes before them.
        environment: Name of the interpreter that the backend runs on, which builds its engines.
        device: What the backend runs on, and its engines are built on: `cpu`, `cuda:0`.
    """

    accepts: Sequence[str]
    precision: str | None = None
    specialize: bool = False
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: str = HERE
    device: str = CPU

    @classmethod
    def by(
        cls,
        info: BackendInfo,
        precision: str,
        *,
        specialize: bool,
        given: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        environment: str = HERE,
        device: str = CPU,
    ) -> Wanted:
        """Return what a backend wants for a case in some precision."""
        artifact = FULL if precision in info.turns else precision
        return cls(
            accepts=info.accepts,
            precision=artifact if info.typed else None,
            specialize=specialize and info.capabilities.specializes,
            given=given,
            presets=info.step_options,
            environment=environment,
            device=device,
        )

    def options(self, step: str) -> dict[str, Any]:
        """Return the options of a step that somebody or the backend sets."""
        return {**self.presets.get(step, {}), **self.given.get(step, {})}


def find_route(
    source: str, wanted: Wanted, steps: Iterable[StepInfo], *, precision: str = FULL
) -> tuple[StepInfo, ...]:
    """Return the shortest route; of equally short ones the one to the format that the backend wants most.

    Args:
        source: Format of the model.
        wanted: Where the route shall lead.
        steps: Every step that plugins provide.
        precision: Precision of the model.

    Raises:
        Unsupported: There is no route.
    """
    if ANY in wanted.accepts:
        return ()
    profile = "static" if wanted.specialize else "dynamic"
    usable = [step for step in steps if profile in step.profiles and (not step.on_request or step.name in wanted.given)]
    usable.sort(key=lambda step: not _replaces(step))  # of equally short routes the first wins
    goal = wanted.precision or precision
    base = _shortest(source, precision, wanted.accepts, goal, usable)
    if base is None:
        formats = " or ".join(map(repr, wanted.accepts))
        in_precision = f" in {goal}" if wanted.precision else ""
        raise Unsupported(
            f"no step leads from {source!r}{f' in {precision}' if wanted.precision else ''} to {formats}{in_precision}",
            hint="`benchfw backends` lists the steps that are installed",
        )
    if wanted.specialize:
        same = [step for step in usable if _specializes(step) and step.source == source]
        base = (*same[:1], *base)
    return _with_asked(source, base, [step for step in usable if step.on_request and not _replaces(step)])


def without_wishes(
    given: Mapping[str, Mapping[str, Any]], steps: Mapping[str, StepInfo]
) -> dict[str, Mapping[str, Any]]:
    """Return options without those of steps that run on request alone.

    Args:
        given: By the steps' names.
        steps: Every step that plugins provide.
    """
    return {name: values for name, values in given.items() if name not in steps or not steps[name].on_request}


def precisions_along(route: Sequence[StepInfo], precision: str, goal: str) -> list[str]:
    """Return the precision of what each step of a route makes: of those that can make `goal`, the last one does."""
    turns = max((place for place, step in enumerate(route) if goal in step.makes), default=len(route))
    return [goal if precision == FULL and place >= turns else precision for place in range(len(route))]


def precision_after(step: StepInfo, precision: str, goal: str) -> str:
    """Return the precision that a route to `goal` can have reached after a step."""
    return goal if precision == FULL and goal in step.makes else precision


def _shortest(
    source: str, precision: str, accepts: Sequence[str], goal: str, steps: Sequence[StepInfo]
) -> tuple[StepInfo, ...] | None:
    """Return the shortest route through formats and precisions, without steps that nothing but a wish asks for."""
    routes: list[tuple[tuple[StepInfo, ...], str, str]] = [((), source, precision)]
    for _ in range(_MAX_STEPS + 1):
        ends = {format_: route for route, format_, reached in reversed(routes) if reached == goal}
        for format_ in accepts:
            if format_ in ends:
                return ends[format_]
        routes = [
            ((*route, step), step.target, precision_after(step, reached, goal))
            for route, format_, reached in routes
            for step in steps
            if step.source == format_ and (not step.on_request or _replaces(step))
            if step.target != format_ or precision_after(step, reached, goal) != reached
        ]
    return None


def _replaces(step: StepInfo) -> bool:
    """Whether a step that somebody asked for stands in for others between its formats."""
    return step.on_request and step.source != step.target


def _specializes(step: StepInfo) -> bool:
    return step.source == step.target and not step.makes and not step.on_request


def _with_asked(source: str, base: Sequence[StepInfo], asked: Sequence[StepInfo]) -> tuple[StepInfo, ...]:
    """Put each wish where its format is reached first: after specialising, before another precision is made."""
    route: list[StepInfo] = []
    left, reached = list(asked), source
    for step in (*base, None):
        if step is None or not _specializes(step):
            here = [wish for wish in left if wish.source == reached]
            route += here
            left = [wish for wish in left if wish not in here]
        if step is not None:
            route.append(step)
            reached = step.target
    return tuple(route)
