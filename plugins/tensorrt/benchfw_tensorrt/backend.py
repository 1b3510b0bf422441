"""The TensorRT-RTX backend. Imported in workers alone.

An engine holds no kernels of the GPU that runs it: TensorRT-RTX compiles them when a context is made and when it is
given a shape. No inference of it has ever been timed: that needs a GPU which TensorRT-RTX supports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchfw.errors import BackendError, MissingDependency, Unsupported
from benchfw.spec import Artifact
from benchfw_tensorrt.dynamic import DynamicBackend
from benchfw_tensorrt.engine import import_tensorrt, make_runtime
from benchfw_tensorrt.header import HEADER_BYTES, check_engine
from benchfw_tensorrt.native import here
from benchfw_tensorrt.runtime_cache import RuntimeCache

trt = import_tensorrt("tensorrt_rtx")

_NOT_HERE = (
    (re.compile(r"cudaError (35|100)\b"), "this needs an NVIDIA GPU and its driver"),
    (re.compile(r"cannot run on this GPU|unsupported cc"), "run it on a GPU that TensorRT-RTX supports"),
    (re.compile(r"old cuda driver"), "a newer driver"),
)
"""What TensorRT-RTX says where another machine could load the engine, and what that needs."""


class TrtRtx(DynamicBackend):
    """`trt-rtx`. Options: `benchfw_tensorrt.options.RtxOptions`."""

    name = "trt-rtx"
    provider = "TensorRT-RTX"
    trt = trt
    _state = ""
    _config: Any = None
    _cache: RuntimeCache | None = None

    def facts(self) -> Mapping[str, Any]:
        facts = super().facts()
        if not facts:
            return {}
        own = {
            "engine_validity": self._state,
            "specialization": self._config.dynamic_shapes_kernel_specialization_strategy.name,
            "runtime_cache": self._cache.state if self._cache else "off",
        }
        return {**facts, **own}

    def close(self) -> None:
        if self._cache is not None:
            self._cache.keep()
        super().close()
        self._cache = self._config = None

    def _load_engine(self, artifact: Artifact) -> Any:
        path = Path(artifact.path)
        check_engine(path, trt.__version__)
        runtime = make_runtime(trt, self._log)
        content = path.read_bytes()
        self._state, reasons = engine_validity(runtime, content[:HEADER_BYTES])
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise self._refusal(reasons)
        self._config = self._runtime_config(engine)
        return engine

    def _refusal(self, reasons: list[str]) -> BackendError:
        """Return why an engine is not loaded, in TensorRT-RTX's words; no failure where another machine could."""
        why = f" ({', '.join(reasons)})" if reasons else ""
        error = self._log.failure(f"{self.name} cannot load the engine{why}")
        for pattern, hint in _NOT_HERE:
            if pattern.search(error.message):
                return MissingDependency(error.message, hint=hint)
        return error

    def _runtime_config(self, engine: Any) -> Any:
        """Return how contexts are to be: benchfw gives the memory, and captures graphs itself."""
        config = engine.create_runtime_config()
        strategies = trt.DynamicShapesKernelSpecializationStrategy.__members__
        config.dynamic_shapes_kernel_specialization_strategy = strategies[self.options["specialization"].upper()]
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self.options["runtime_cache"]:
            self._cache = RuntimeCache(self.context.cache_dir / "tensorrt-rtx", here(trt), config)
        return config

    def _new_context(self) -> Any:
        return self._engine.create_execution_context(runtime_config=self._config)

    def _check_capture(self, context: Any) -> None:
        if not context.is_stream_capturable(self._stream):
            raise Unsupported(
                "TensorRT-RTX says that launches of this engine cannot be captured",
                hint="build it with the option user_allocation, unless the values of its inputs decide shapes",
            )


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
