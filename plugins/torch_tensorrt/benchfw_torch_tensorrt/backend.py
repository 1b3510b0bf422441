"""torch-tensorrt. Imported in workers alone."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters as dynamo_counters

from benchfw.errors import BackendError, BuildFailed, Invalid, OutOfMemory, Unsupported
from benchfw.spec import Artifact, Context, IoSpec, Profile
from benchfw.spec.layers import LayerProfile
from benchfw_torch.backend import TorchBound, TorchEager, out_of_memory, precision_of
from benchfw_torch.reasons import reason
from benchfw_torch.sources import build
from benchfw_torch.tensors import Cast, arguments, example_inputs
from benchfw_torch_tensorrt.graphs import ByPlace, export, trt_inputs
from benchfw_torch_tensorrt.listening import Heard, listening
from benchfw_torch_tensorrt.loading import import_torch_tensorrt, tensorrt_version
from benchfw_torch_tensorrt.partitions import Partitions, partitions
from benchfw_torch_tensorrt.settings import autocasts, settings

torch_tensorrt: Any = import_torch_tensorrt()

PROVIDER = "TensorRT"

_OUT_OF_MEMORY = re.compile(r"\bOutOfMemory\b|\bout of memory\b|cudaErrorMemoryAllocation", re.IGNORECASE)
"""As TensorRT says it: `Error Code 2: OutOfMemory`, `Cuda Runtime (out of memory)`."""


class TorchTensorrt(TorchEager):
    """`torch-tensorrt`. Options: `benchfw_torch_tensorrt.options.TorchTensorrtOptions`.

    The model is exported and compiled ahead of time, in one module for all sizes of the profile: nothing is compiled
    when it runs, unless the model itself asks for it. What TensorRT does not take stays with PyTorch, in between.
    """

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        super().__init__(options, context)
        self._compiled: Callable[..., Any] | None = None
        self._parts: Partitions | None = None
        self._outputs: tuple[str, ...] = ()
        self._parameters = ""
        self._compilations = 0

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        """Export and compile the model for a profile: one shape, or min, opt and max.

        Raises:
            BuildFailed: With the words of PyTorch, torch-tensorrt or TensorRT.
            OutOfMemory: The device had no room to build engines, or to load them.
        """
        with torch.inference_mode(False), torch.no_grad():  # weights of inference mode cannot be exported
            model = self._build(artifact)
            self._parameters = precision_of(model)
            self._compile(model, profile)
        return artifact

    def load(self, artifact: Artifact) -> IoSpec:
        return IoSpec(inputs=self.context.inputs, outputs=())

    def facts(self) -> Mapping[str, Any]:
        parts = self._parts
        return {
            **super().facts(),
            **self.counters(),
            "provider_effective": PROVIDER if parts and parts.engines else "torch",
            **(parts.facts(PROVIDER) if parts else {}),
            "typing": "autocast" if autocasts(self.options, self.context.precision) else "model",
            "torch_tensorrt": str(torch_tensorrt.__version__),
            "tensorrt": tensorrt_version(),
        }

    def counters(self) -> Mapping[str, int]:
        """Compilations of torch-tensorrt, and of dynamo where a model calls `torch.compile` itself."""
        graphs = int(dynamo_counters["stats"]["unique_graphs"])
        return {**super().counters(), "compilations": self._compilations + graphs}

    def profile(self, n: int) -> LayerProfile:
        raise Unsupported("torch-tensorrt does not profile: its runtime writes sums of times to files, per engine")

    def explain(self, error: Exception) -> BackendError | None:
        known = super().explain(error)
        if known is None and isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)):
            return OutOfMemory(reason(error))
        return known

    def close(self) -> None:
        self._compiled = None
        super().close()

    def _function(self) -> Callable[..., Any]:
        if self._compiled is None:
            raise Invalid("bind before prepare")
        return self._compiled

    def _bound(self, function: Callable[..., Any], tensors: Mapping[str, Tensor]) -> TorchBound:
        values = [tensors[spec.name] for spec in self.context.inputs]
        return TorchBound(function, values, names=self._outputs)

    def _build(self, artifact: Artifact) -> nn.Module:
        if autocasts(self.options, self.context.precision):
            return build(artifact).to(self._device)
        return super()._build(artifact)

    def _precision_effective(self) -> str:
        if autocasts(self.options, self.context.precision):
            return f"fp32+{self.context.precision}"
        return "tf32" if self.context.precision == "tf32" else self._parameters or self.context.precision

    def _compile(self, model: nn.Module, profile: Profile) -> None:
        inputs = self.context.inputs
        named = example_inputs(inputs, profile.sizes("opt"))
        examples = [named[spec.name].to(self._device) for spec in inputs]
        flat = ByPlace(model, [spec.name for spec in inputs], dict if isinstance(model, Cast) else arguments)
        self._outputs = _names_of_outputs(flat, examples)
        program = export(flat, examples, inputs, profile)
        with tempfile.TemporaryDirectory(prefix="benchfw-") as scratch, listening() as heard:
            given = settings(
                self.options,
                precision=self.context.precision,
                device=self._device,
                compile=torch_tensorrt.dynamo.compile,
                cache=self._cache(),
                scratch=Path(scratch),
            )
            specs = trt_inputs(torch_tensorrt.Input, inputs, examples, profile)
            try:
                compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=specs, **given)
            except MemoryError:
                raise
            except Exception as error:
                raise _failed(error, heard) from error
        self._compilations += 1
        self._parts = partitions(compiled, torch_tensorrt.dynamo.runtime, heard.operators)
        self._compiled = compiled

    def _cache(self) -> Path:
        """Return the folder of timings and engines, which hold for one TensorRT on one kind of device."""
        place = hashlib.sha256(f"{tensorrt_version()}/{_describe(self._device)}".encode()).hexdigest()
        return self.context.cache_dir / "torch-tensorrt" / place[:16]


def _names_of_outputs(model: ByPlace, examples: Sequence[Tensor]) -> tuple[str, ...]:
    """Run the model once, before it is exported, for the names of its outputs.

    Raises:
        BuildFailed: It fails.
        OutOfMemory: It does not fit.
    """
    try:
        return tuple(model.named(*examples))
    except MemoryError:
        raise
    except Exception as error:
        if words := out_of_memory(error):
            raise OutOfMemory(words) from error
        shapes = ", ".join(str(list(example.shape)) for example in examples)
        raise BuildFailed(
            f"the model fails at opt on {shapes}: {reason(error)}", hint="see [model.inputs] and [shapes]"
        ) from error


def _failed(error: Exception, heard: Heard) -> BackendError:
    """Return what a compilation that failed is to users, with TensorRT's own words."""
    lack = next((words for words in heard.errors if _OUT_OF_MEMORY.search(words)), None)
    if words := lack or out_of_memory(error):
        return OutOfMemory(f"torch-tensorrt: {words}")
    told = f"; it logged: {heard.errors[0]}" if heard.errors else ""
    return BuildFailed(
        f"torch-tensorrt: {reason(error)}{told}",
        hint="the log has all of it; option `torch_executed_ops` leaves an operator to PyTorch",
    )


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}"
