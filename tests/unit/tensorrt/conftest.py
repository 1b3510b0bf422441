"""The plugin's modules for workers, on a TensorRT and a CUDA runtime that are made up."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchfw.spec import Artifact, AxisRange, Context, Profile, TensorSpec
from benchfw_tensorrt.options import RtxEngineOptions, RtxOptions, TrtEngineOptions, TrtOptions, WeakEngineOptions
from tests.unit.fake_cuda_modules import install
from tests.unit.tensorrt.fake_tensorrt import FakeTensorrt

X = TensorSpec(name="x", dtype="float32", shape=("batch", 8))
IMPORTING = ("backend", "base", "calibrator", "dynamic", "native", "runner", "runtime_cache", "slots", "weak")
"""Modules that import what is made up."""


class Bench:
    """One TensorRT, with what builds and runs engines on it.

    Attributes:
        trt, cuda: The modules.
        folder: For files; `folder / "frameworks"` is the steps' cache.
    """

    def __init__(self, version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda = install(monkeypatch, folder, [f"benchfw_tensorrt.{name}" for name in IMPORTING])
        self.trt = FakeTensorrt(version, self.cuda)
        self.folder = folder
        monkeypatch.setitem(sys.modules, self.trt.__name__, self.trt)

    def model(self, name: str = "model", **given: Any) -> Path:
        """Write a model: `x` in, twice of it out, of type FLOAT and shape [batch, 8] unless `given` says otherwise."""
        kind, shape = given.get("kind", "FLOAT"), given.get("shape", [-1, 8])
        data = {"inputs": {"x": [kind, shape]}, "outputs": {"y": [given.get("out", kind), shape]}}
        path = self.folder / f"{name}.onnx"
        path.write_text(json.dumps(data))
        return path

    def step(self, *, weak: bool = False, **options: Any) -> Any:
        if self.trt.__name__ == "tensorrt_rtx":
            from benchfw_tensorrt.engine import RtxEngineFromOnnx

            return RtxEngineFromOnnx(RtxEngineOptions(**options).model_dump(mode="json"))
        from benchfw_tensorrt.native import TrtEngineFromOnnx
        from benchfw_tensorrt.weak import WeakTrtEngineFromOnnx

        model = WeakEngineOptions if weak else TrtEngineOptions
        step = (WeakTrtEngineFromOnnx if weak else TrtEngineFromOnnx)(model(**options).model_dump(mode="json"))
        step.cache_dir, step.root = self.folder / "frameworks", self.folder
        return step

    def build(
        self,
        model: Path | None = None,
        *,
        axes: dict[str, tuple[int, int, int]] | None = None,
        inputs: tuple[TensorSpec, ...] = (X,),
        precision: str = "fp32",
        weak: bool = False,
        device: str = "cpu",
        **options: Any,
    ) -> Artifact:
        """Return an engine, for batches from 1 to 8 unless `axes` says otherwise."""
        sizes = {"batch": (1, 4, 8)} if axes is None else axes
        profile = Profile({name: AxisRange(min=low, opt=best, max=high) for name, (low, best, high) in sizes.items()})
        destination = self.folder / f"engine{len(list(self.folder.glob('engine*')))}" / "model.trt-engine"
        destination.parent.mkdir()
        source = Artifact(format="onnx", path=str(model or self.model()), sha256="0" * 64)
        step = self.step(weak=weak, **options)
        step.device = device
        meta = step.run(source, inputs=inputs, profile=profile, precision=precision, destination=destination)
        meta = json.loads(json.dumps(meta))
        return Artifact(format="trt-engine", path=str(destination), sha256="1" * 64, precision=precision, meta=meta)

    def backend(self, name: str, inputs: tuple[TensorSpec, ...] = (X,), **options: Any) -> Any:
        """Return a backend, `TrtStatic`, `TrtDynamic` or `TrtRtx`."""
        rtx = name == "TrtRtx"
        module = importlib.import_module(f"benchfw_tensorrt.{'backend' if rtx else 'runner'}")

        context = Context(
            device="cuda:0", threads=1, precision="fp32", cache_dir=self.folder, root=self.folder, inputs=inputs
        )
        model = RtxOptions if rtx else TrtOptions
        return getattr(module, name)(model(**options).model_dump(mode="json"), context)


@pytest.fixture
def bench_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bench]:
    return lambda version: Bench(version, tmp_path, monkeypatch)


@pytest.fixture(params=["8.6.0", "10.16.1", "11.4.0"])
def bench(request: pytest.FixtureRequest, bench_of: Callable[[str], Bench]) -> Bench:
    return bench_of(request.param)
