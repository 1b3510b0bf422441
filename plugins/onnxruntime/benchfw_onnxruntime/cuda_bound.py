"""Inputs and outputs of ONNX Runtime in the memory of a device. Runs in workers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchfw.spec import Bound, IoSpec
from benchfw.spec.cuda import Buffer, all_of, synchronize
from benchfw_onnxruntime.backend import sizes_of


class CudaBound(Bound):
    """An I/O binding whose inputs and outputs lie on the device, each with a twin in page-locked memory.

    Outputs whose shapes do not follow from those of the inputs are allocated by ONNX Runtime in each launch; then
    there is no `copy_out`.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        io: IoSpec,
        inputs: Mapping[str, NDArray[Any]],
        stream: int,
        options: ort.RunOptions,
        device: int = 0,
    ) -> None:
        self._binding = session.io_binding()
        self._device = device
        self._names = [spec.name for spec in io.outputs]
        self._stream = stream
        self._buffers: dict[str, Buffer] = {}
        self._results: dict[str, Buffer] = {}
        try:
            self._place(io, inputs)
        except Exception:
            self.free()
            raise
        self.launch = partial(session.run_with_iobinding, self._binding, options)
        self.copy_in = all_of([buffer.copier_in(stream) for buffer in self._buffers.values()])
        self._fetch = all_of([buffer.copier_out(stream) for buffer in self._results.values()])
        self.copy_out = self._fetch if len(self._results) == len(self._names) else None
        self.copy_in()
        synchronize(stream)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        self._fetch()
        synchronize(self._stream)
        if len(self._results) == len(self._names):
            return {name: self._results[name].host for name in self._names}
        values = self._binding.copy_outputs_to_cpu()
        return dict(zip(self._names, values, strict=True))

    def free(self) -> None:
        """Give the memory back. Idempotent."""
        for buffer in (*self._buffers.values(), *self._results.values()):
            buffer.free()

    def _place(self, io: IoSpec, inputs: Mapping[str, NDArray[Any]]) -> None:
        for name, array in inputs.items():
            self._buffers[name] = buffer = Buffer(array.shape, array.dtype.name)
            buffer.host[...] = array
            self._binding.bind_input(name, "cuda", self._device, array.dtype.type, array.shape, buffer.address)
        sizes = sizes_of(io.inputs, inputs)
        for spec in io.outputs:
            if all(isinstance(dim, int) or dim in sizes for dim in spec.shape):
                shape, kind = spec.concrete(sizes), np.dtype(spec.dtype)
                self._results[spec.name] = buffer = Buffer(shape, kind.name)
                self._binding.bind_output(spec.name, "cuda", self._device, kind.type, shape, buffer.address)
            else:
                self._binding.bind_output(spec.name, "cuda", self._device)
