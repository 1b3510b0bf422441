"""What runs engines, whichever TensorRT they are for. Imported in workers alone."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from numpy.typing import NDArray

from benchfw.errors import BackendError, Invalid, Unsupported
from benchfw.spec import Artifact, Backend, Bound, IoSpec, cuda
from benchfw.spec.backend import check_inputs
from benchfw.spec.cuda import Scratch
from benchfw.spec.layers import WARMUP, LayerProfile
from benchfw_tensorrt.inspector import Layer, effective_precision, inspect
from benchfw_tensorrt.log import BuildLog, heard, listen
from benchfw_tensorrt.settings import size_in_bytes
from benchfw_tensorrt.slots import TrtBound, declared_as, fitting
from benchfw_tensorrt.tensors import EngineTensor, choose_profile, engine_tensors
from benchfw_tensorrt.timeline import Timeline, layer_times


class EngineBackend(Backend):
    """What the backends of TensorRT and TensorRT-RTX share: engines on a stream of their own.

    Contexts bring no memory for their layers: they share one piece, since nothing of two launches overlaps on one
    stream.

    Attributes:
        name: What messages call it.
        provider: What results call it.
        trt: The TensorRT that runs engines.
    """

    name = ""
    provider = "TensorRT"
    trt: ClassVar[Any]

    def __init__(self, options: Mapping[str, Any], context: Any) -> None:
        super().__init__(options, context)
        self._log = BuildLog(options["log"])
        self._engine: Any = None
        self._scratch: Scratch | None = None
        self._stream = 0
        self._tensors: list[EngineTensor] = []
        self._io = IoSpec(inputs=(), outputs=())
        self._artifact: Artifact | None = None
        self._layers: list[Layer] = []
        self._slots: dict[int, TrtBound] = {}
        self._last: TrtBound | None = None

    @property
    def stream(self) -> int | None:
        return self._stream or None

    def load(self, artifact: Artifact) -> IoSpec:
        self._engine = self._load_engine(artifact)
        self._stream = cuda.make_stream()
        self._stream_weights()
        self._tensors = engine_tensors(self.trt, self._engine, self.context.inputs)
        self._scratch = Scratch(scratch_size(self._engine))
        self._artifact = artifact
        self._layers = inspect(self.trt, self._engine)
        self._io = IoSpec(
            inputs=tuple(declared_as(tensor.spec, self.context.inputs) for tensor in self._inputs),
            outputs=tuple(tensor.spec for tensor in self._tensors if not tensor.is_input),
        )
        return self._io

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        if self._engine is None:
            raise Invalid("bind before load")
        check_inputs(self._io, inputs)
        listen(self.trt, self._log)  # a worker holds several engines, and TensorRT tells one log
        profile = choose_profile(self._inputs, {name: array.shape for name, array in inputs.items()})
        cuda.synchronize(self._stream)
        old = self._slots.pop(slot, None)
        if old is not None:
            self._leave(old)
            old.free()
        shapes = {tensor.name: inputs[tensor.name].shape for tensor in self._inputs if tensor.dynamic}
        bound = self._slots[slot] = TrtBound(profile, shapes, self._stream)
        for tensor in self._inputs:
            array = inputs[tensor.name]
            bound.add(tensor, array.shape).host[...] = fitting(tensor, array)
        bound.launch = self._prepare(bound)
        bound.complete()
        self._last = bound
        return bound

    def facts(self) -> Mapping[str, Any]:
        if self._engine is None or self._artifact is None:
            return {}
        meta = self._artifact.meta
        typed, asked = bool(meta.get("strongly_typed")), self._artifact.precision
        counts: dict[str, int] = {}
        for layer in self._layers:
            counts[layer.precision or "other"] = counts.get(layer.precision or "other", 0) + 1
        return {
            "provider_effective": self.provider,
            "precision_effective": asked if typed else effective_precision(self._layers, asked),
            "io_dtype": "+".join(sorted({tensor.dtype for tensor in self._inputs})),
            "threads_effective": 1,
            "nodes": {self.provider: int(self._engine.num_layers)},
            "layer_precisions": counts,
            "backend_version": str(self.trt.__version__),
            "engine_sha256": self._artifact.sha256,
            "build_id": meta.get("build_id"),
            "timing_cache_sha256": meta.get("timing_cache_sha256"),
            "profiles": int(self._engine.num_optimization_profiles),
            "aux_streams": int(getattr(self._engine, "num_aux_streams", 0)),
            "scratch_bytes": scratch_size(self._engine),
            "cast_inputs": self._casts(),
            "runtime_warnings": self._log.warnings,
        }

    def profile(self, n: int) -> LayerProfile:
        """Run a context of its own that tells of each layer, which slows it down."""
        if self._last is None:
            raise Invalid("profile before bind")
        context = self._make_context()
        self._set(context, self._last)
        timeline = Timeline(self.trt)
        context.profiler = timeline.profiler
        times = []
        for number in range(WARMUP + n):
            if number == WARMUP:
                timeline.clear()
            begun = time.perf_counter_ns()
            self._launched(context.execute_async_v3(self._stream))
            cuda.synchronize(self._stream)
            times.append(time.perf_counter_ns() - begun)
        return LayerProfile(layers=tuple(layer_times(timeline.rounds(n), self._layers)), inference_ns=times[WARMUP:])

    def close(self) -> None:
        with suppress(BackendError):
            if self._stream:
                cuda.synchronize(self._stream)
        for bound in self._slots.values():
            self._leave(bound)
            bound.free()
        self._slots.clear()
        self._last = None
        self._drop()
        self._engine = None  # after its contexts
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            scratch.free()
        stream, self._stream = self._stream, 0
        if stream:
            cuda.destroy_stream(stream)

    @property
    def _inputs(self) -> list[EngineTensor]:
        return [tensor for tensor in self._tensors if tensor.is_input]

    @abstractmethod
    def _prepare(self, bound: TrtBound) -> Callable[[], object]:
        """Allocate the outputs of a slot and return what launches it."""

    def _leave(self, bound: TrtBound) -> None:
        """Forget a slot that is about to be freed."""

    def _drop(self) -> None:
        """Drop all contexts."""

    @abstractmethod
    def _load_engine(self, artifact: Artifact) -> Any:
        """Return an engine, once it is known to belong here.

        Raises:
            BuildFailed: It does not, or TensorRT cannot load it.
            OutOfMemory: The device has no room for its weights.
        """

    @abstractmethod
    def _new_context(self) -> Any:
        """Return a context without memory for its layers; None if TensorRT makes none."""

    def _make_context(self) -> Any:
        """Return a context that computes in the memory which all of them share."""
        context = self._new_context()
        if context is None:
            raise heard(self.trt).failure(f"{self.name} makes no context", BackendError)
        assert self._scratch is not None
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.address, scratch_size(self._engine))
        else:
            context.device_memory = self._scratch.address
        return context

    def _set(self, context: Any, bound: TrtBound) -> None:
        """Give a context the profile, shapes and addresses of a slot."""
        self._set_shapes(context, bound)
        self._set_addresses(context, bound)

    def _set_addresses(self, context: Any, bound: TrtBound) -> None:
        for name, buffer in bound.buffers.items():
            self._agreed(context.set_tensor_address(name, buffer.address), f"the address of {name!r}")

    def _set_shapes(self, context: Any, bound: TrtBound) -> None:
        if context.active_optimization_profile != bound.profile:
            self._agreed(context.set_optimization_profile_async(bound.profile, self._stream), "the profile")
        for name, shape in bound.shapes.items():
            self._agreed(context.set_input_shape(name, shape), f"{list(shape)} for {name!r}")

    def _add_outputs(self, context: Any, bound: TrtBound) -> None:
        """Allocate outputs in the shapes that follow from those of the inputs, which the context knows.

        Raises:
            Unsupported: They follow from values.
        """
        for tensor in self._tensors:
            if not tensor.is_input:
                shape = tuple(context.get_tensor_shape(tensor.name))
                if min(shape, default=0) < 0:
                    raise Unsupported(f"the values of inputs decide the shape {list(shape)} of output {tensor.name!r}")
                bound.add(tensor, shape)

    def _agreed(self, done: Any, what: str) -> None:
        if not done:
            raise heard(self.trt).failure(f"{self.name}: TensorRT does not take {what}", BackendError)

    def _launched(self, done: bool) -> None:
        if not done:
            raise heard(self.trt).failure(f"{self.name}: TensorRT does not launch", BackendError)

    def _stream_weights(self) -> None:
        budget = self.options["weight_streaming_budget"]
        if budget is None:
            return
        if not getattr(self._engine, "streamable_weights_size", 0):
            raise Unsupported(
                "weight_streaming_budget: the engine does not stream weights",
                hint="build it with the option weight_streaming, which TensorRT has since version 10",
            )
        self._engine.weight_streaming_budget_v2 = size_in_bytes(budget)

    def _casts(self) -> dict[str, str]:
        pairs = zip(self._inputs, self._io.inputs)
        return {t.name: f"{spec.dtype} -> {t.dtype}" for t, spec in pairs if spec.dtype != t.dtype}


def scratch_size(engine: Any) -> int:
    """Return the bytes that a context needs besides inputs and outputs."""
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)
