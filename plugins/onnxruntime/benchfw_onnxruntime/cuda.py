"""ONNX Runtime on NVIDIA GPUs: the CUDA and the TensorRT execution provider. Imported in workers alone."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from benchfw.errors import BuildFailed, FellBack, Invalid
from benchfw.spec import Artifact, Bound, Context, DeviceName, IoSpec, Profile
from benchfw.spec.backend import check_inputs
from benchfw.spec.cuda import describe_device, destroy_stream, make_stream
from benchfw.spec.libraries import missing
from benchfw_onnxruntime.arguments import for_cuda, for_tensorrt, switch
from benchfw_onnxruntime.backend import LIBRARIES, OrtBackend
from benchfw_onnxruntime.cuda_bound import CudaBound

_UNSYNCHRONISED = "disable_synchronize_execution_providers"
"""The entry of a run's configuration with which `run` returns once all is enqueued."""
_PLACE = re.compile(r"/\S+:\d+ .*?[)\]] (?=\[?[A-Z])")
"""Where in its sources ONNX Runtime says what it says."""

_SINCE_1_18 = tuple(int(part) for part in ort.__version__.split(".")[:2]) >= (1, 18)
"""Providers take `use_tf32` and `user_compute_stream`. They refuse what they do not know, and list nothing."""
_BAD_OPTION = re.compile(r"(Invalid|Unknown) [\w ]*option: |The value for the key '\w+' should be", re.IGNORECASE)
_NO_PROVIDER = (RuntimeError, ValueError)
"""What a session is refused by whose provider cannot be loaded."""
_REFUSALS = (*_NO_PROVIDER, states.Fail, states.InvalidArgument)
"""What a session is refused by. Those of states are no RuntimeErrors, and may have the path of the model in them."""
_NO_CPU = "session.disable_cpu_ep_fallback"
_FLAGS = {"fp16": "trt_fp16_enable", "bf16": "trt_bf16_enable", "int8": "trt_int8_enable"}
_RETRIED = re.compile(r"^EP Error (.*?)\s+when using \[", re.DOTALL | re.MULTILINE)
"""What 1.17 prints before it goes on without our options: it does not know `enable_fallback`."""


class OrtCuda(OrtBackend):
    """`ort-cuda`. Options: `benchfw_onnxruntime.cuda_options.CudaOptions`."""

    provider = "CUDAExecutionProvider"
    _own_stream = 0
    _profile: Profile | None = None

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        super().__init__(options, context)
        self._bound: dict[int, CudaBound] = {}
        if context.precision == "fp32":  # read once per process; TensorRT's provider has no option for it
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

    @property
    def stream(self) -> int | None:
        return self._own_stream if self._asynchronous else None

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        self._profile = profile
        return artifact

    def load(self, artifact: Artifact) -> IoSpec:
        self._load_libraries()
        if not self._own_stream:
            self._own_stream = make_stream()
        return super().load(artifact)

    @classmethod
    def missing_libraries(cls) -> list[str]:
        """Return what the provider's library needs and would not find, once that is loaded which pip has installed."""
        cls._load_libraries()
        kind = cls.provider.removesuffix("ExecutionProvider").lower()
        return missing(Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{kind}.so")

    @classmethod
    def _load_libraries(cls) -> None:
        """Load what pip has installed beside ONNX Runtime, which is not where the loader looks."""
        if hasattr(ort, "preload_dlls"):  # since 1.21
            ort.preload_dlls()

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        if self._session is None or self._io is None:
            raise Invalid("bind before load")
        check_inputs(self._io, inputs)
        if slot in self._bound:
            self._bound.pop(slot).free()
        run = ort.RunOptions()
        run.add_run_config_entry(_UNSYNCHRONISED, str(int(self._asynchronous)))
        bound = self._bound[slot] = CudaBound(self._session, self._io, inputs, self._own_stream, run, self._number)
        return bound

    def close(self) -> None:
        while self._bound:  # a slot holds the session, which has to end before the stream that it was given
            self._bound.popitem()[1].free()
        super().close()
        if self._own_stream:
            destroy_stream(self._own_stream)
            self._own_stream = 0

    @property
    def _asynchronous(self) -> bool:
        """Whether launches only enqueue: never on a stream that is not ours, whose end nobody could wait for."""
        return _SINCE_1_18 and bool(self.options["asynchronous"])

    @property
    def _precision(self) -> str:
        if self._loaded is not None and self._loaded.precision != "fp32":
            return self._loaded.precision
        return self.context.precision

    def _make_session(self, artifact: Artifact, options: ort.SessionOptions) -> ort.InferenceSession:
        """Load an artifact; without the provider on the next one, if there is one on the GPU and that is allowed.

        There is nothing behind the CUDA provider: without it inputs and outputs cannot lie on the device.
        """
        providers = self._providers(artifact)
        try:
            return self._session_on(providers, artifact, options)
        except FellBack:
            if not (self.context.allow_fallback and self.stand_ins):
                raise
            return self._session_on(providers[1:], artifact, options)

    def _session_on(
        self, providers: list[tuple[str, dict[str, str]]], artifact: Artifact, options: ort.SessionOptions
    ) -> ort.InferenceSession:
        """Load an artifact without the retry, in which ONNX Runtime would go on without the first provider.

        Raises:
            FellBack: The first provider cannot be loaded, or a node would run on the CPU and may not.
            OutOfMemory: Its device is full.
            BuildFailed: It does not know an option, or its value.
        """
        first = providers[0][0]
        said = _Overheard()
        try:
            with contextlib.redirect_stdout(said):
                made = ort.InferenceSession(artifact.path, sess_options=options, providers=providers, enable_fallback=0)
        except Exception as error:
            refused = said.refusal()
            if refused is None and not isinstance(error, _REFUSALS):
                raise
            raise self._refusal(refused or error, first) from error
        if refused := said.refusal():
            raise self._refusal(refused, first)
        if made.get_providers()[0] != first:
            raise FellBack(f"asked for {first}, got {made.get_providers()}", hint=LIBRARIES)
        return made

    def _refusal(self, error: Exception, provider: str) -> Exception:
        """Return what it means that a session is refused."""
        if meaning := self.explain(error):  # the provider is there, and its device is full
            return meaning
        words = _PLACE.sub("", str(error)).strip()
        if _BAD_OPTION.search(words):
            hint = f"leave it out, or take another onnxruntime-gpu than {ort.__version__}"
            return BuildFailed(f"onnxruntime: {provider}: {words}", hint=hint)
        if "CPU EP" in words and self.options["disable_cpu_ep_fallback"]:
            hint = f"without `disable_cpu_ep_fallback` they are counted (V05); if it is all of them, {LIBRARIES}"
            return FellBack(f"onnxruntime: not all nodes run on {provider}: {words}", hint=hint)
        if isinstance(error, _NO_PROVIDER) and provider.removesuffix("ExecutionProvider").lower() in words.lower():
            return FellBack(f"onnxruntime cannot load {provider}: {words}", hint=LIBRARIES)
        return error

    def _session_options(self) -> ort.SessionOptions:
        options = super()._session_options()
        if self.options["disable_cpu_ep_fallback"]:
            options.add_session_config_entry(_NO_CPU, "1")
        return options

    def _providers(self, artifact: Artifact) -> list[tuple[str, dict[str, str]]]:
        return [("CUDAExecutionProvider", self._cuda())]

    def _cuda(self) -> dict[str, str]:
        return {
            **self._device(),
            **({"use_tf32": str(int(self.context.precision == "tf32"))} if _SINCE_1_18 else {}),
            **for_cuda(self.options),
        }

    def _device(self) -> dict[str, str]:
        return {
            "device_id": str(self._number),
            **({"user_compute_stream": str(self._own_stream)} if _SINCE_1_18 else {}),
        }

    @property
    def _number(self) -> int:
        return DeviceName.parse(self.context.device).number


class OrtTensorrt(OrtCuda):
    """`ort-tensorrt`. Options: `benchfw_onnxruntime.cuda_options.TensorrtOptions`."""

    provider = "TensorrtExecutionProvider"
    stand_ins = (OrtCuda.provider,)

    @property
    def _precision(self) -> str:
        """As for `ort-cuda` where that is what runs: it turns no graph to fp16 and computes QDQ in floating point."""
        if self._loaded is None or self._session is None or self._session.get_providers()[0] == self.provider:
            return super()._precision
        return self._loaded.precision if self._loaded.precision in ("fp16", "bf16") else "fp32"

    @classmethod
    def _load_libraries(cls) -> None:
        super()._load_libraries()
        with contextlib.suppress(ImportError, OSError):  # it is the system that has them, or none has
            importlib.import_module("tensorrt_libs")  # which loads them all when it is imported

    def _providers(self, artifact: Artifact) -> list[tuple[str, dict[str, str]]]:
        return [(self.provider, self._tensorrt(artifact)), *super()._providers(artifact)]

    def _tensorrt(self, artifact: Artifact) -> dict[str, str]:
        flag = _FLAGS.get(artifact.precision if artifact.precision == "int8" else self.context.precision)
        kept = for_tensorrt(self.options, self.context.root) | ({flag: switch(True)} if flag else {}) | self._shapes()
        return {**self._device(), **kept, **self._caches(artifact, kept)}

    def _caches(self, artifact: Artifact, given: Mapping[str, str]) -> dict[str, str]:
        """Return where engines are kept: ONNX Runtime finds them by names, not by weights or options.

        Each model, set of options, version and kind of GPU has a folder of its own, so that what is found is what would
        be built.
        """
        table = self._table()
        content = {
            **given,
            **describe_device(),
            "model": artifact.sha256,
            "ort": ort.__version__,
            "precision": self.context.precision,
            "table": hashlib.sha256(table.read_bytes()).hexdigest() if table else None,
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.context.cache_dir / "ort-tensorrt" / key
        folder.mkdir(parents=True, exist_ok=True)
        calibration = {}
        if table:  # the provider looks for it by its name, among its engines
            shutil.copyfile(table, folder / table.name)
            native = switch(self.options["int8_use_native_calibration_table"])
            calibration = {
                "trt_int8_calibration_table_name": table.name,
                "trt_int8_use_native_calibration_table": native,
            }
        return {
            **calibration,
            "trt_engine_cache_enable": switch(True),
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": switch(True),
            "trt_timing_cache_path": str(folder),
        }

    def _table(self) -> Path | None:
        """Return the file with ranges of activations, if there is one.

        Raises:
            BuildFailed: It is not there.
        """
        name = self.options["int8_calibration_table"]
        if name is None:
            return None
        table = self.context.root / name
        if not table.is_file():
            raise BuildFailed(
                f"int8_calibration_table: no file {name} beside the scenario",
                hint="leave it out for a model that is quantised already",
            )
        return table

    def _shapes(self) -> dict[str, str]:
        """Return the profile: every input of a graph with dynamic axes at its smallest, best and largest."""
        if self._profile is None or all(axis.min == axis.max for axis in self._profile.axes.values()):
            return {}
        return {
            f"trt_profile_{point}_shapes": ",".join(
                f"{spec.name}:{'x'.join(map(str, spec.concrete(self._profile.sizes(point))))}"
                for spec in self.context.inputs
            )
            for point in ("min", "opt", "max")
        }


class _Overheard(io.StringIO):
    """What is printed while a session is made. It goes on to the log at once: a build may be killed, or crash."""

    def __init__(self) -> None:
        super().__init__()
        self._log = sys.stdout

    def write(self, text: str) -> int:
        self._log.write(text)
        return super().write(text)

    def refusal(self) -> Exception | None:
        """Return what a session was refused by before it was tried again without our options."""
        found = _RETRIED.search(self.getvalue())
        return RuntimeError(found[1]) if found else None
