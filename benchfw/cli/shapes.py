"""Sizes of a model's axes as the command line gives them, and the profile that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchfw.errors import UsageError
from benchfw.spec.tensors import AxisRange, Profile, TensorSpec

BATCH = "batch"
_MAX_DIGITS = 18


def parse_sizes(texts: Iterable[str]) -> dict[str, AxisRange]:
    """Return the range of each axis of `--size AXIS=N` and `--size AXIS=MIN:OPT:MAX`.

    Raises:
        UsageError: It is neither, the sizes do not ascend, or an axis is given twice.
    """
    ranges: dict[str, AxisRange] = {}
    for text in texts:
        axis, _, sizes = text.partition("=")
        parts = sizes.split(":")
        if not axis or len(parts) not in (1, 3) or not all(map(_is_size, parts)):
            raise UsageError(f"--size {text}: is neither AXIS=N nor AXIS=MIN:OPT:MAX")
        if axis in ranges:
            raise UsageError(f"--size {text}: {axis} has been given before", hint="one --size for each axis")
        ranges[axis] = _range(f"--size {text}", *(int(part) for part in (parts * 3)[:3]))
    return ranges


def batch_range(batch: int | None, low: int | None, best: int | None, high: int | None) -> AxisRange | None:
    """Return the range of the batch axis of `--batch N`, or of `--min`, `--opt` and `--max`; None without any.

    Raises:
        UsageError: Both are given, one of the three is missing, or they do not ascend.
    """
    given = {"--min": low, "--opt": best, "--max": high}
    missing = [name for name, size in given.items() if size is None]
    if len(missing) == len(given):
        return AxisRange.fixed(batch) if batch is not None else None
    if batch is not None:
        raise UsageError("--batch is one size, --min, --opt and --max are a range", hint="give one of the two")
    if low is None or best is None or high is None:
        raise UsageError(f"{missing[0]} is missing", hint="--min, --opt and --max belong together")
    return _range(f"--min {low} --opt {best} --max {high}", low, best, high)


def make_profile(inputs: Sequence[TensorSpec], batch: AxisRange | None, sizes: Mapping[str, AxisRange]) -> Profile:
    """Return the profile for a model's inputs; the batch axis is 1 unless something else is asked for.

    Raises:
        UsageError: An axis has no size, a size has no axis, or the model's batch is fixed to another one.
    """
    axes = list(dict.fromkeys(dim for spec in inputs for dim in spec.shape if isinstance(dim, str)))
    wanted = dict(sizes)
    if batch is not None:
        if BATCH in wanted:
            raise UsageError(f"--size {BATCH} says what --batch, --min, --opt and --max say", hint="give one of them")
        wanted[BATCH] = batch
    if BATCH not in axes and BATCH in wanted:
        leading = next((spec.shape[0] for spec in inputs if spec.shape), None)
        if wanted.pop(BATCH) != AxisRange.fixed(leading if isinstance(leading, int) and leading > 0 else 1):
            fixed = f"a fixed batch of {leading}" if isinstance(leading, int) else "no batch axis"
            raise UsageError(f"the model's inputs have {fixed}", hint="export it with a dynamic batch, or leave it out")
    unknown = [axis for axis in wanted if axis not in axes]
    if unknown:
        raise UsageError(f"--size {unknown[0]}: the model has no such axis; it has {', '.join(axes) or 'none'}")
    ranges = {BATCH: AxisRange.fixed(1), **wanted}
    missing = [axis for axis in axes if axis not in ranges]
    if missing:
        raise UsageError(f"the model's axis {missing[0]!r} has no size", hint=f"--size {missing[0]}=MIN:OPT:MAX")
    return Profile({axis: ranges[axis] for axis in axes})


def range_text(axis: AxisRange) -> str:
    """Return a range as it is given: `8` or `1:8:16`."""
    return f"{axis.opt}" if axis.min == axis.max else f"{axis.min}:{axis.opt}:{axis.max}"


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def _range(what: str, low: int, best: int, high: int) -> AxisRange:
    try:
        return AxisRange(min=low, opt=best, max=high)
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from error
