"""Faults that a scenario can have although each of its values is well-formed."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from packaging.requirements import InvalidRequirement, Requirement
from pydantic import ValidationError

from benchfw.errors import Fault
from benchfw.scenario.modes import blocking_option, returns_early
from benchfw.scenario.schema import BackendEntry, FixedSweep, Input, OutputTolerance, RandomBatchSweep, Scenario
from benchfw.scenario.tolerances import tolerance_of
from benchfw.spec.accuracy import TOLERANCES, Tolerance
from benchfw.spec.backend import BackendInfo
from benchfw.spec.device import CPU
from benchfw.spec.info import MAX_NAME, NAME_PATTERN
from benchfw.worker.loops import MAX_BLOCK

MAX_CASES = 10_000
MAX_FAULTS = 100
"""What is told of one file; nobody reads more, and finding more takes time."""

_MAX_SHOWN = 80
_MAX_NAMES = 500
"""Names that a misspelt one is compared with, at most."""

MAX_CHUNK = MAX_BLOCK - 5
"""Inferences of a chunk of a random sequence, at most: chunks are never cut, and a block re-warms before them."""


def check(
    scenario: Scenario,
    root: Path,
    *,
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any],
    steps: Mapping[str, Any] | None = None,
    samplers: Collection[str] | None = None,
) -> list[Fault]:
    """Return the faults that need more than one value, the plugins, or the disk to see; of very many the first."""
    faults = itertools.chain(
        axis_faults(scenario),
        _sweeps(scenario),
        _inputs(scenario),
        _files(scenario, root),
        _backends(scenario, backends, options, steps),
        _environments(scenario),
        _references(scenario),
        _tolerances(scenario),
        step_faults(scenario.steps, steps) if steps is not None else (),
        _samplers(scenario, samplers) if samplers is not None else (),
    )
    return list(itertools.islice(faults, MAX_FAULTS + 1))


def axis_faults(scenario: Scenario) -> Iterator[Fault]:
    """Yield the axes that have no range, and the ranges that have no axis."""
    if not scenario.model.inputs:
        return
    used = set()
    for name, item in scenario.model.inputs.items():
        for place, dim in enumerate(item.shape):
            if isinstance(dim, int):
                continue
            used.add(dim)
            if dim not in scenario.shapes:
                yield Fault(
                    ("model", "inputs", name, "shape", place),
                    f"axis {dim!r} has no range in [shapes]",
                    nearest=nearest_name(dim, scenario.shapes),
                )
    for axis in scenario.shapes:
        if axis not in used:
            yield Fault(("shapes", axis), "no input has an axis of this name", nearest=nearest_name(axis, used))


def _sweeps(scenario: Scenario) -> Iterator[Fault]:
    total = 0
    for place, sweep in enumerate(scenario.sweep):
        path = ("sweep", place)
        if isinstance(sweep, FixedSweep):
            points = 1
            for axis, sizes in sweep.axes.items():
                points *= len(sizes)
                if axis not in scenario.shapes:
                    near = nearest_name(axis, scenario.shapes)
                    yield Fault((*path, axis), "unknown key: it is no axis of [shapes]", nearest=near)
            total += points
        elif isinstance(sweep, RandomBatchSweep):
            total += 1
            yield from _random_sweep(scenario, sweep, path)
        else:
            total += 3
    runs = sum(
        len(set(entry.precision))
        * math.prod(len(set(each or "-")) for each in (entry.io_scope, entry.graph, entry.sync, entry.cache))
        for entry in scenario.backend
    )
    if total * runs > MAX_CASES:
        yield Fault(("sweep",), f"{total} points on {runs} backends are more than {MAX_CASES} cases")


def _random_sweep(scenario: Scenario, sweep: RandomBatchSweep, path: tuple[str | int, ...]) -> Iterator[Fault]:
    axis = scenario.shapes.get(sweep.axis)
    if axis is None:
        near = nearest_name(sweep.axis, scenario.shapes)
        yield Fault((*path, "axis"), f"axis {sweep.axis!r} has no range in [shapes]", nearest=near)
        return
    if isinstance(sweep.range, list):
        low, high = sweep.range
    else:
        low, high = (int(getattr(axis, point)) for point in sweep.range.split(".."))
    length = len(sweep.trace) if sweep.trace else high - low + 1
    if length > MAX_CHUNK:
        reason = f"{length} inferences are more than the {MAX_CHUNK} of a block"
        yield Fault((*path, "trace" if sweep.trace else "range"), reason)
    sizes = sweep.trace or (sweep.range if isinstance(sweep.range, list) else [])
    if sizes and not axis.min <= min(sizes) <= max(sizes) <= axis.max:
        key = "trace" if sweep.trace else "range"
        yield Fault((*path, key), f"{min(sizes)} to {max(sizes)} leaves the range {axis.min} to {axis.max} of [shapes]")


def _inputs(scenario: Scenario) -> Iterator[Fault]:
    for name, item in scenario.model.inputs.items():
        path = ("model", "inputs", name)
        if item.dtype.startswith(("int", "uint")) and item.high is None and scenario.model.data is None:
            yield Fault((*path, "high"), f"is missing: random values of {item.dtype} need an upper bound")
        if item.low is not None and item.high is None:
            yield Fault((*path, "high"), "is missing: `low` alone is no range")
        if item.high is not None and not (item.low or 0) < item.high:
            yield Fault((*path, "high"), f"must be above low, {item.low or 0:g}")
        elif item.high is not None and item.dtype.startswith(("int", "uint")):
            yield from _integer_bounds(item, path)


def _integer_bounds(item: Input, path: tuple[str | int, ...]) -> Iterator[Fault]:
    low, high = item.low or 0, item.high or 0
    range_ = np.iinfo(item.dtype)
    for key, value in (("low", low), ("high", high)):
        if value != int(value):
            yield Fault((*path, key), f"must be a whole number for {item.dtype}, got {value:g}")
            return
    if low < range_.min or high - 1 > range_.max:
        yield Fault((*path, "high"), f"{low:g} to {high:g} leaves the range of {item.dtype}")


def _files(scenario: Scenario, root: Path) -> Iterator[Fault]:
    for key, is_right, kind in (("weights", Path.is_file, "file"), ("data", Path.is_dir, "folder")):
        value = getattr(scenario.model, key)
        if value is not None and not _safely(is_right, root / value):
            yield Fault(("model", key), f"no such {kind}: {value!r}, looked for from {root}")


def _safely(test: Any, path: Path) -> bool:
    try:
        return bool(test(path))
    except (OSError, ValueError):  # a name that is too long, or with a null byte
        return False


def _backends(
    scenario: Scenario,
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any],
    steps: Mapping[str, Any] | None,
) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for place, entry in enumerate(scenario.backend):
        path = ("backend", place)
        if entry.label in seen:
            reason = f"{entry.label!r} is already the name of backend[{seen[entry.label]}]: give one of them a `name`"
            yield Fault((*path, "name" if entry.name else "use"), reason)
        seen.setdefault(entry.label, place)
        if entry.environment is not None and entry.environment not in scenario.environments:
            near = nearest_name(entry.environment, scenario.environments)
            reason = f"no table [environments.{entry.environment}]"
            reason += "; an empty one is enough for what `benchfw env create` made under this name"
            yield Fault((*path, "environment"), reason, nearest=near)
        yield from _labels(entry, backends.get(entry.use), path)
        if entry.use in backends:
            yield from _options(entry.options, options.get(entry.use), (*path, "options"))
            if steps is not None:
                yield from step_faults(entry.steps, steps, at=(*path, "steps"), under=scenario.steps)
        elif not entry.optional:
            reason = f"no installed plugin provides {entry.use!r}; `optional = true` would skip it"
            yield Fault((*path, "use"), reason, nearest=nearest_name(entry.use, backends), unprovided=True)


def _labels(entry: BackendEntry, info: BackendInfo | None, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """Yield the labels that an entry cannot have: those of a device without one, and to spin where nothing spins."""
    devices = info.capabilities.devices if info else ()
    if (entry.device or (CPU if CPU in devices else "")) != CPU:
        if info and "spin" in (entry.sync or ()) and not returns_early(entry, info):
            option = blocking_option(entry, info)
            reason = (
                f"launches of {entry.use!r} return complete{option and f' with `{option}`'}, so that nothing spins: "
            )
            yield Fault((*path, "sync"), reason + "leave `sync` out" + (", or that option" if option else ""))
        return
    for key in ("io_scope", "graph", "sync", "cache"):
        if getattr(entry, key) is not None:
            others = [device for device in devices if device != CPU]
            reason = f"is for cases on a device, and {entry.label!r} runs on the CPU"
            reason += f'; add `device = "{others[0]}"`' if others else ""
            yield Fault((*path, key), reason)


def _environments(scenario: Scenario) -> Iterator[Fault]:
    for name, entry in scenario.environments.items():
        path = ("environments", name)
        if name == "default":
            yield Fault(path, "is the name of benchfw's own interpreter: give it another one")
        elif not re.fullmatch(NAME_PATTERN, name) or len(name) > MAX_NAME:
            yield Fault(path, f"is no name: letters, digits, '.', '_' and '-', up to {MAX_NAME}")
        for place, text in enumerate(entry.packages):
            reason = _unusable(text)
            if reason:
                yield Fault((*path, "packages", place), reason)


def _unusable(text: str) -> str | None:
    """Say why a requirement cannot be compared with what is installed; None if it can."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"{shown(text)} is no requirement, as 'numpy==2.1.0' is"
    if requirement.marker or requirement.url:
        return f"{shown(text)} has a marker or an address; only versions can be compared with what is installed"
    return None


def _options(values: Mapping[str, Any], model: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    if model is None:
        if values:
            yield Fault(path, "there are no options to set here")
        return
    try:
        model.model_validate(values)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            key = str(item["loc"][0]) if item["loc"] else ""
            if item["type"] == "extra_forbidden":
                yield Fault((*path, key), "unknown option", nearest=nearest_name(key, model.model_fields))
            else:
                got = "" if isinstance(item["input"], dict) else f", got {shown(item['input'])}"
                yield Fault((*path, key) if key else path, f"{item['msg']}{got}")


def step_faults(
    given: Mapping[str, Mapping[str, Any]],
    steps: Mapping[str, Any],
    *,
    at: tuple[str | int, ...] = ("steps",),
    under: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Iterator[Fault]:
    """Yield the steps that no plugin provides, and the options that they do not take.

    Args:
        given: Options by the names of steps.
        steps: Pydantic model of the options of each step; None where it has none.
        at: Key path of `given`.
        under: Options that hold where `given` has no others. Their own faults are told elsewhere.
    """
    for name, values in given.items():
        path = (*at, name)
        if name in steps:
            shared = under.get(name, {})
            usable = not any(_options(shared, steps[name], path))  # an option may be right beside another one alone
            yield from _options({**shared, **values} if usable else values, steps[name], path)
        else:
            reason = "no installed plugin provides this step"
            yield Fault(path, reason, nearest=nearest_name(name, steps), unprovided=True)


def _samplers(scenario: Scenario, samplers: Collection[str]) -> Iterator[Fault]:
    names = scenario.measure.samplers or []
    for place, name in enumerate(names):
        path = ("measure", "samplers", place)
        if name not in samplers:
            near = nearest_name(name, samplers)
            reason = f"no installed plugin provides the sampler {name!r}"
            yield Fault(path, reason, nearest=near, unprovided=True)
        elif name in names[:place]:
            yield Fault(path, f"{name!r} is there already")


def _references(scenario: Scenario) -> Iterator[Fault]:
    names = [entry.label for entry in scenario.backend]
    wanted = scenario.accuracy.reference
    if wanted is None:
        return
    if wanted not in names:
        yield Fault(("accuracy", "reference"), f"no backend is called {wanted!r}", nearest=nearest_name(wanted, names))
    elif "fp32" not in scenario.backend[names.index(wanted)].precision:
        yield Fault(("accuracy", "reference"), f"{wanted!r} does not run in fp32")


def _tolerances(scenario: Scenario) -> Iterator[Fault]:
    for precision, given in scenario.accuracy.tolerance.items():
        made = tolerance_of(scenario.accuracy, precision) or TOLERANCES[precision]
        path = ("accuracy", "tolerance", precision)
        yield from _upside_down(made, given, path)
        for name, table in given.outputs.items():
            yield from _upside_down(made.of(name), table, (*path, "outputs", name))


def _upside_down(made: Tolerance, given: OutputTolerance, path: tuple[str, ...]) -> Iterator[Fault]:
    if given.rel_l2_warn is not None and made.rel_l2_warn > made.rel_l2:
        yield Fault((*path, "rel_l2_warn"), f"is {made.rel_l2_warn:g}, above {made.rel_l2:g}, where `rel_l2` fails")


def shown(value: Any) -> str:
    """Return a value of a file for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the valid name that a misspelt one comes closest to, if any is close."""
    close = difflib.get_close_matches(name, list(itertools.islice(names, _MAX_NAMES)), n=1)
    return close[0] if close else None
