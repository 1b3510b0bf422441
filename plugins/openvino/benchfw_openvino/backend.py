"""The OpenVINO backend. Imported in workers alone."""

from __future__ import annotations

import ctypes
import re
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from benchfw.errors import BackendError, BuildFailed, Invalid, OutOfMemory, Unsupported
from benchfw.spec import Artifact, Backend, Bound, IoSpec, Profile, TensorSpec
from benchfw.spec.backend import check_inputs
from benchfw.spec.layers import WARMUP, LayerProfile
from benchfw.spec.remedies import onnx_remedy
from benchfw_openvino.counters import layers

_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
"""What floats are computed in; an int8 graph says itself what is quantised."""
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_PRODUCTS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "f64": "float64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "boolean": "bool",
}
_ALLOCATION = re.compile(
    r"^Failed to allocate \d+ bytes of memory$|^(Caught exception: )?std::bad_alloc$|^can't alloc$"
)
"""What a line of an error says when memory has run out: the CPU plugin's memory blocks, C++, the code generator."""


class OpenVinoBound(Bound):
    """An infer request with input tensors of its own; outputs are read in place.

    OpenVINO's `infer()` keeps silent about an inference that failed (seen with 2026.4: a dynamic model whose
    intermediate tensors cannot be allocated): it returns at once and leaves the outputs as they were, empty or stale.
    The asynchronous call reports it. It takes another way through threads, so that it cannot be what is timed; instead
    outputs are vouched for by one more inference, which no block contains.
    """

    def __init__(
        self, compiled: ov.CompiledModel, io: IoSpec, inputs: Mapping[str, NDArray[Any]], failed: Callable[[], None]
    ) -> None:
        self._request = compiled.create_infer_request()
        self._failed = failed
        self._names = [spec.name for spec in io.outputs]
        for spec in io.inputs:
            tensor = ov.Tensor(np.array(inputs[spec.name]), shared_memory=False)
            self._request.set_tensor(spec.name, tensor)
        self.launch = partial(self._request.infer, share_inputs=True, share_outputs=True)

    def input(self, name: str) -> ov.Tensor:
        return self._request.get_tensor(name)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        try:
            self._request.start_async(share_inputs=True)
            self._request.wait()
        except Exception:
            self._failed()
            raise
        return {name: self._request.get_output_tensor(place).data for place, name in enumerate(self._names)}


class OpenVino(Backend):
    """`openvino`. Options: `benchfw_openvino.options.OpenVinoOptions`.

    The inference precision is pinned: left alone, OpenVINO computes in bf16 on CPUs with AMX.
    """

    _compiled: ov.CompiledModel | None = None
    _io: IoSpec | None = None
    _made_of: tuple[Artifact, Profile] | None = None
    _broken = False
    _last: Callable[[], OpenVinoBound | None] = staticmethod(lambda: None)

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        self._made_of = artifact, profile
        self._bounds: weakref.WeakSet[OpenVinoBound] = weakref.WeakSet()
        try:
            self._compiled = self._compile(artifact, profile)
        except RuntimeError as error:
            if meaning := self.explain(error):
                raise meaning from error
            raise BuildFailed(f"openvino: {_words(str(error))}", hint=onnx_remedy(artifact.path)) from error
        return artifact

    def _compile(self, artifact: Artifact, profile: Profile, **more: str) -> ov.CompiledModel:
        core = ov.Core()
        if self.context.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unsupported("this CPU has no bf16 arithmetic, that is neither AVX512-BF16 nor AMX")
        model = core.read_model(artifact.path)
        model.reshape(self._shapes(profile))
        self._inputs = [port.get_any_name() for port in model.inputs]
        self._outputs = [port.get_any_name() for port in model.outputs]
        return core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[self.context.precision],
                "INFERENCE_NUM_THREADS": int(self.options["threads"] or self.context.threads),
                "PERFORMANCE_HINT": self.options["performance_hint"],
                "NUM_STREAMS": int(self.options["streams"]),
                **more,
            },
        )

    def load(self, artifact: Artifact) -> IoSpec:
        if self._compiled is None:
            raise Invalid("load before prepare")
        self._io = IoSpec(  # by the names of before: compiling gives tensors that become one each other's names too
            inputs=tuple(map(_spec, self._compiled.inputs, self._inputs)),
            outputs=tuple(map(_spec, self._compiled.outputs, self._outputs)),
        )
        return self._io

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        if self._compiled is None or self._io is None:
            raise Invalid("bind before load")
        check_inputs(self._io, inputs)
        if self._broken and self._made_of is not None:
            self.prepare(*self._made_of)
            self._broken = False
        bound = OpenVinoBound(self._compiled, self._io, inputs, self._abandon)
        self._bounds.add(bound)
        self._last = weakref.ref(bound)  # which knows this object: no cycle
        return bound

    def profile(self, n: int) -> LayerProfile:
        """Compile once more with counters turned on, and read them after every inference."""
        bound = self._last()
        if bound is None or self._made_of is None or self._io is None:
            raise Invalid("profile before bind")
        compiled = self._compile(*self._made_of, PERF_COUNT="YES")
        request = compiled.create_infer_request()
        for spec in self._io.inputs:
            request.set_tensor(spec.name, bound.input(spec.name))
        infer = partial(request.infer, share_inputs=True, share_outputs=True)
        for _ in range(WARMUP):
            infer()
        inference_ns, counters = [], []
        for _ in range(n):
            start = time.monotonic_ns()
            infer()
            inference_ns.append(time.monotonic_ns() - start)
            counters.append(request.profiling_info)
        return LayerProfile(layers=layers(compiled, counters), inference_ns=inference_ns)

    def facts(self) -> Mapping[str, Any]:
        if self._compiled is None:
            return {}
        products = self._products()
        return {
            "provider_effective": "CPU",
            "precision_effective": self._effective(products),
            "threads_effective": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "streams": int(self._compiled.get_property("NUM_STREAMS")),
            "products": dict(products),
        }

    def explain(self, error: Exception) -> BackendError | None:
        if not isinstance(error, RuntimeError):
            return None
        lines = (line.strip() for line in str(error).splitlines())
        words = next((line for line in lines if _ALLOCATION.search(line)), None)
        return OutOfMemory(f"openvino: {words}") if words else None

    def close(self) -> None:
        self._compiled = None

    def _products(self) -> Counter[str]:
        """Count the convolutions and matrix products of the compiled graph by the precision that they compute in."""
        assert self._compiled is not None
        counts: Counter[str] = Counter()
        for node in self._compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if "layerType" in info and info["layerType"].astype(str) in _PRODUCTS:
                precision = str(info["runtimePrecision"].astype(str))
                counts[_NAMES.get(precision, precision)] += 1
        return counts

    def _effective(self, products: Counter[str]) -> str:
        """Return int8 if anything is computed in it, else what most products are; without any, what was agreed."""
        assert self._compiled is not None
        if "int8" in products:
            return "int8"
        if products:
            return products.most_common(1)[0][0]
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return _NAMES.get(hint, hint)

    def _abandon(self) -> None:
        """Keep a model that has failed, and all that belongs to it, for ever; the next `bind` compiles it anew.

        All later inferences of its graph fail as well, whatever their size, and to destroy it ends the process
        ("pure virtual method called", SIGSEGV). One more reference than there is keeps it past the interpreter's end.
        """
        if not self._broken:
            for kept in (self._compiled, *self._bounds):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
        self._broken = True

    def _shapes(self, profile: Profile) -> dict[str, ov.PartialShape]:
        """Return the shape of each input, with the profile's range where an axis has one."""
        shapes = {}
        for spec in self.context.inputs:
            dims = []
            for dim in spec.shape:
                axis = profile.axes.get(str(dim)) if isinstance(dim, str) else None
                dims.append(ov.Dimension(axis.min, axis.max) if axis else ov.Dimension(dim))
            shapes[spec.name] = ov.PartialShape(dims)
        return shapes


def _spec(port: Any, name: str) -> TensorSpec:
    kind = port.get_element_type().get_type_name()
    if kind not in _DTYPES:
        raise BuildFailed(f"{name!r} is of type {kind}, which benchfw does not know")
    shape = tuple(
        int(dim.get_length()) if dim.is_static else f"{name}_{place}"
        for place, dim in enumerate(port.get_partial_shape())
    )
    return TensorSpec(name=name, dtype=_DTYPES[kind], shape=shape)


def _words(text: str) -> str:
    """Return the line of an error that says what is wrong: an operator that is unknown makes later ones fail too."""
    lines = [line for line in text.splitlines() if line.strip()]
    unknown = next((line for line in lines if "No conversion rule found" in line), None)
    if unknown is not None:
        return unknown.removeprefix("-- ")
    return lines[(lines.index("Summary:") if "Summary:" in lines else len(lines)) - 1]
