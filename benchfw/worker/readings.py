"""What samplers give: checked, since plugins write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchfw.errors import Invalid

MAX_FIELDS = 1 << 10


class Reading(NamedTuple):
    """One reading of a sampler.

    Attributes:
        time_ns: Stamp before it.
        cost_ns: How long it took.
        values: By field; NaN for what could not be read.
    """

    time_ns: int
    cost_ns: int
    values: dict[str, float]


def units_of(method: str, given: Any, least: int) -> dict[str, str]:
    """Return what `open` or `watch` gave.

    Raises:
        Invalid: It is no unit for each of some fields.
    """
    fields = dict(given) if isinstance(given, Mapping) else None
    words = fields is not None and all(isinstance(text, str) for item in fields.items() for text in item)
    if fields is None or not words or not least <= len(fields) <= MAX_FIELDS:
        raise Invalid(f"{method}() returned {given!r:.200}, not the units of {least} to {MAX_FIELDS} fields")
    return fields


def values_of(units: Mapping[str, str], given: Any) -> dict[str, float]:
    """Return what `sample` gave; NaN for None.

    Raises:
        Invalid: There is a field that nobody announced, or one is no number.
    """
    if not isinstance(given, Mapping) or not set(given) <= set(units):
        raise Invalid(f"sample() returned {given!r:.200}, not values for some of the fields {sorted(units)!r:.200}")
    return {field: _number(field, value) for field, value in given.items()}


def _number(field: str, value: Any) -> float:
    if value is None:
        return float("nan")
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise Invalid(f"sample() returned {value!r:.200} for {field!r:.80}, which is no number")
