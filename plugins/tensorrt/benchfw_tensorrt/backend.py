"""The TensorRT-RTX backend. Imported in workers alone.

It loads an engine where there is a driver, and does not run it yet. Nothing past the first line of `load` has ever been
run on a GPU that TensorRT-RTX supports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_rtx as trt
from numpy.typing import NDArray

from benchfw.errors import BuildFailed, Invalid, MissingDependency, Unsupported
from benchfw.spec import Artifact, Backend, Bound, IoSpec, TensorSpec
from benchfw_tensorrt.header import HEADER_BYTES, check_engine
from benchfw_tensorrt.log import BuildLog, listen

_NO_DRIVER = re.compile(r"cudaError (35|100)\b")
"""CUDA's errors for a driver that is too old or missing, and for no device."""


class TrtRtx(Backend):
    """`trt-rtx`."""

    _runtime: Any = None
    _engine: Any = None
    _precision = ""

    def load(self, artifact: Artifact) -> IoSpec:
        path = Path(artifact.path)
        check_engine(path, trt.__version__)
        log = BuildLog()
        self._runtime = trt.Runtime(listen(trt, log))
        content = path.read_bytes()
        state, reasons = engine_validity(self._runtime, content[:HEADER_BYTES])
        if state == "invalid":
            raise BuildFailed(f"trt-rtx cannot run this engine here: {', '.join(reasons)}")
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            error = log.failure("trt-rtx cannot load the engine")
            if _NO_DRIVER.search(error.message):
                raise MissingDependency(error.message, hint=error.hint)
            raise error
        self._precision = artifact.precision
        return IoSpec(
            inputs=self._specs(trt.TensorIOMode.INPUT),
            outputs=self._specs(trt.TensorIOMode.OUTPUT),
        )

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        if self._engine is None:
            raise Invalid("bind before load")
        raise Unsupported("trt-rtx builds and loads engines; this version of the plugin does not run them")

    def facts(self) -> Mapping[str, Any]:
        if self._engine is None:
            return {}
        return {
            "provider_effective": "TensorRT-RTX",
            "precision_effective": self._precision,
            "threads_effective": 1,
            "layers": int(self._engine.num_layers),
        }

    def close(self) -> None:
        self._engine = None  # before the runtime that it belongs to
        self._runtime = None

    def _specs(self, mode: Any) -> tuple[TensorSpec, ...]:
        axes = {spec.name: spec.shape for spec in self.context.inputs}
        specs = []
        for place in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(place)
            if self._engine.get_tensor_mode(name) != mode:
                continue
            dims = tuple(self._engine.get_tensor_shape(name))
            names = axes.get(name, tuple(f"{name}_{axis}" for axis in range(len(dims))))
            shape = tuple(dim if dim >= 0 else str(names[axis]) for axis, dim in enumerate(dims))
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))).name
            specs.append(TensorSpec(name=name, dtype=dtype, shape=shape))
        return tuple(specs)


def engine_validity(runtime: Any, header: bytes) -> tuple[str, list[str]]:
    """Return `valid`, `suboptimal`, `invalid` or `undecided`, and TensorRT-RTX's reasons by name.

    `undecided`: it calls an engine invalid and gives no reason, as it does where there is no driver.
    """
    validity, mask = runtime.get_engine_validity(header)
    reasons = [
        name.lower().replace("_", " ")
        for name, bit in trt.EngineInvalidityDiagnostics.__members__.items()
        if int(mask) & int(bit)
    ]
    state = validity.name.lower()
    return ("undecided" if state == "invalid" and not reasons else state), reasons
