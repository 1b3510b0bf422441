"""What a scenario allows outputs to differ by, over the default of their precision."""

from __future__ import annotations

from dataclasses import replace

from benchfw.scenario.schema import Accuracy, OutputTolerance
from benchfw.spec.accuracy import TOLERANCES, Tolerance


def tolerance_of(accuracy: Accuracy, precision: str) -> Tolerance | None:
    """Return what a scenario sets in place of the default of a precision; None if it leaves that alone."""
    given = next((table for name, table in accuracy.tolerance.items() if name == precision), None)
    if given is None:
        return None
    default = TOLERANCES[precision]
    whole = _over(default, given)
    whole = replace(whole, outputs={name: _over(whole, table) for name, table in given.outputs.items()})
    return None if whole == default else whole


def _over(base: Tolerance, given: OutputTolerance) -> Tolerance:
    """Lay what is given over a tolerance; who lowers what fails alone lowers what warns with it."""
    values = given.model_dump(exclude_none=True, exclude={"outputs"})
    made = replace(base, **values)
    return made if "rel_l2_warn" in values else replace(made, rel_l2_warn=min(made.rel_l2_warn, made.rel_l2))
