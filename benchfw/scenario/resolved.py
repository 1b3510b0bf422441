"""What a scenario says of the model's inputs, put together with what the model itself says."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from benchfw.errors import Fault, ScenarioError
from benchfw.scenario.checks import axis_faults
from benchfw.scenario.load import Loaded
from benchfw.scenario.schema import Input, Scenario, axis_name
from benchfw.spec.tensors import IoSpec, TensorSpec


def model_inputs(loaded: Loaded, io: IoSpec | None) -> tuple[Scenario, list[TensorSpec]]:
    """Return the scenario with its inputs filled in, and these inputs.

    Args:
        loaded: The scenario; it may leave the inputs out where the model knows them.
        io: What the model says, or None.

    Raises:
        ScenarioError: They contradict each other, or nobody says what the inputs are.
    """
    scenario = loaded.scenario
    declared = scenario.model.inputs
    own = {spec.name: spec for spec in io.inputs} if io else {}
    if not declared:
        if io is None and not scenario.model.ref.startswith("null:"):
            reason = f"is missing: {scenario.model.ref!r} does not say what its inputs are"
            raise ScenarioError(loaded.source, [Fault(("model", "inputs"), reason)])
        try:
            declared = {name: described_input(spec) for name, spec in own.items()}
        except ValidationError as error:
            raise ScenarioError(loaded.source, [Fault(("model", "inputs"), undeclarable(error))]) from error
        model = scenario.model.model_copy(update={"inputs": declared})
        scenario = scenario.model_copy(update={"model": model})
        faults = list(axis_faults(scenario))
    else:
        faults = list(_contradictions(declared, own)) if io else []
    if faults:
        raise ScenarioError(loaded.source, faults)
    order = [name for name in own if name in declared] or list(declared)
    said = loaded.scenario.model.inputs
    return scenario, [_spec(name, declared[name], said.get(name) or own[name]) for name in order]


def _spec(name: str, item: Input, bounds: Input | TensorSpec) -> TensorSpec:
    return TensorSpec(name=name, dtype=item.dtype, shape=tuple(item.shape), low=bounds.low, high=bounds.high)


def described_input(spec: TensorSpec) -> Input:
    """Return an input as a scenario would declare it, with the bounds that the model says.

    Integers without bounds get the values 0 and 1, which every model can take. What is no name of an axis in a scenario
    becomes one.

    Raises:
        ValidationError: No scenario can declare it: its dtype, or a size that is not positive.
    """
    integer = spec.dtype.startswith(("int", "uint"))
    shape = [axis_name(dim) if isinstance(dim, str) else dim for dim in spec.shape]
    low, high = (spec.low, spec.high) if spec.high is not None or not integer else (0.0, 2.0)
    return Input.model_validate({"shape": shape, "dtype": spec.dtype, "low": low, "high": high})


def undeclarable(error: ValidationError) -> str:
    """Say why an input of a model cannot be declared."""
    what = error.errors(include_url=False)[0]
    return f"the model has an input that no scenario can declare: {what['msg']}, got {what['input']!r}"


def _contradictions(declared: Mapping[str, Input], own: Mapping[str, TensorSpec]) -> list[Fault]:
    faults = []
    for name in sorted(set(own) - set(declared)):
        faults.append(Fault(("model", "inputs"), f"the model also has an input {name!r}"))
    for name, item in declared.items():
        path = ("model", "inputs", name)
        if name not in own:
            faults.append(Fault(path, f"the model has no such input; it has {sorted(own)}"))
            continue
        spec = own[name]
        if item.dtype != spec.dtype:
            faults.append(Fault((*path, "dtype"), f"is {item.dtype}, the model takes {spec.dtype}"))
        if spec.high is not None and item.high is not None and item.high > spec.high:
            faults.append(Fault((*path, "high"), f"is {item.high:g}, the model takes values below {spec.high:g}"))
        if len(item.shape) != len(spec.shape):
            faults.append(Fault((*path, "shape"), f"has {len(item.shape)} dimensions, the model {len(spec.shape)}"))
            continue
        for place, (dim, own_dim) in enumerate(zip(item.shape, spec.shape, strict=True)):
            if isinstance(dim, int) and isinstance(own_dim, int) and dim != own_dim:
                faults.append(Fault((*path, "shape", place), f"is {dim}, the model takes {own_dim}"))
    return faults
