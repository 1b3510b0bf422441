"""ONNX Runtime on a CUDA that is made up: the graphs run on its CPU provider, under the name of the one asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from benchfw.spec import Artifact, Context, Profile
from benchfw_onnxruntime.cuda_options import CudaOptions, TensorrtOptions
from tests.unit.fake_cuda_modules import install
from tests.unit.fake_cudart import FakeCuda
from tests.unit.onnx_steps.graphs import BATCH, IMAGE, artifact, convolutions

NO_CPU = "session.disable_cpu_ep_fallback"
UNSYNCHRONISED = "disable_synchronize_execution_providers"
REAL = ort.InferenceSession
CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


class Binding:
    """An I/O binding whose device memory is the host's."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.devices: set[tuple[str, int]] = set()

    def bind_input(self, name: str, device: str, number: int, *rest: Any) -> None:
        self.devices.add((device, number))
        self.real.bind_input(name, "cpu", 0, *rest)

    def bind_output(self, name: str, device: str, number: int, *rest: Any) -> None:
        self.devices.add((device, number))
        self.real.bind_output(name, "cpu", 0, *rest)

    def copy_outputs_to_cpu(self) -> list[Any]:
        return list(self.real.copy_outputs_to_cpu())


class Session(ort.InferenceSession):  # type: ignore[misc]  # it has no types
    """A session that says it got what it asked for.

    Attributes:
        asked: Providers and their options, of the session that was made last.
        binding: Made last.
        entries: Of the run's options, in each launch.
        refusal: Raised in place of making one.
        refused: Providers with which it is; empty for all.
        drops: Providers that it goes on without, as 1.17 does.
        says: Printed when one is made.
        made: Level of logging of each that was made.
        banned: Whether nodes were not to run on the CPU.
    """

    asked: Mapping[str, Mapping[str, str]] = {}
    binding: Binding | None = None
    entries: list[str] = []  # noqa: RUF012  (each test has a class of its own)
    refusal: BaseException | None = None
    refused: Sequence[str] = ()
    drops: Sequence[str] = ()
    says = ""
    made: list[int] = []  # noqa: RUF012
    banned = False

    def __init__(self, path: str, **given: Any) -> None:
        assert given.pop("enable_fallback") == 0
        type(self).asked = dict(given.pop("providers"))
        print(self.says, end="")
        if self.refusal is not None and not {*self.asked}.isdisjoint(self.refused or self.asked):
            raise self.refusal
        self.made.append(given["sess_options"].log_severity_level)
        type(self).banned = _lift_the_ban_of_the_cpu(given["sess_options"])
        super().__init__(path, providers=[CPU], **given)

    def get_providers(self) -> list[str]:
        return [*(name for name in self.asked if name not in self.drops), CPU]

    def io_binding(self) -> Any:
        type(self).binding = Binding(super().io_binding())
        return self.binding

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        self.entries.append(options.get_run_config_entry(UNSYNCHRONISED))
        super().run_with_iobinding(binding.real, options)


def _lift_the_ban_of_the_cpu(options: ort.SessionOptions) -> bool:
    """Return whether nodes may not run on the CPU, and let them: it is what computes here."""
    banned = _entry(options) == "1"
    if banned:
        options.add_session_config_entry(NO_CPU, "0")
    return banned


def _entry(options: ort.SessionOptions) -> str:
    try:
        return str(options.get_session_config_entry(NO_CPU))
    except RuntimeError:  # there is none
        return ""


class Lab:
    """Makes backends on a CUDA that is made up.

    Attributes:
        cuda: It.
        session: Class of its sessions.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.cuda: FakeCuda = install(
            monkeypatch, folder, ["benchfw_onnxruntime.cuda", "benchfw_onnxruntime.cuda_bound"]
        )
        self.session: Any = type("Own", (Session,), {"entries": [], "made": []})
        self._monkeypatch = monkeypatch

    def backend(
        self,
        name: str = "OrtCuda",
        *,
        precision: str = "fp32",
        device: str = "cuda:0",
        profile: Profile = BATCH,
        real: bool = False,
        source: Artifact | None = None,
        allow_fallback: bool = False,
        **options: Any,
    ) -> Any:
        """Return a backend that has loaded a model; with `real`, through ONNX Runtime as it is."""
        from benchfw_onnxruntime import cuda

        if not real:
            self._monkeypatch.setattr(ort, "InferenceSession", self.session)
        model = CudaOptions if name == "OrtCuda" else TensorrtOptions
        context = Context(
            device=device,
            threads=1,
            precision=precision,
            cache_dir=self.folder,
            root=self.folder,
            inputs=IMAGE,
            allow_fallback=allow_fallback,
        )
        self.made = getattr(cuda, name)(model(**options).model_dump(mode="json"), context)
        self.made.load(self.made.prepare(source or artifact(convolutions(), self.folder), profile))
        return self.made


def images(batch: int, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((batch, 3, 8, 8)).astype(np.float32)}


def expected(folder: Path, inputs: Mapping[str, Any]) -> Any:
    return REAL(str(folder / "source.onnx"), providers=[CPU]).run(None, dict(inputs))[0]


def only(outputs: Mapping[str, Any]) -> Any:
    (output,) = outputs.values()
    return output
