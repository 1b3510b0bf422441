"""Engines of TensorRT 8.6 and 10 whose types the builder chooses. Imported in workers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.errors import BuildFailed
from benchfw.spec import Profile, TensorSpec
from benchfw.spec.cuda import destroy_stream, make_stream
from benchfw.spec.samples import Sample, digest, samples
from benchfw_tensorrt.calibrator import Feed, make_calibrator
from benchfw_tensorrt.engine import Build
from benchfw_tensorrt.native import TrtEngineFromOnnx
from benchfw_tensorrt.tensors import dtype_of

TABLE = "calibration.txt"


class WeakTrtEngineFromOnnx(TrtEngineFromOnnx):
    """Makes fp16, bf16 and int8 of an fp32 model: the builder may use them wherever that is faster.

    Inputs and outputs stay as they are in the model. Options: `benchfw_tensorrt.options.WeakEngineOptions`.
    """

    weak = True
    _feed: Feed | None = None
    _calibrator: Any = None
    _stream = 0

    def reads(self, inputs: Sequence[TensorSpec], profile: Profile) -> Mapping[str, str]:
        found = dict(super().reads(inputs, profile))
        if self.options["calibration"]:
            found["calibration"] = digest(self._samples(inputs, profile))
        return found

    def run(self, *arguments: Any, **named: Any) -> Mapping[str, Any]:
        try:
            return super().run(*arguments, **named)
        finally:
            self._free()

    def precisions(self, precision: str) -> Sequence[str]:
        return [precision, *self.options["also"]]

    def arrange(self, build: Build) -> None:
        super().arrange(build)
        if "int8" in self.precisions(build.precision):
            self._calibrate(build)

    def finish(self, build: Build, path: Path) -> Mapping[str, Any]:
        told = dict(super().finish(build, path))
        if self._feed is not None:
            self._feed.check()
            path.with_name(TABLE).write_bytes(self._feed.table)
            told["calibration"] = {
                "samples": self._feed.served,
                "file": TABLE,
                "calibrator": self.options["calibrator"],
            }
        return told

    def _calibrate(self, build: Build) -> None:
        given = self._samples(build.inputs, build.profile)
        shapes = {name: array.shape for name, array in given[0].items()}
        if any({name: array.shape for name, array in sample.items()} != shapes for sample in given):
            raise BuildFailed("TensorRT calibrates with samples of one shape, and these differ")
        network = build.network
        tensors = [network.get_input(place) for place in range(network.num_inputs)]
        dtypes = {tensor.name: dtype_of(tensor) for tensor in tensors}
        self._stream = make_stream()
        self._feed = Feed([self._wanted(sample, dtypes) for sample in given], dtypes, self._stream)
        self._calibrator = make_calibrator(build.trt, self.options["calibrator"], self._feed)
        build.config.int8_calibrator = self._calibrator
        if any(-1 in tuple(tensor.shape) for tensor in tensors):
            profile = build.builder.create_optimization_profile()
            for name in dtypes:
                profile.set_shape(name, shapes[name], shapes[name], shapes[name])
            build.config.set_calibration_profile(profile)

    def _wanted(self, sample: Sample, dtypes: Mapping[str, str]) -> Sample:
        missing = dtypes.keys() - sample.keys()
        if missing:
            raise BuildFailed(f"calibration data has no {sorted(missing)}")
        return {name: np.asarray(sample[name], dtype) for name, dtype in dtypes.items()}

    def _samples(self, inputs: Sequence[TensorSpec], profile: Profile) -> list[Sample]:
        return samples(self.options, self.root, inputs, profile)

    def _free(self) -> None:
        if self._feed is not None:
            self._feed.free()
        if self._stream:
            destroy_stream(self._stream)
        self._feed, self._stream, self._calibrator = None, 0, None
