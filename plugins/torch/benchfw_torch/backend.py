"""PyTorch in eager mode. Imported in workers alone."""

from __future__ import annotations

import errno
import gc
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from benchfw.errors import BackendError, Invalid, OutOfMemory, Unsupported
from benchfw.spec import Artifact, Backend, Bound, Context, IoSpec
from benchfw.spec.backend import check_inputs
from benchfw.spec.layers import LayerProfile
from benchfw_torch import cuda
from benchfw_torch.sources import build
from benchfw_torch.tensors import DTYPES, Cast, arguments, named_outputs


class TorchBound(Bound):
    """Arguments as tensors of their own; PyTorch allocates the outputs itself at every launch.

    Args:
        model: Called with `inputs` as its arguments.
        inputs: As the model takes them: by name, or by place.
        names: Of the outputs of a model that returns them by place.
    """

    def __init__(
        self, model: Callable[..., Any], inputs: Mapping[str, Any] | Sequence[Any], names: Sequence[str] | None = None
    ) -> None:
        self._result: list[Any] = [None]
        self._names = names
        self.launch = (
            _launch_by_name(model, dict(inputs), self._result)
            if isinstance(inputs, Mapping)
            else _launch_by_place(model, tuple(inputs), self._result)
        )

    def copy_by(self, hosts: Mapping[str, Tensor], devices: Mapping[str, Tensor]) -> None:
        """Let inputs be copied from page-locked memory, and outputs to it."""
        self.copy_in = cuda.copies_in(hosts, devices)
        self.copy_out = cuda.copies_out(self._result)

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        if self._result[0] is None:
            raise Invalid("outputs before the first launch")
        named = named_outputs(self._result[0])
        names = named if self._names is None else self._names
        return {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, named.values())}


# Launches do not know their slot: workers freeze what is alive, and a cycle would never be freed.
def _launch_by_name(model: Callable[..., Any], given: Mapping[str, Any], result: list[Any]) -> Callable[[], None]:
    def launch() -> None:
        result[0] = model(**given)

    return launch


def _launch_by_place(model: Callable[..., Any], given: tuple[Any, ...], result: list[Any]) -> Callable[[], None]:
    def launch() -> None:
        result[0] = model(*given)

    return launch


class TorchEager(Backend):
    """`torch-eager`. Options: `benchfw_torch.options.EagerOptions`."""

    @classmethod
    def missing_libraries(cls) -> list[str]:
        """Return the library that a PyTorch for CPUs has not; where it is asked for a GPU, it has none to offer."""
        return [] if torch.version.cuda else ["libtorch_cuda.so"]

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        super().__init__(options, context)
        self._model: nn.Module | None = None
        self._last: TorchBound | None = None
        self._threads = int(options.get("threads") or context.threads)
        self._device = torch.device(context.device)
        self._stream: torch.cuda.Stream | None = None
        torch.set_num_threads(self._threads)
        torch.set_float32_matmul_precision("highest")  # no bf16 or TF32 behind the name fp32
        _enter_inference_mode()
        if self._device.type == "cuda":
            self._stream = cuda.enter(self._device)
            cuda.set_tf32(context.precision == "tf32")
            torch.backends.cudnn.benchmark = options["cudnn_benchmark"]
        elif context.precision == "tf32":
            raise Unsupported("PyTorch has TF32 on NVIDIA GPUs alone", hint='device = "cuda"')

    @property
    def stream(self) -> int | None:
        return None if self._stream is None else self._stream.cuda_stream

    def enter_thread(self) -> None:
        _enter_inference_mode()

    def load(self, artifact: Artifact) -> IoSpec:
        self._model = self._build(artifact)
        return IoSpec(inputs=self.context.inputs, outputs=())

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        check_inputs(IoSpec(inputs=self.context.inputs, outputs=()), inputs)
        function = self._function()
        hosts = {name: self._tensor(array) for name, array in inputs.items()}
        tensors = {name: self._placed(name, tensor) for name, tensor in hosts.items()}
        self._last = self._bound(function, tensors)
        if self._stream is not None:
            self._last.copy_by(hosts, tensors)
        return self._last

    def capture(self, bound: Bound) -> Callable[[], object] | None:
        """Capture in PyTorch's own way: its allocator must keep what the graph writes to for the graph alone."""
        return cuda.capture(bound.launch).replay  # which alone keeps the graph: it goes when its slot is bound anew

    def profile(self, n: int) -> LayerProfile:
        """Run under the profiler of PyTorch, modules marked by hooks."""
        from benchfw_torch.profiler import layers  # not for workers that time

        if self._model is None or self._last is None:
            raise Invalid("profile before bind")
        if self._stream is not None:
            raise Unsupported("layers are profiled on the CPU alone")
        return layers(self._model, self._last.launch, n)

    def facts(self) -> Mapping[str, Any]:
        return {
            "provider_effective": "torch",
            "precision_effective": self._precision_effective(),
            "io_dtype": "+".join(sorted({spec.dtype for spec in self.context.inputs})),
            "threads_effective": torch.get_num_threads(),
            "mkldnn": torch.backends.mkldnn.is_available(),
            **(cuda.facts() if self._stream is not None else {}),
        }

    def counters(self) -> Mapping[str, int]:
        return cuda.counters() if self._stream is not None else {}

    def _precision_effective(self) -> str:
        parameters = precision_of(self._model)
        return (
            "tf32"
            if parameters == "fp32" and self.context.precision == "tf32"
            else parameters or self.context.precision
        )

    def explain(self, error: Exception) -> BackendError | None:
        words = out_of_memory(error)
        return OutOfMemory(words) if words else None

    def close(self) -> None:
        self._model = self._last = None
        if self._stream is not None:
            gc.collect()  # a model that refers to itself holds its tensors until then
            torch.cuda.empty_cache()

    def _function(self) -> Callable[..., Any]:
        if self._model is None:
            raise Invalid("bind before load")
        return self._model

    def _bound(self, function: Callable[..., Any], tensors: Mapping[str, Tensor]) -> TorchBound:
        """Return a slot of what `_function` returns, with these inputs."""
        return TorchBound(function, self._call_with(tensors))

    def _build(self, artifact: Artifact) -> nn.Module:
        model = build(artifact)
        if self.options.get("channels_last"):
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if DTYPES[self.context.precision] is not torch.float32:
            model = Cast(model, DTYPES[self.context.precision])
        return model.to(self._device)

    def _call_with(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what the model is called with: `Cast` takes the inputs as they are."""
        return dict(tensors) if isinstance(self._model, Cast) else arguments(tensors)

    def _placed(self, name: str, tensor: Tensor) -> Tensor:
        """Return an input where the model reads it."""
        return tensor.to(self._device)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.array(array))
        if self.options.get("channels_last") and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor


_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.int8: "int8"}
_GUARDS = threading.local()


def _enter_inference_mode() -> None:
    """Turn gradients off for this thread and for good, so that `launch` has nothing to enter.

    Not per instance: a worker holds several, and the first to be closed would turn them on again for the others. The
    guard is kept: when it goes, so does the mode.
    """
    if not torch.is_inference_mode_enabled():
        _GUARDS.mode = torch.inference_mode()
        _GUARDS.mode.__enter__()


def precision_of(model: nn.Module | None) -> str:
    """Return the precision of the model's parameters; several are joined, none are an empty text."""
    dtypes = {parameter.dtype for parameter in model.parameters()} if model is not None else set()
    return "+".join(sorted(_PRECISIONS.get(dtype, str(dtype)) for dtype in dtypes))


_ALLOCATION = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|^(\w+: )?std::bad_alloc$"  # alone, or after the name of the class where dynamo quotes an error
    r"|CUDA out of memory|CUDA error: out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
    r"|: out of memory allocating \d+ bytes|^virtual memory exhausted: "  # GCC, which compiles inductor's code
    r"|Cannot allocate memory \((os error )?12\)"  # a mapped file of weights: safetensors, torch.load
)
"""What PyTorch says, in one line, when memory has run out. Nearly all of its errors are plain RuntimeErrors, and many
mention memory in another sense (formats, overlap, pinning)."""


def out_of_memory(error: Exception) -> str | None:
    """Return the line of an error that says that memory has run out; None if none does."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return first_line(error)
    if isinstance(error, OSError):  # a compiler that could not be started
        return str(error) if error.errno == errno.ENOMEM else None
    if not isinstance(error, (RuntimeError, SafetensorError)):
        return None
    return next((line.strip() for line in str(error).splitlines() if _ALLOCATION.search(line.strip())), None)


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
