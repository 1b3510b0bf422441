"""The backends of TensorRT. Imported in workers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchfw.errors import Unsupported
from benchfw.spec import Artifact, IoSpec
from benchfw_tensorrt.base import EngineBackend
from benchfw_tensorrt.dynamic import DynamicBackend, launcher
from benchfw_tensorrt.engine import import_tensorrt
from benchfw_tensorrt.native import here, load_engine
from benchfw_tensorrt.origin import check_origin
from benchfw_tensorrt.slots import TrtBound

trt = import_tensorrt("tensorrt")


class _Native(EngineBackend):
    """Engines of TensorRT 8.6, 10 and 11. Options: `benchfw_tensorrt.options.TrtOptions`."""

    trt = trt

    def _load_engine(self, artifact: Artifact) -> Any:
        check_origin(artifact.meta, here(trt))
        portable = "VERSION_COMPATIBLE" in artifact.meta.get("flags", ())
        return load_engine(trt, Path(artifact.path), self._log, portable=portable)

    def _new_context(self) -> Any:
        strategies = getattr(trt, "ExecutionContextAllocationStrategy", None)  # since TensorRT 10
        if strategies is None:
            return self._engine.create_execution_context_without_device_memory()
        return self._engine.create_execution_context(strategies.USER_MANAGED)


class TrtStatic(_Native):
    """`trt-static`: a context for each slot, whose shapes and addresses are set once."""

    name = "trt-static"

    def load(self, artifact: Artifact) -> IoSpec:
        io = super().load(artifact)
        dynamic = [tensor.name for tensor in self._inputs if not tensor.fixed]
        if dynamic:
            raise Unsupported(
                f"the engine takes several shapes of {', '.join(map(repr, dynamic))}, and trt-static one",
                hint="trt-dynamic runs it; a sweep of kind 'fixed' builds an engine for one shape",
            )
        return io

    def _prepare(self, bound: TrtBound) -> Callable[[], object]:
        context = self._make_context()
        self._set_shapes(context, bound)
        self._add_outputs(context, bound)
        self._set_addresses(context, bound)
        return launcher(context, self._stream, self._launched)


class TrtDynamic(_Native, DynamicBackend):
    """`trt-dynamic`: one context for all slots."""

    name = "trt-dynamic"
