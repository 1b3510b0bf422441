"""Slots of the backends: an inference with buffers of its own. Imported in workers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import Invalid
from benchfw.spec import Bound, TensorSpec, cuda
from benchfw.spec.cuda import Buffer
from benchfw_tensorrt.tensors import EngineTensor

_CASTS = (("int64", "int32"), ("float32", "float16"))
"""Types of a model and of its engine between which `bind` casts; they stand in the facts."""


class TrtBound(Bound):
    """One slot: buffers of its own for all inputs and outputs.

    Attributes:
        profile: The engine's profile that serves its shapes.
        shapes: Of the inputs that have a dynamic axis.
        buffers: By the names of inputs and outputs.
    """

    launch: Callable[[], object]

    def __init__(self, profile: int, shapes: Mapping[str, tuple[int, ...]], stream: int) -> None:
        self.profile = profile
        self.shapes = dict(shapes)
        self.buffers: dict[str, Buffer] = {}
        self._stream = stream
        self._outputs: list[str] = []

    def add(self, tensor: EngineTensor, shape: tuple[int, ...]) -> Buffer:
        """Allocate an input or output."""
        buffer = self.buffers[tensor.name] = Buffer(shape, tensor.dtype)
        if not tensor.is_input:
            self._outputs.append(tensor.name)
        return buffer

    def complete(self) -> None:
        """Prepare the copies, once all is allocated, and copy the inputs."""
        inputs = [buffer for name, buffer in self.buffers.items() if name not in self._outputs]
        self.copy_in = cuda.all_of([buffer.copier_in(self._stream) for buffer in inputs])
        self.copy_out = cuda.all_of([self.buffers[name].copier_out(self._stream) for name in self._outputs])
        self.copy_in()
        cuda.synchronize(self._stream)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        assert self.copy_out is not None
        self.copy_out()
        cuda.synchronize(self._stream)
        return {name: self.buffers[name].host for name in self._outputs}

    def free(self) -> None:
        """Give all back, the context that only its launch holds included. Idempotent."""
        self.launch = _freed
        for buffer in self.buffers.values():
            buffer.free()


def declared_as(spec: TensorSpec, declared: tuple[TensorSpec, ...]) -> TensorSpec:
    """Return an input in the type of the model where the engine takes a narrower one: TensorRT 8.6 has no int64."""
    wanted = next((item.dtype for item in declared if item.name == spec.name), spec.dtype)
    return TensorSpec(name=spec.name, dtype=wanted if (wanted, spec.dtype) in _CASTS else spec.dtype, shape=spec.shape)


def fitting(tensor: EngineTensor, array: NDArray[Any]) -> NDArray[Any]:
    """Return an input in the engine's type.

    Raises:
        Invalid: A value does not fit.
    """
    kind = np.dtype(tensor.dtype)
    if array.dtype != kind and array.size:
        limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
        if array.min() < limits.min or array.max() > limits.max:
            raise Invalid(f"input {tensor.name!r} has values that do not fit into {kind}, which the engine takes")
    return array.astype(kind, copy=False)


def _freed() -> None:
    raise Invalid("a launch of a slot that was bound anew or closed")
