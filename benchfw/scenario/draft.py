"""The text of a first scenario for a model, with comments for whoever will edit it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BATCH = "batch"
_BATCHES = (1, 8, 16)
_SIZES = (1, 64, 128)
_MAX_ELEMENTS = 1 << 26
"""Elements of the largest input at its largest shape, as far as that can be had by making axes smaller."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A backend that could run the model.

    Attributes:
        use: Its name.
        summary: What it is, for people.
        precision: The precision to compute in.
        lacks: What it lacks here and how to get it; empty if it is ready.
    """

    use: str
    summary: str
    precision: str
    lacks: str = ""


def draft(name: str, ref: str, inputs: Mapping[str, Mapping[str, Any]], choices: Sequence[Choice]) -> str:
    """Return the text of a scenario file.

    Args:
        name: Name of the scenario.
        ref: The model, its path relative to the file.
        inputs: What `[model.inputs]` declares of each.
        choices: Backends in the order of the file; those that lack something become comments.
    """
    axes = list(dict.fromkeys(dim for item in inputs.values() for dim in item["shape"] if isinstance(dim, str)))
    ranges = _ranges(inputs, axes)
    parts = (_head(name, ref), _inputs(inputs), _shapes(ranges), _sweeps(ranges), _MEASURE, _backends(choices))
    return "\n".join(line for part in parts for line in ([part] if isinstance(part, str) else part))


def scenario_name(text: str) -> str:
    """Return the nearest text that can be the name of a scenario."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80] or "model"


def _head(name: str, ref: str) -> Iterator[str]:
    yield "# What is measured: one model, the shapes to run it with, the backends to run it on."
    yield "# `benchfw plan` shows what this file asks for, `benchfw run` measures it."
    yield f"name = {_quoted(name)}"
    yield ""
    yield "[model]"
    runs_code = "MODULE:CALLABLE, found from here first; runs your code"
    kinds = {"onnx": "relative to this file", "python": runs_code}
    comment = kinds.get(ref.partition(":")[0])
    yield f"ref = {_quoted(ref)}" + (f" # {comment}" if comment else "")
    yield "seed = 0 # of random weights and of random inputs"
    yield ""


def _inputs(inputs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not inputs:
        return
    yield "# A dimension is a size, or the name of an axis that [shapes] gives a range."
    integers = any("high" in item for item in inputs.values())
    if integers:
        yield "# Integers are drawn from low up to high, exclusive: for token ids, high is the size of the vocabulary."
    yield "[model.inputs]"
    for name, item in inputs.items():
        shape = ", ".join(_quoted(dim) if isinstance(dim, str) else str(dim) for dim in item["shape"])
        bounds = "".join(f", {key} = {item[key]:g}" for key in ("low", "high") if key in item)
        yield f"{_key(name)} = {{ shape = [{shape}], dtype = {_quoted(item['dtype'])}{bounds} }}"
    yield ""


def _ranges(inputs: Mapping[str, Mapping[str, Any]], axes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return smallest, usual and largest size of each axis; smaller ones where inputs would grow out of hand."""
    ranges = {axis: _BATCHES if axis == _BATCH else _SIZES for axis in axes}
    while _largest(inputs, ranges) > _MAX_ELEMENTS and any(most > 1 for _, _, most in ranges.values()):
        ranges = {axis: (1, max(1, opt // 2), max(1, most // 2)) for axis, (_, opt, most) in ranges.items()}
    return ranges


def _largest(inputs: Mapping[str, Mapping[str, Any]], ranges: Mapping[str, tuple[int, int, int]]) -> int:
    shapes = [item["shape"] for item in inputs.values()]
    return max(
        (math.prod(ranges[dim][2] if isinstance(dim, str) else dim for dim in shape) for shape in shapes), default=0
    )


def _shapes(ranges: Mapping[str, tuple[int, int, int]]) -> Iterator[str]:
    if not ranges:
        return
    if set(ranges) - {_BATCH}:
        yield "# Sizes that the model may not be able to take: put in those that it will get."
    yield "[shapes]"
    for axis, (least, opt, most) in ranges.items():
        yield f"{axis} = {{ min = {least}, opt = {opt}, max = {most} }}"
    yield ""


def _sweeps(ranges: Mapping[str, tuple[int, int, int]]) -> Iterator[str]:
    axis = _BATCH if _BATCH in ranges else next(iter(ranges), None)
    yield "[[sweep]]"
    yield 'kind = "fixed" # artifacts made for one shape' + ("; axes without a list stay at opt" if ranges else "")
    if axis is not None and axis != "kind":
        sizes = dict.fromkeys(ranges[axis][:2])
        yield f"{axis} = [{', '.join(map(str, sizes))}]"
    yield ""
    if axis is None:
        return
    yield "[[sweep]]"
    yield 'kind = "min-opt-max" # one artifact for the whole range, at its three points'
    yield ""
    yield "[[sweep]]"
    yield 'kind = "random-batch" # the same artifact under a random order of sizes, which all backends share'
    if axis != _BATCH:
        yield f"axis = {_quoted(axis)}"
    yield 'range = "min..opt"'
    yield ""


_MEASURE = """\
[measure]
effort = "quick" # "standard" and "report" are more precise, and take longer
budget = "1min" # for warm-up and measuring, shared out over all cases; preparing comes on top
"""


def _backends(choices: Sequence[Choice]) -> Iterator[str]:
    yield "# The first backend that computes in fp32 is the reference for outputs and speed."
    for choice in choices:
        mark = "# " if choice.lacks else ""
        yield f"{mark}[[backend]] # {_comment(choice.summary)}"
        yield f"{mark}use = {_quoted(choice.use)}" + (f" # {_comment(choice.lacks)}" if choice.lacks else "")
        if choice.precision != "fp32":
            yield f"{mark}precision = [{_quoted(choice.precision)}]"
        yield ""


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Return text as a TOML string. Those of JSON are the same, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """Return text that cannot end the comment that it stands in."""
    return "".join(char if char.isprintable() else " " for char in text)
