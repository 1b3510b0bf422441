"""ONNX Runtime backends. Imported in workers alone."""

from __future__ import annotations

import json
import re
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from benchfw.errors import BackendError, BuildFailed, FellBack, Invalid, OutOfMemory
from benchfw.spec import Artifact, Backend, Bound, IoSpec, TensorSpec
from benchfw.spec.backend import check_inputs
from benchfw.spec.layers import WARMUP, LayerProfile
from benchfw.spec.remedies import onnx_remedy
from benchfw_onnxruntime.placement import VERBOSE, assigned, logged
from benchfw_onnxruntime.trace import layers

LIBRARIES = "`benchfw doctor` names the libraries that are missing or do not fit"
_LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
_INTEGER = (b"QLinearConv", b"QLinearMatMul", b"QGemm", b"ConvInteger", b"MatMulInteger", b"MatMulIntegerToFloat")
"""Operators that compute products with integers."""
_FAILURES = (RuntimeError, states.Fail, states.RuntimeException, states.EPFail)
"""What an allocation that failed is raised as: RuntimeError by I/O bindings, the others by the status of a session."""
_ALLOCATION = re.compile(
    r"Failed to allocate memory for requested buffer of size \d+"
    r"|Failed to find a free memory block despite calling Extend"
    r"|Available memory of \d+ is smaller than requested bytes of \d+"  # an arena with a limit
    r"|\bstd::bad_alloc$"
    r"|CUDA failure 2: out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
)
"""What ONNX Runtime says when memory has run out. A missing allocator ("Failed to get allocator") is another matter."""


_NEWER_FORMAT = re.compile(r"max supported IR version: (\d+)")


def _lower(version: str) -> str:
    return (
        f"save it in the older format: m = onnx.load(FILE); m.ir_version = {version}; onnx.save(m, FILE), "
        "which is right if this onnxruntime knows its opset; or take a later onnxruntime"
    )


class OrtBound(Bound):
    """An I/O binding: inputs in OrtValues, outputs preallocated where their shapes follow from the inputs'."""

    def __init__(self, session: ort.InferenceSession, io: IoSpec, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._binding = session.io_binding()
        self._names = [spec.name for spec in io.outputs]
        self._inputs = frozenset(inputs)
        self._values = {name: ort.OrtValue.ortvalue_from_numpy(np.array(array)) for name, array in inputs.items()}
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        sizes = sizes_of(io.inputs, inputs)
        for spec in io.outputs:
            if all(isinstance(dim, int) or dim in sizes for dim in spec.shape):
                array = np.empty(spec.concrete(sizes), np.dtype(spec.dtype))
                self._values[f"output {spec.name}"] = value = ort.OrtValue.ortvalue_from_numpy(array)
                self._binding.bind_ortvalue_output(spec.name, value)
            else:
                self._binding.bind_output(spec.name)
        self.launch = partial(session.run_with_iobinding, self._binding)

    @property
    def inputs(self) -> Mapping[str, ort.OrtValue]:
        return {name: value for name, value in self._values.items() if name in self._inputs}

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return dict(zip(self._names, (value.numpy() for value in self._binding.get_outputs()), strict=True))


class OrtBackend(Backend):
    """What the backends of ONNX Runtime have in common: a session that asks for one provider, and gets it.

    Attributes:
        provider: What is asked for.
        stand_ins: What will do instead, where another provider may be in effect: it takes the same bindings.
    """

    provider: str
    stand_ins: tuple[str, ...] = ()
    _session: ort.InferenceSession | None = None
    _loaded: Artifact | None = None
    _io: IoSpec | None = None
    _placement: Mapping[str, Any] | None = None

    def load(self, artifact: Artifact) -> IoSpec:
        self._placement = None
        try:
            self._session = self._make_session(artifact, self._session_options())
        except (MemoryError, BackendError):
            raise
        except Exception as error:  # ONNX Runtime raises a class of its own per status code
            if meaning := self.explain(error):
                raise meaning from error
            newer = _NEWER_FORMAT.search(str(error))
            hint = _lower(newer[1]) if newer else onnx_remedy(artifact.path)
            raise BuildFailed(f"onnxruntime: {type(error).__name__}: {str(error).strip()}", hint=hint) from error
        self._loaded = artifact
        providers = self._session.get_providers()
        if providers[0] != self.provider and not (self.context.allow_fallback and providers[0] in self.stand_ins):
            raise FellBack(f"asked for {self.provider}, got {providers}", hint=LIBRARIES)
        self._io = IoSpec(
            inputs=tuple(map(_spec, self._session.get_inputs())), outputs=tuple(map(_spec, self._session.get_outputs()))
        )
        return self._io

    def facts(self) -> Mapping[str, Any]:
        if self._session is None or self._loaded is None or self._io is None:
            return {}
        if self._placement is None:
            self._placement = self._placed(self._session, self._loaded)
        return {
            "provider_effective": self._session.get_providers()[0],
            "precision_effective": self._precision,
            "io_dtype": "+".join(sorted({spec.dtype for spec in self._io.inputs})),
            "threads_effective": self._session.get_session_options().intra_op_num_threads,
            **self._placement,
        }

    def explain(self, error: Exception) -> BackendError | None:
        if not isinstance(error, _FAILURES):
            return None
        lines = (line.strip() for line in str(error).splitlines())
        words = next((line for line in lines if _ALLOCATION.search(line)), None)
        return OutOfMemory(f"onnxruntime: {words}") if words else None

    def close(self) -> None:
        self._session = None

    @property
    @abstractmethod
    def _precision(self) -> str:
        """What the loaded artifact is computed in."""

    @abstractmethod
    def _make_session(self, artifact: Artifact, options: ort.SessionOptions) -> ort.InferenceSession:
        """Load an artifact."""

    def _placed(self, session: ort.InferenceSession, artifact: Artifact) -> Mapping[str, Any]:
        """Return the facts `nodes`, and `nodes_unknown` where they are not known.

        Where a session cannot tell and has a choice, another one is made and thrown away: after the load and the look
        at the device's memory, so that neither has it in it. What looks later has it.
        """
        nodes = assigned(session)
        if nodes or len(session.get_providers()) == 1:
            return {"nodes": nodes or {}}
        options = self._session_options()
        options.log_severity_level = VERBOSE
        try:
            return {"nodes": logged(lambda: self._make_session(artifact, options))}
        except Exception as error:  # ONNX Runtime raises a class of its own per status code
            text = " ".join(str(error).split())
            return {"nodes": {}, "nodes_unknown": text or type(error).__name__}

    def _session_options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(self.options["threads"] or self.context.threads)
        options.graph_optimization_level = _LEVELS[self.options["optimization"]]
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return options


class OrtCpu(OrtBackend):
    """`ort-cpu`. Options: `benchfw_onnxruntime.options.CpuOptions`."""

    provider = "CPUExecutionProvider"
    _last: OrtBound | None = None
    _integer_nodes = 0

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        if self._session is None or self._io is None:
            raise Invalid("bind before load")
        check_inputs(self._io, inputs)
        self._last = OrtBound(self._session, self._io, inputs)
        return self._last

    def profile(self, n: int) -> LayerProfile:
        """Run another session, with its trace turned on."""
        if self._loaded is None or self._last is None:
            raise Invalid("profile before bind")
        with tempfile.TemporaryDirectory() as folder:
            options = self._session_options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "trace")
            session = ort.InferenceSession(self._loaded.path, sess_options=options, providers=[self.provider])
            feeds = self._last.inputs
            for _ in range(WARMUP + n):
                session.run_with_ort_values(None, feeds)
            return layers(json.loads(Path(session.end_profiling()).read_bytes()), n, self._precision)

    def facts(self) -> Mapping[str, Any]:
        facts = super().facts()
        return {**facts, "integer_nodes": self._integer_nodes} if facts and self._integer_nodes else facts

    def close(self) -> None:
        super().close()
        self._last = None

    @property
    def _precision(self) -> str:
        return "int8" if self._integer_nodes else "fp32"  # what else comes in is cast to fp32

    def _make_session(self, artifact: Artifact, options: ort.SessionOptions) -> ort.InferenceSession:
        if artifact.precision != "int8":
            return ort.InferenceSession(artifact.path, sess_options=options, providers=[self.provider])
        session, self._integer_nodes = _integer_session(artifact.path, options, self.provider)
        return session

    def _session_options(self) -> ort.SessionOptions:
        options = super()._session_options()
        options.inter_op_num_threads = int(self.options["inter_op_threads"])
        if options.inter_op_num_threads > 1:
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self.options["spinning"])))
        options.add_session_config_entry("session.set_denormal_as_zero", str(int(self.options["denormal_as_zero"])))
        return options


def _integer_session(path: str, options: ort.SessionOptions, provider: str) -> tuple[ort.InferenceSession, int]:
    """Return a session, and how many nodes of its graph compute with integers.

    QuantizeLinear and DequantizeLinear nodes say what may be computed with integers; what is, is known once the graph
    is optimised. ONNX Runtime tells it by writing that graph, without the weights. Nothing that reads protobuf need be
    installed here: operators are found by the bytes that stand in front of their names, field 4 of a node and length.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(file)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        session = ort.InferenceSession(path, sess_options=options, providers=[provider])
        content = file.read_bytes()
    return session, sum(content.count(bytes([0x22, len(name)]) + name) for name in _INTEGER)


def _spec(argument: Any) -> TensorSpec:
    shape = tuple(
        dim if isinstance(dim, int) else dim or f"{argument.name}_{i}" for i, dim in enumerate(argument.shape)
    )
    if argument.type not in _DTYPES:
        raise BuildFailed(f"{argument.name!r} is of {argument.type}, which benchfw does not know")
    return TensorSpec(name=argument.name, dtype=_DTYPES[argument.type], shape=shape)


def sizes_of(specs: tuple[TensorSpec, ...], inputs: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Return the size of every named axis of the inputs."""
    return {
        dim: size
        for spec in specs
        for dim, size in zip(spec.shape, inputs[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }
