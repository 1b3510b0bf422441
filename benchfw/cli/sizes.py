"""Sizes of named axes from the command line: one, or the range of a dynamic artifact."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchfw.cli.inputs import named_axes
from benchfw.errors import UsageError

_BATCH = "batch"
_SIZES = re.compile(r"[1-9][0-9]{0,17}(:[1-9][0-9]{0,17}){0,2}")


def axis_ranges(inputs: Mapping[str, Any], batch: str | None, sizes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Return `min`, `opt` and `max` of every named axis, as `[shapes]` of a scenario has them.

    Args:
        inputs: The model's inputs as a scenario declares them.
        batch: `--batch`: `N` or `MIN:OPT:MAX`; None for 1.
        sizes: `--size`: `AXIS=N` or `AXIS=MIN:OPT:MAX`.

    Raises:
        UsageError: One is no size, an axis has none, or the model has no such axis.
    """
    axes = named_axes(inputs)
    wanted = dict(_assignment(text) for text in sizes)
    if batch is not None:
        wanted[_BATCH] = _range("--batch", batch)
        leading = next((item["shape"][0] for item in inputs.values() if item["shape"]), None)
        if _BATCH not in axes and wanted.pop(_BATCH) != dict.fromkeys(("min", "opt", "max"), leading):
            raise UsageError(
                f"--batch {batch}: the model's inputs have a fixed batch of {leading}", hint="leave --batch out"
            )
    elif _BATCH in axes:
        wanted.setdefault(_BATCH, _range("--batch", "1"))
    missing = [axis for axis in axes if axis not in wanted]
    if missing:
        raise UsageError(f"the model's axis {missing[0]!r} has no size", hint=f"--size {missing[0]}=N")
    unknown = [axis for axis in wanted if axis not in axes]
    if unknown:
        raise UsageError(f"--size {unknown[0]}: the model has no such axis; it has {', '.join(axes) or 'none'}")
    return {axis: wanted[axis] for axis in axes}


def _assignment(text: str) -> tuple[str, dict[str, int]]:
    axis, _, sizes = text.partition("=")
    return axis, _range(f"--size {axis}", sizes)


def _range(what: str, text: str) -> dict[str, int]:
    if not _SIZES.fullmatch(text) or text.count(":") == 1:
        raise UsageError(f"{what} {text}: is neither a size N nor MIN:OPT:MAX")
    numbers = [int(part) for part in text.split(":")]
    low, opt, high = numbers if len(numbers) == 3 else numbers * 3
    if not low <= opt <= high:
        raise UsageError(f"{what} {text}: needs MIN <= OPT <= MAX")
    return {"min": low, "opt": opt, "max": high}
