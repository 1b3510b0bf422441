"""Inputs of a model for commands that need no scenario: what the command line says, else what the model does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchfw.errors import UsageError

if TYPE_CHECKING:
    from benchfw.plugins import Registry
    from benchfw.spec.tensors import IoSpec, TensorSpec

_EXAMPLE = "--input NAME=DIMxDIM[:DTYPE], as in --input x=batchx3x224x224"
_BATCH = "batch"
_SIZE = re.compile(r"[1-9][0-9]{0,18}")


def split_model(registry: Registry, model: str) -> tuple[str, str]:
    """Return the scheme and the target of a model; a path alone is that of an ONNX file.

    Raises:
        UnknownName: No plugin provides the scheme.
        UsageError: There is no such ONNX file.
    """
    scheme, colon, target = model.partition(":")
    if not colon or (scheme not in registry.model_sources and Path(model).is_file()):
        scheme, target = "onnx", model
    registry.model_source(scheme)
    if scheme == "onnx" and not Path(target).is_file():
        raise UsageError(f"no such ONNX file: {target}", hint="MODEL is a path, python:MODULE:CALLABLE or builtin:NAME")
    return scheme, target


def find_inputs(registry: Registry, model: str, given: tuple[str, ...], root: Path) -> dict[str, Any]:
    """Return the inputs of a model as a scenario declares them, by name.

    The leading axis of the first input that has axes is called `batch` if no axis is, whatever the model calls it.

    Args:
        registry: What plugins provide.
        model: Its reference.
        given: `NAME=DIMxDIM[:DTYPE]` of `--input`; the model is not asked if there are any.
        root: Folder that paths and modules start from.

    Raises:
        UsageError: `--input` is wrong, or neither says what the inputs are, or no scenario can declare them.
        UnknownName: No plugin provides the model's scheme.
        CaseError: The model cannot be resolved.
    """
    inputs = _given(given) if given else _described(registry, model, root)
    _name_batch(inputs)
    return inputs


def input_specs(model: str, io: IoSpec | None, given: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    """Return the inputs of a model that has been resolved, its axes named as `find_inputs` does it.

    Order and bounds are those that a scenario with these inputs has: they are part of what artifacts are named after.

    Args:
        model: Its reference.
        io: Its inputs and outputs as it says itself.
        given: `NAME=DIMxDIM[:DTYPE]` of `--input`, which come before that.

    Raises:
        UsageError: `--input` is wrong, or neither says what the inputs are, or no scenario can declare them.
    """
    from benchfw.spec.tensors import TensorSpec

    inputs = _given(given) if given else _declared(model, io)
    _name_batch(inputs)
    own = {spec.name: spec for spec in io.inputs} if io else {}
    bounds = inputs if given else {name: {"low": spec.low, "high": spec.high} for name, spec in own.items()}
    order = sorted(inputs, key=list(own).index) if own.keys() >= inputs.keys() else inputs
    return tuple(
        TensorSpec(
            name=name,
            dtype=inputs[name]["dtype"],
            shape=tuple(inputs[name]["shape"]),
            low=bounds[name].get("low"),
            high=bounds[name].get("high"),
        )
        for name in order
    )


def _name_batch(inputs: Mapping[str, Any]) -> None:
    """Call the leading axis `batch` where no axis is."""
    shapes = [item["shape"] for item in inputs.values()]
    leading = next((shape[0] for shape in shapes if shape), None)
    if isinstance(leading, str) and _BATCH not in named_axes(inputs):
        for shape in shapes:
            shape[:] = [_BATCH if dim == leading else dim for dim in shape]


def named_axes(inputs: Mapping[str, Any]) -> list[str]:
    """Return the axes that inputs name, each once."""
    return list(dict.fromkeys(dim for item in inputs.values() for dim in item["shape"] if isinstance(dim, str)))


def _described(registry: Registry, model: str, root: Path) -> dict[str, Any]:
    from benchfw.executors.making import describe_model

    if model.startswith("null:"):
        return {}
    return _declared(model, describe_model(registry, model, root))


def _declared(model: str, io: IoSpec | None) -> dict[str, Any]:
    from pydantic import ValidationError

    from benchfw.scenario.resolved import described_input, undeclarable

    if io is None:
        raise UsageError(f"{model} does not say what its inputs are", hint=_EXAMPLE)
    try:
        return {spec.name: described_input(spec).model_dump(exclude_none=True) for spec in io.inputs}
    except ValidationError as error:
        raise UsageError(f"{model}: {undeclarable(error)}") from error


def _given(texts: tuple[str, ...]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for text in texts:
        name, item = _parse(text)
        if name in inputs:
            raise UsageError(f"--input {text}: {name} has been given before", hint="one --input for each input")
        inputs[name] = item
    return inputs


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    name, _, rest = text.partition("=")
    shape, colon, dtype = rest.partition(":")
    wrong = f"--input {text}: is not NAME=DIMxDIM[:DTYPE]"
    if not name.strip() or not shape or (colon and not dtype.strip()):
        raise UsageError(wrong, hint=f"{_EXAMPLE}:float32")
    parts = shape.split("x")
    for part in parts:
        if not (_SIZE.fullmatch(part) or part.isidentifier()):
            raise UsageError(f"{wrong}: {part!r} is neither a size nor the name of an axis", hint=f"{_EXAMPLE}:float32")
    dims = [int(part) if _SIZE.fullmatch(part) else part for part in parts]
    dtype = dtype or "float32"
    bounds = {"low": 0.0, "high": 2.0} if dtype.startswith(("int", "uint")) else {}
    return name, {"shape": dims, "dtype": dtype, **bounds}
