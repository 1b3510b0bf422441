"""What a plugin may see of a plan, and how it may change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PlannedCase:
    """A case of the plan.

    Attributes:
        case_id: Slug of its labels, as in the results.
        cohort_id: The point of the sweep that it belongs to.
        backend: The backend, as in `use`.
        name: Its name in the scenario.
        precision: Requested precision.
        environment: Name of the interpreter.
        sizes: Size of every axis; without the varying one of a random sequence.
        sweeps: Kinds of the sweeps that ask for it.
        status: None if it can be measured; else why not: SKIPPED or UNSUPPORTED.
    """

    case_id: str
    cohort_id: str
    backend: str
    name: str
    precision: str
    environment: str
    sizes: Mapping[str, int]
    sweeps: tuple[str, ...]
    status: str | None


@dataclass(frozen=True, kw_only=True)
class PlanEdit:
    """A change of a plan. Cases can be left out, with a row that says why; they never just disappear.

    Attributes:
        skip: Reason by `case_id`: the row is SKIPPED.
        first: Cohorts to be measured before the others, in this order.
    """

    skip: Mapping[str, str] = field(default_factory=dict)
    first: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.skip, Mapping):
            raise TypeError("PlanEdit.skip is a mapping from case_id to reason")
        if not isinstance(self.first, tuple):
            raise TypeError("PlanEdit.first is a tuple of cohort_id")
