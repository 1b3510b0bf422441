"""Inputs and outputs of an engine, as benchfw speaks of them. TensorRT's objects are given as arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchfw.errors import Invalid, Unsupported
from benchfw.spec import TensorSpec
from benchfw_tensorrt.profiles import DYNAMIC, Shapes

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
"""numpy's names of TensorRT's types."""


@dataclass(frozen=True, kw_only=True)
class EngineTensor:
    """An input or output of an engine.

    Attributes:
        name: In the model.
        is_input: Or else an output.
        dtype: By its numpy name.
        dims: Sizes, -1 for a dynamic axis.
        axes: Names of the axes, for people.
        ranges: Smallest, optimal and largest shape, for each profile; of inputs.
    """

    name: str
    is_input: bool
    dtype: str
    dims: tuple[int, ...]
    axes: tuple[str, ...]
    ranges: tuple[Shapes, ...] = ()

    @property
    def dynamic(self) -> bool:
        return DYNAMIC in self.dims

    @property
    def fixed(self) -> bool:
        """Whether it has one shape: no dynamic axis, or none that may vary in any profile."""
        return not self.dynamic or all(low == high for low, _, high in self.ranges)

    @property
    def spec(self) -> TensorSpec:
        shape = tuple(self.axes[place] if dim == DYNAMIC else dim for place, dim in enumerate(self.dims))
        return TensorSpec(name=self.name, dtype=self.dtype, shape=shape)

    def describe(self, place: int) -> str:
        """Return an axis for people: `axis 0 (batch)`."""
        return f"axis {place} ({self.axes[place]})" if self.dims[place] == DYNAMIC else f"axis {place}"


def dtype_of(tensor: Any) -> str:
    """Return the numpy name of the type of a network's tensor.

    Raises:
        Unsupported: numpy has no such type.
    """
    return _dtype(tensor.name, tensor.dtype)


def engine_tensors(trt: Any, engine: Any, declared: Sequence[TensorSpec]) -> list[EngineTensor]:
    """Return the inputs and outputs of an engine; its axes are called as those of the inputs that are declared.

    Raises:
        Unsupported: One has a type or a memory layout that benchfw cannot fill.
    """
    known = {spec.name: spec.shape for spec in declared}
    found = []
    for place in range(engine.num_io_tensors):
        name = engine.get_tensor_name(place)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        dims = tuple(engine.get_tensor_shape(name))
        layout = engine.get_tensor_format(name)
        if layout != trt.TensorFormat.LINEAR:
            raise Unsupported(f"{name!r} has the layout {layout.name}; benchfw fills and reads rows alone (`chw`)")
        names = known.get(name, ())
        axes = tuple(str(names[i]) if len(names) == len(dims) else f"{name}_{i}" for i in range(len(dims)))
        ranges: tuple[Shapes, ...] = ()
        if is_input and DYNAMIC in dims:
            ranges = tuple(_range(engine, name, profile) for profile in range(engine.num_optimization_profiles))
        dtype = _dtype(name, engine.get_tensor_dtype(name))
        found.append(EngineTensor(name=name, is_input=is_input, dtype=dtype, dims=dims, axes=axes, ranges=ranges))
    return found


def choose_profile(inputs: Sequence[EngineTensor], shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the profile that serves shapes; of several the one whose optimum is nearest.

    Raises:
        Invalid: None does; the message names input, axis, size and range.
    """
    dynamic = [tensor for tensor in inputs if tensor.dynamic]
    if not dynamic:
        return 0
    profiles = range(len(dynamic[0].ranges))
    faults = {profile: _outside(dynamic, shapes, profile) for profile in profiles}
    fitting = [profile for profile in profiles if not faults[profile]]
    if not fitting:
        texts = list(dict.fromkeys(faults.values()))
        raise Invalid(
            f"outside of the engine's {'profile' if len(profiles) == 1 else 'profiles'}: {'; '.join(texts)}",
            hint="give the axis a range in [shapes] that holds this size, and the engine is built for it",
        )
    return min(fitting, key=lambda profile: sum(_distance(tensor, shapes, profile) for tensor in dynamic))


def _outside(inputs: Sequence[EngineTensor], shapes: Mapping[str, Sequence[int]], profile: int) -> str:
    """Say which size lies outside of a profile; empty if none does."""
    for tensor in inputs:
        low, _, high = tensor.ranges[profile]
        for place, size in enumerate(shapes[tensor.name]):
            if not low[place] <= size <= high[place]:
                limits = f"it takes {low[place]} to {high[place]}"
                return f"{tensor.describe(place)} of input {tensor.name!r} is {size}, {limits}"
    return ""


def _distance(tensor: EngineTensor, shapes: Mapping[str, Sequence[int]], profile: int) -> float:
    best = tensor.ranges[profile][1]
    return sum(abs(math.log(size / want)) for size, want in zip(shapes[tensor.name], best) if size and want)


def _range(engine: Any, name: str, profile: int) -> Shapes:
    low, best, high = (tuple(dims) for dims in engine.get_tensor_profile_shape(name, profile))
    return low, best, high


def _dtype(name: str, dtype: Any) -> str:
    if dtype.name not in DTYPES:
        raise Unsupported(
            f"{name!r} is {dtype.name}, which numpy does not have", hint="keep inputs and outputs in fp32"
        )
    return DTYPES[dtype.name]
