"""Engines of TensorRT, versions 8.6, 10 and 11, of ONNX models. Imported in workers alone.

A TensorRT that can takes all types from the model (strong typing); version 11 can nothing else. Version 8.6 cannot, and
gets the flag of the model's precision. Version 10 can do both: `WeakTrtEngineFromOnnx` is for those who want the
builder to choose types itself, as it did before.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchfw.errors import BuildFailed
from benchfw.spec import Profile, TensorSpec
from benchfw.spec.cuda import describe_device, use_device
from benchfw.spec.tensors import AxisRange
from benchfw_tensorrt.engine import LAYERS, Build, EngineFromOnnx, import_tensorrt, make_runtime
from benchfw_tensorrt.inspector import effective_precision, inspect
from benchfw_tensorrt.origin import distribution
from benchfw_tensorrt.settings import (
    allow_precisions,
    configure,
    network_flags,
    set_formats,
    strongly_typed,
)
from benchfw_tensorrt.timing import TimingCache


class TrtEngineFromOnnx(EngineFromOnnx):
    """Options: `benchfw_tensorrt.options.TrtEngineOptions`.

    It builds on the device that runs the engine: TensorRT takes the current one of its thread.
    """

    module = "tensorrt"
    weak = False
    _timing: TimingCache | None = None

    @property
    def distribution(self) -> str:  # type: ignore[override]  # it has several names
        return distribution()

    def reads(self, inputs: Sequence[TensorSpec], profile: Profile) -> Mapping[str, str]:
        """Return what an engine belongs to: TensorRT, the GPU and its driver."""
        use_device(self.device)
        return here(import_tensorrt(self.module))

    def run(self, *arguments: Any, **named: Any) -> Mapping[str, Any]:
        use_device(self.device)
        return super().run(*arguments, **named)

    def network_flags(self, trt: Any) -> int:
        return network_flags(trt, weak=self.weak)

    def configure(self, build: Build) -> Mapping[str, Any]:
        trt, config = build.trt, build.config
        typed = strongly_typed(trt, self.network_flags(trt))
        if self.weak or not typed:
            allow_precisions(trt, config, self.precisions(build.precision))
        settings = configure(trt, config, {**self.options, "tf32": build.precision == "tf32"})
        _share_profiles(trt, config)
        place = here(trt)
        if self.options["timing_cache"] and self.cache_dir is not None:
            self._timing = TimingCache(self.cache_dir / "tensorrt", place, build.log)
            self._timing.use(config)
        return {**settings, **place, "strongly_typed": typed}

    def precisions(self, precision: str) -> Sequence[str]:
        """Return the precisions that a builder may use which chooses types itself."""
        return [precision]

    def profiles(self, profile: Profile) -> Sequence[Profile]:
        return several_profiles(profile, self.options["profiles"])

    def arrange(self, build: Build) -> None:
        network = build.network
        tensors = [network.get_input(place) for place in range(network.num_inputs)]
        tensors += [network.get_output(place) for place in range(network.num_outputs)]
        typed = strongly_typed(build.trt, self.network_flags(build.trt))
        set_formats(build.trt, tensors, self.options["io_formats"], typed=typed)

    def finish(self, build: Build, path: Path) -> Mapping[str, Any]:
        """Keep what was timed, and load the engine once, to see that it can be and what its layers are."""
        if self._timing is not None:
            self._timing.keep(build.config)
        engine = load_engine(build.trt, path, build.log, portable=self.options["version_compatible"])
        layers = inspect(build.trt, engine)
        path.with_name(LAYERS).write_text(json.dumps([asdict(layer) for layer in layers], indent=1), encoding="utf-8")
        return {
            "timing_cache_sha256": self._timing.sha256 if self._timing else None,
            "build_id": uuid.uuid4().hex[:12],
            "layers": {"count": len(layers), "file": LAYERS, "from": "the inspector"},
            "precision_effective": effective_precision(layers, build.precision),
        }


def _share_profiles(trt: Any, config: Any) -> None:
    """Let several contexts use one profile at once, as TensorRT 10 always does and 8.6 where it is asked for."""
    known = getattr(trt, "PreviewFeature", None)
    feature = known.__members__.get("PROFILE_SHARING_0806") if known else None
    if feature is not None:
        config.set_preview_feature(feature, True)


def here(trt: Any) -> dict[str, str]:
    """Return what an engine belongs to that is built or run in this process."""
    return {"version": str(trt.__version__), **describe_device()}


def several_profiles(profile: Profile, given: Sequence[Mapping[str, Sequence[int]]]) -> list[Profile]:
    """Return a profile for each of the ranges that the option `profiles` lists; the case's own if it lists none.

    Raises:
        BuildFailed: An axis that the case does not name, or a range that does not lie within that of the case.
    """
    if not given or profile.static:
        return [profile]
    found = []
    for ranges in given:
        for axis, (low, _, high) in ranges.items():
            whole = profile.axes.get(axis)
            if whole is None:
                raise BuildFailed(
                    f"option profiles: no input has an axis {axis!r}", hint=f"there are {[*profile.axes]}"
                )
            if low < whole.min or high > whole.max:
                raise BuildFailed(
                    f"option profiles: {axis} from {low} to {high} is not within {whole.min} to {whole.max}"
                )
        chosen = {axis: AxisRange(min=low, opt=best, max=high) for axis, (low, best, high) in ranges.items()}
        found.append(Profile({**profile.axes, **chosen}))
    return found


def load_engine(trt: Any, path: Path, log: Any, *, portable: bool = False) -> Any:
    """Return an engine; TensorRT keeps its runtime as long as the engine lives.

    Raises:
        BuildFailed: With TensorRT's words.
        OutOfMemory: The device has no room for its weights.
    """
    runtime = make_runtime(trt, log)
    if portable and hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True  # the engine brings a runtime of its own
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise log.failure(f"{trt.__name__} cannot load the engine")
    return engine
