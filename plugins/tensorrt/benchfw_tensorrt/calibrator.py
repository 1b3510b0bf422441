"""Calibration of int8 engines by TensorRT itself, in versions that still do that: 8.6 and 10."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchfw.errors import BuildFailed
from benchfw.spec.cuda import Buffer, all_of, synchronize
from benchfw.spec.samples import Sample

_CLASSES = {"entropy": "IInt8EntropyCalibrator2", "minmax": "IInt8MinMaxCalibrator"}


class Feed:
    """Puts one sample after the other where a calibrator reads them.

    Args:
        samples: Arrays by input, of the same shapes in all samples.
        dtypes: Type of each input in the network, which may be another one than in the samples.
        stream: To copy on.

    Attributes:
        table: What TensorRT found, as text; empty before it has.
        served: How many samples it has asked for.
    """

    def __init__(self, samples: Sequence[Sample], dtypes: dict[str, str], stream: int) -> None:
        self._samples = samples
        self._stream = stream
        self._buffers = {name: Buffer(array.shape, dtypes[name]) for name, array in samples[0].items()}
        self._copy = all_of([buffer.copier_in(stream) for buffer in self._buffers.values()])
        self.served = 0
        self.table = b""

    @property
    def batch(self) -> int:
        return max((array.shape[0] for array in self._samples[0].values() if array.ndim), default=1)

    def next(self, names: Sequence[str]) -> list[int] | None:
        """Return the addresses of the next sample's inputs; None after the last one."""
        if self.served == len(self._samples):
            return None
        for name, array in self._samples[self.served].items():
            self._buffers[name].host[...] = array
        self._copy()
        synchronize(self._stream)
        self.served += 1
        return [self._buffers[name].address for name in names]

    def check(self) -> None:
        """Refuse an engine that was not calibrated, as happens without a word.

        Raises:
            BuildFailed: TensorRT asked for no sample, or found no range.
        """
        if not self.served or b"\n" not in self.table.strip():
            raise BuildFailed(
                f"TensorRT has not calibrated: it took {self.served} of {len(self._samples)} samples, found no ranges",
                hint="a model with Q/DQ nodes has its ranges already: leave [steps.WeakTrtEngineFromOnnx] out",
            )

    def free(self) -> None:
        for buffer in self._buffers.values():
            buffer.free()


def make_calibrator(trt: Any, method: str, feed: Feed) -> Any:
    """Return a calibrator that takes its samples from `feed`.

    Raises:
        BuildFailed: This TensorRT has none.
    """
    base = getattr(trt, _CLASSES[method], None)
    if base is None:
        raise BuildFailed(
            f"{trt.__name__} {trt.__version__} does not calibrate",
            hint="leave the table [steps.WeakTrtEngineFromOnnx] out: Int8Onnx quantises the model before",
        )

    class Calibrator(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)  # type: ignore[misc]  # pybind11 does not want super() here

        def get_batch_size(self) -> int:
            return feed.batch

        def get_batch(self, names: Sequence[str], *_: Any) -> list[int] | None:
            return feed.next(names)

        def read_calibration_cache(self, *_: Any) -> None:
            return None  # the engine itself is cached

        def write_calibration_cache(self, cache: Any, *_: Any) -> None:
            feed.table = bytes(cache)

    return Calibrator()
