"""Checks of what a backend returns: nothing that breaks the contract reaches the parent."""

from __future__ import annotations

import json
import operator
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BackendError, Invalid
from benchfw.spec.backend import Backend
from benchfw.spec.layers import LayerProfile, LayerTime
from benchfw.spec.tensors import TensorSpec

_T = TypeVar("_T")
_MAX_COUNT = 1 << 53
"""What JSON readers and the column of the results can hold."""


def explain(backend: Backend | None, error: Exception) -> BackendError | None:
    """Ask a backend what an exception means; if that fails, it means nothing and stays what it was."""
    try:
        meaning = backend.explain(error) if backend else None
    except Exception:
        traceback.print_exc()
        return None
    return meaning if isinstance(meaning, BackendError) else None


def agreed(method: str, value: Any, kind: type[_T]) -> _T:
    """Return what a method of a backend returned.

    Raises:
        Invalid: It is of another type than the contract says.
    """
    if not isinstance(value, kind):
        raise Invalid(f"{method}() returned {type(value).__name__}, not {kind.__name__}")
    return value


def mapping(method: str, value: Any) -> dict[Any, Any]:
    return dict(agreed(method, value, Mapping))  # type: ignore[type-abstract]


def facts(backend: Backend) -> dict[str, Any]:
    """Return the facts of a backend.

    Raises:
        Invalid: JSON cannot hold them.
    """
    facts = mapping("facts", backend.facts())
    try:
        json.dumps(facts)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"facts() returned what JSON cannot hold: {error}") from error
    return facts


def counts(backend: Backend) -> dict[str, int]:
    """Return the counters of a backend.

    Raises:
        Invalid: One is no integer.
    """
    counts = {str(name): value for name, value in mapping("counters", backend.counters()).items()}
    try:
        numbers = {name: operator.index(value) for name, value in counts.items()}
    except TypeError:
        raise Invalid(f"counters() returned {counts!r:.200}, not integers") from None
    if not all(0 <= number < _MAX_COUNT for number in numbers.values()):
        raise Invalid(f"counters() returned {numbers!r:.200}: no process gets that far")
    return numbers


def array(name: Any, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise Invalid(f"output {name!r} is no array: {error}") from error


def check_spec(spec: Any) -> None:
    """Refuse a description of an input or output that the parent could not compare with anything.

    Raises:
        Invalid: Its dtype is none, or a dimension is neither an int nor the name of an axis.
    """
    agreed("load", spec, TensorSpec)
    try:
        np.dtype(spec.dtype)
    except TypeError as error:
        raise Invalid(f"load() announced {spec.name!r} with the dtype {spec.dtype!r}, which is none") from error
    if not all(isinstance(dim, (int, str)) for dim in spec.shape):
        raise Invalid(f"load() announced {spec.name!r} with the shape {list(spec.shape)}")


def outputs(value: Any) -> dict[str, NDArray[Any]]:
    """Return the outputs of a launch by name.

    Raises:
        Invalid: They are no mapping, or one is no array.
    """
    return {str(name): array(name, item) for name, item in mapping("outputs", value).items()}


def profile(value: Any, n: int) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Return the layers of a profile as JSON values, and their times: `layers` [layers, n] and `inferences` [n], in ns.

    Raises:
        Invalid: It is none, has no layer, or its times are not `n` numbers each.
    """
    agreed("profile", value, LayerProfile)
    layers = [agreed("profile", layer, LayerTime) for layer in value.layers]
    if not layers:
        raise Invalid("profile() returned no layer")
    times = [_times(layer.name, layer.time_ns, n) for layer in layers]
    described = [{key: item for key, item in asdict(layer).items() if key != "time_ns"} for layer in layers]
    try:
        json.dumps(described)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"profile() returned what JSON cannot hold: {error}") from error
    return described, {"layers": np.stack(times), "inferences": _times("inference_ns", value.inference_ns, n)}


def _times(name: str, value: Any, n: int) -> NDArray[np.float64]:
    try:
        times = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise Invalid(f"profile() returned times of {name!r} that are no numbers: {error}") from error
    if times.shape != (n,) or not np.isfinite(times).all() or (times < 0).any():
        raise Invalid(f"profile() returned times of {name!r} that are not {n} numbers of ns, 0 or more")
    return times
