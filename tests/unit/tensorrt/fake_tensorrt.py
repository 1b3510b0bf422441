"""TensorRT 8.6, 10 and 11, and TensorRT-RTX 1.7, as far as the plugin uses them, for machines without a GPU.

What each version has stands in `FEATURES`, taken from `dir()` of the real bindings. A model is a JSON file of inputs
and outputs, an engine the same with its profiles; running one doubles its first input.
"""

# ruff: noqa: N802  (names are those of TensorRT)

from __future__ import annotations

import ctypes
import enum
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.unit.fake_cudart import FakeCuda

_COMMON = ("DEBUG", "DIRECT_IO", "REFIT", "SPARSE_WEIGHTS", "TF32", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME")
_SINCE_10 = ("STRICT_NANS", "WEIGHT_STREAMING", "STRIP_PLAN", "EDITABLE_TIMING_CACHE")
_EDGE = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
_CUBLAS = ("CUBLAS", "CUBLAS_LT", "CUDNN")
_MANAGED = ("STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED")
FEATURES: dict[str, dict[str, Any]] = {
    "8.6.0": {
        "BuilderFlag": (*_COMMON, "FP16", "INT8", "FP8", "STRICT_TYPES"),
        "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH", "EXPLICIT_PRECISION"),
        "TacticSource": (*_CUBLAS, *_EDGE),
        "HardwareCompatibilityLevel": ("NONE", "AMPERE_PLUS"),
        "PreviewFeature": ("FASTER_DYNAMIC_SHAPES_0805", "PROFILE_SHARING_0806"),
        "calibrates": True,
        "types": ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8"),
    },
    "10.16.1": {
        "BuilderFlag": (*_COMMON, *_SINCE_10, "FP16", "BF16", "INT8", "FP8", "INT4"),
        "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH", "STRONGLY_TYPED"),
        "TacticSource": (*_CUBLAS, *_EDGE),
        "HardwareCompatibilityLevel": ("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
        "PreviewFeature": ("PROFILE_SHARING_0806", "ALIASED_PLUGIN_IO_10_03"),
        "ExecutionContextAllocationStrategy": _MANAGED,
        "calibrates": True,
        "progress": True,
        "types": ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64"),
    },
    "11.4.0": {
        "BuilderFlag": (*_COMMON, *_SINCE_10),
        "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED", "PREFER_JIT_PYTHON_PLUGINS"),
        "TacticSource": _EDGE,
        "HardwareCompatibilityLevel": ("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
        "PreviewFeature": ("ALIASED_PLUGIN_IO_10_03",),
        "ExecutionContextAllocationStrategy": _MANAGED,
        "calibrates": False,
        "progress": True,
        "types": ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64"),
    },
}
RTX = "1.7.1.116"
FEATURES[RTX] = {
    **FEATURES["11.4.0"],
    "BuilderFlag": (*_COMMON, "STRICT_NANS", "WEIGHT_STREAMING", "STRIP_PLAN", "REQUIRE_USER_ALLOCATION"),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "DynamicShapesKernelSpecializationStrategy": ("LAZY", "EAGER", "NONE"),
    "CudaGraphStrategy": ("DISABLED", "WHOLE_GRAPH_CAPTURE"),
    "EngineValidity": ("VALID", "SUBOPTIMAL", "INVALID"),
    "rtx": True,
}
"""TensorRT-RTX, which is another module with versions of its own."""

_INVALID = {"VERSION_MISMATCH": 1, "UNSUPPORTED_CC": 2, "OLD_CUDA_DRIVER": 4, "CUDA_ERROR": 64}
_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT64": np.int64}


def _enum(name: str, members: Iterable[str]) -> Any:
    return enum.IntEnum(name, members if isinstance(members, dict) else {each: i for i, each in enumerate(members)})


class Base:
    """What Python classes derive from."""


class FakeTensorrt(ModuleType):
    """The module, of one version.

    Attributes:
        calls: What was asked for, in order: flags, shapes, addresses.
        errors: Said in the log when the next call fails.
        fails: Name of the call that fails next: `build`, `deserialize`, `execute`.
        layer_type: Type that the inspector tells of a product.
        capturable: What contexts of TensorRT-RTX say of themselves.
        config, network, runtime: Those of the last build, and the last runtime.
    """

    ILogger = IProfiler = IProgressMonitor = Base

    def __init__(self, version: str, cuda: FakeCuda) -> None:
        features = FEATURES[version]
        super().__init__("tensorrt_rtx" if "rtx" in features else "tensorrt")
        self.__version__ = version
        self.cuda, self.features = cuda, features
        self.calls: list[Any] = []
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.fails = ""
        self.config: Any = None
        self.runtime: Any = None
        self.network: Any = None
        self.layer_type = "FP32"
        self.capturable = True
        self.executed: list[tuple[int, ...]] = []
        for name, members in features.items():
            if name[0].isupper():
                setattr(self, name, _enum(name, members))
        self.DataType = _enum("DataType", features["types"])
        self.TensorFormat = _enum("TensorFormat", ("LINEAR", "CHW2", "HWC8"))
        self.ProfilingVerbosity = _enum("ProfilingVerbosity", ("LAYER_NAMES_ONLY", "NONE", "DETAILED"))
        self.MemoryPoolType = _enum("MemoryPoolType", ("WORKSPACE",))
        self.TensorIOMode = _enum("TensorIOMode", ("NONE", "INPUT", "OUTPUT"))
        self.LayerInformationFormat = _enum("LayerInformationFormat", ("ONELINE", "JSON"))
        self.EngineInvalidityDiagnostics = _enum("EngineInvalidityDiagnostics", _INVALID)
        if features["calibrates"]:
            self.IInt8EntropyCalibrator2 = self.IInt8MinMaxCalibrator = Base

    def Builder(self, logger: Any) -> Any:
        return Builder(self, logger)

    def Runtime(self, logger: Any) -> Any:
        return Runtime(self, logger)

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return Parser(self, network)

    def failing(self, call: str, logger: Any) -> bool:
        """Whether a call is to fail; then it has said why."""
        if self.fails != call:
            return False
        for text in self.errors:
            logger.log(1, text)
        return True


class Tensor:
    def __init__(self, trt: FakeTensorrt, name: str, kind: str, shape: Sequence[int]) -> None:
        self.name, self.dtype, self.shape = name, trt.DataType[kind], tuple(shape)
        self.is_shape_tensor = False
        self.allowed_formats = 0


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_input(self, place: int) -> Tensor:
        return self.inputs[place]

    def get_output(self, place: int) -> Tensor:
        return self.outputs[place]


class Parser:
    num_errors = 0

    def __init__(self, trt: FakeTensorrt, network: Network) -> None:
        self._trt, self._network = trt, network

    def parse_from_file(self, path: str) -> bool:
        """Read a model; a TensorRT without INT64 makes INT32 of it, as 8.6 does."""
        model = json.loads(Path(path).read_text())
        for tensors, found in ((model["inputs"], self._network.inputs), (model["outputs"], self._network.outputs)):
            for name, (kind, shape) in tensors.items():
                known = kind if kind in self._trt.features["types"] else "INT32"
                found.append(Tensor(self._trt, name, known, shape))
        return True


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
        self.shapes[name] = [list(low), list(best), list(high)]


class TimingCacheObject:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def combine(self, other: TimingCacheObject, ignore_mismatch: bool) -> bool:
        if other.content.startswith(b"of another"):
            return False
        self.content = b";".join(sorted({*self.content.split(b";"), *other.content.split(b";")}))
        return True

    def serialize(self) -> bytes:
        return self.content


class Config:
    def __init__(self, trt: FakeTensorrt, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.flags = {int(trt.BuilderFlag.TF32)}  # on by default
        self.made: list[OptimizationProfile] = []
        self.pools: dict[Any, int] = {}
        self.sources = (1 << len(trt.TacticSource.__members__)) - 1
        self.builder_optimization_level, self.max_aux_streams, self.avg_timing_iterations = 3, -1, 1
        self.hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE
        self.calibration_profile: Any = None
        if trt.features.get("progress"):
            self.progress_monitor: Any = None
        if trt.features["calibrates"]:
            self.int8_calibrator: Any = None
            self.set_calibration_profile = self._set_calibration_profile

    def set_flag(self, flag: int) -> None:
        self.flags.add(int(flag))

    def clear_flag(self, flag: int) -> None:
        self.flags.discard(int(flag))

    def get_flag(self, flag: int) -> bool:
        return int(flag) in self.flags

    def named(self) -> set[str]:
        """Return the names of the flags that are set, for tests."""
        return {flag.name for flag in self._trt.BuilderFlag if int(flag) in self.flags}

    def set_memory_pool_limit(self, pool: Any, limit: int) -> None:
        self.pools[pool] = limit

    def set_tactic_sources(self, sources: int) -> bool:
        self.sources = sources
        return True

    def get_tactic_sources(self) -> int:
        return self.sources

    def set_preview_feature(self, feature: Any, on: bool) -> None:
        self._trt.calls.append(("preview", feature.name, on))

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.made.append(profile)
        return len(self.made) - 1

    def _set_calibration_profile(self, profile: OptimizationProfile) -> bool:
        self.calibration_profile = profile
        return True

    def create_timing_cache(self, content: bytes) -> TimingCacheObject:
        """Make one; what it cannot read it complains about and makes an empty one."""
        if self._trt.fails == "timing cache" and content:
            self._logger.log(1, "Error Code 1: Myelin (Myelin error from unknown graph)")
            return TimingCacheObject(b"")
        return TimingCacheObject(content)

    def set_timing_cache(self, cache: TimingCacheObject, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return not cache.content.startswith(b"of another")


class Plan(bytes):
    nbytes = property(len)


class Builder:
    def __init__(self, trt: FakeTensorrt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> Network:
        self._trt.calls.append(("network", flags))
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config(self._trt, self._logger)

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Network, config: Config) -> Plan | None:
        trt = self._trt
        if trt.failing("build", self._logger):
            return None
        for text in trt.warnings:
            self._logger.log(2, text)
        self._calibrate(network, config)
        if hasattr(config, "cache"):
            config.cache.content += b";timed here"
        trt.config, trt.network = config, network
        tensors = [(tensor, 1) for tensor in network.inputs] + [(tensor, 2) for tensor in network.outputs]
        data = {
            "version": trt.__version__,
            "tensors": [[t.name, t.dtype.name, list(t.shape), mode, t.allowed_formats] for t, mode in tensors],
            "profiles": [profile.shapes for profile in config.made],
            "streams": "WEIGHT_STREAMING" in config.named(),
        }
        content = json.dumps(data).encode()
        return Plan(_header(trt, len(content)) + content)

    def _calibrate(self, network: Network, config: Config) -> None:
        calibrator = getattr(config, "int8_calibrator", None)
        if calibrator is None or self._trt.fails == "calibrate":
            return
        table = []
        while (batch := calibrator.get_batch([tensor.name for tensor in network.inputs])) is not None:
            assert all(address in self._trt.cuda.live for address in batch)
            table.append("x: 3f")
        calibrator.write_calibration_cache("\n".join(["TRT-8600-EntropyCalibration2", *table]).encode())


def _header(trt: FakeTensorrt, size: int) -> bytes:
    """Return what stands before the content of a plan."""
    if "rtx" not in trt.features:
        return b""
    version = bytes(int(part) for part in RTX.split("."))
    return b"vtrt".ljust(16, b"\0") + struct.pack("<Q", 64 + size) + version.ljust(40, b"\0")


class Runtime:
    def __init__(self, trt: FakeTensorrt, logger: Any) -> None:
        self._trt, self._logger = trt, logger
        self.engine_host_code_allowed = False
        trt.runtime = self
        if "rtx" in trt.features:
            self.get_engine_validity = self._get_engine_validity

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if self._trt.failing("deserialize", self._logger):
            return None
        return Engine(self._trt, json.loads(content[content.index(b"{") :]), self._logger)

    def _get_engine_validity(self, content: bytes) -> tuple[Any, int]:
        """Say that an engine which will not be loaded is for other GPUs."""
        assert len(content) == 64
        fails = self._trt.fails == "deserialize"
        return self._trt.EngineValidity["INVALID" if fails else "VALID"], 2 if fails else 0


class RuntimeConfig:
    """Of contexts; what they shall do, the tests look at."""

    def __init__(self, trt: FakeTensorrt) -> None:
        self._trt = trt
        self.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy["LAZY"]
        self.cuda_graph_strategy = trt.CudaGraphStrategy["DISABLED"]
        self.allocation: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.allocation = strategy

    def create_runtime_cache(self) -> RuntimeCacheObject:
        return RuntimeCacheObject()

    def set_runtime_cache(self, cache: RuntimeCacheObject) -> bool:
        self.cache = cache
        return True


class RuntimeCacheObject:
    def __init__(self) -> None:
        self.kernels = b""

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"kernels"):
            return False
        self.kernels = blob
        return True

    def serialize(self) -> bytes:
        return self.kernels or b"kernels"


class Engine:
    num_layers = 2
    num_aux_streams = 0

    def __init__(self, trt: FakeTensorrt, data: Mapping[str, Any], logger: Any) -> None:
        self.trt, self.logger = trt, logger
        self.tensors = {name: (kind, tuple(shape), mode, layout) for name, kind, shape, mode, layout in data["tensors"]}
        self.profiles = data["profiles"]
        if hasattr(trt, "ExecutionContextAllocationStrategy"):
            self.device_memory_size_v2 = 64
            self.streamable_weights_size = 1 << 20 if data.get("streams") else 0
            self.weight_streaming_budget_v2 = self.streamable_weights_size
            self.create_execution_context: Any = self._context
        else:
            self.device_memory_size = 64
            self.create_execution_context_without_device_memory = lambda: Context(self)

        if "rtx" in trt.features:
            self.create_runtime_config = lambda: RuntimeConfig(trt)
            self.create_execution_context = lambda runtime_config: self._context(runtime_config.allocation)

    def _context(self, strategy: Any) -> Context:
        assert strategy == self.trt.ExecutionContextAllocationStrategy["USER_MANAGED"]
        return Context(self)

    num_io_tensors = property(lambda self: len(self.tensors))
    num_optimization_profiles = property(lambda self: max(1, len(self.profiles)))

    def get_tensor_name(self, place: int) -> str:
        return str(list(self.tensors)[place])

    def get_tensor_mode(self, name: str) -> Any:
        return self.trt.TensorIOMode(self.tensors[name][2])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][1]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.trt.DataType[self.tensors[name][0]]

    def get_tensor_format(self, name: str) -> Any:
        layout = self.tensors[name][3]
        return self.trt.TensorFormat(layout.bit_length() - 1 if layout else 0)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Any]:
        return list(self.profiles[profile][name])

    def create_engine_inspector(self) -> Any:
        layer = {
            "Name": "product",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {"Name": "x", "Dimensions": [1, 8], "Format/Datatype": f"Row major linear {self.trt.layer_type}"}
            ],
            "Outputs": [{"Name": "y", "Dimensions": [1, 8], "Format/Datatype": "Row major linear FP32"}],
            "TacticName": "sm80_xmma",
            "Metadata": "[ONNX Layer: mul]\u001e[ONNX Layer: add]",
        }
        texts = [json.dumps(layer), json.dumps({"Name": "copy", "LayerType": "Reformat", "Inputs": [], "Outputs": []})]
        raw = [text.replace("\\u001e", "\u001e") for text in texts]  # as 8.6 writes it
        return SimpleNamespace(get_layer_information=lambda place, kind: raw[place])


class Context:
    """One with shapes and addresses of its own; a launch doubles the first input."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._trt = engine, engine.trt
        self.active_optimization_profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.profiler: Any = None
        self.memory = 0
        if hasattr(self._trt, "ExecutionContextAllocationStrategy"):
            self.set_device_memory = self._set_device_memory
        if "rtx" in self._trt.features:
            self.is_stream_capturable = lambda stream: self._trt.capturable

    def _set_device_memory(self, address: int, size: int) -> None:
        assert size == 64
        self.memory = address

    @property
    def device_memory(self) -> int:
        return self.memory

    @device_memory.setter
    def device_memory(self, address: int) -> None:
        self.memory = address

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._trt.calls.append(("profile", profile))
        self.active_optimization_profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.profiles[self.active_optimization_profile][name]
        self._trt.calls.append(("shape", name, tuple(shape)))
        self.shapes[name] = tuple(shape)
        return all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._trt.calls.append(("address", name))
        self.addresses[name] = address
        return address in self._trt.cuda.live

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the first input, in which all dynamic axes of outputs are its own."""
        dims = self._engine.tensors[name][1]
        if -1 not in dims:
            return dims
        first = next(iter(self._engine.tensors))
        known = self.shapes.get(first, self._engine.tensors[first][1])
        return tuple(known[place] if dim == -1 else dim for place, dim in enumerate(dims))

    def execute_async_v3(self, stream: int) -> bool:
        trt = self._trt
        if trt.failing("execute", self._engine.logger):
            return False
        assert self.memory in trt.cuda.live and stream in trt.cuda.streams
        first, *_, last = self._engine.tensors
        shape = self.shapes.get(first, self._engine.tensors[first][1])
        values = self._array(first, shape)
        self._array(last, self.get_tensor_shape(last))[...] = 2 * values
        trt.executed.append(tuple(shape))
        if self.profiler is not None:
            for name, ms in (("reshape", 0.0), ("product", 0.25), ("copy", 0.125)):
                self.profiler.report_layer_time(name, ms)
        return True

    def _array(self, name: str, shape: tuple[int, ...]) -> Any:
        kind = np.dtype(_NUMPY[self._engine.tensors[name][0]])
        count = int(np.prod(shape))
        memory: Any = (ctypes.c_char * (count * kind.itemsize)).from_address(self.addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)
