"""`DenormalFreeWeights`: weights so small that CPUs compute with them many times slower become 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw.spec.onnx_files import denormal, load, save, tensors
from benchfw_onnxruntime.verify import agreement, require_same

FP16_SMALLEST = 2.0**-24
FP16_SMALLEST_NORMAL = 2.0**-14
FP16_LARGEST = 65504.0


class DenormalFreeWeights(Step):
    """Options: `benchfw_onnxruntime.options.DenormalOptions`."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        model = load(Path(artifact.path))
        zeroed, tensors_changed = 0, 0
        fp16 = {"zeroed": 0, "subnormal": 0, "above": 0}
        for tensor, array in float_weights(model):
            small = denormal(array)
            zeroed += int(np.count_nonzero(small))
            if self.options["fp16"]:
                counts = fp16_counts(array)
                fp16 = {key: fp16[key] + counts[key] for key in fp16}
                small = np.abs(array) < FP16_SMALLEST
            small &= array != 0
            if small.any():
                tensors_changed += 1
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(small, np.float32(0), array), tensor.name))
        save(model, destination)
        allowed = "fp16" if self.options["fp16"] else artifact.precision
        same = agreement(artifact.path, destination, inputs, profile, allowed, self.report)
        return {
            "zeroed": zeroed,
            "tensors": tensors_changed,
            **({"fp16": fp16, "warnings": fp16_warnings(fp16)} if self.options["fp16"] else {}),
            "agreement": require_same(same, "the model without small weights", "remove [steps.DenormalFreeWeights]"),
        }


def float_weights(model: onnx.ModelProto) -> list[tuple[onnx.TensorProto, NDArray[np.float32]]]:
    """Return every float32 tensor of more than one element; a scalar may be a tiny number on purpose (an epsilon)."""
    found = [tensor for tensor in tensors(model) if tensor.data_type == onnx.TensorProto.FLOAT]
    arrays = ((tensor, onnx.numpy_helper.to_array(tensor)) for tensor in found)
    return [(tensor, array) for tensor, array in arrays if array.size > 1]


def fp16_counts(array: NDArray[np.float32]) -> dict[str, int]:
    """Count what float16 cannot hold: `zeroed` (0 < |w| < 2^-24), `subnormal` (below 2^-14), `above` 65504."""
    size = np.abs(array)
    below = int(np.count_nonzero((size < FP16_SMALLEST) & (size > 0)))
    subnormal = int(np.count_nonzero((size < FP16_SMALLEST_NORMAL) & (size >= FP16_SMALLEST)))
    return {"zeroed": below, "subnormal": subnormal, "above": int(np.count_nonzero(size > FP16_LARGEST))}


def fp16_warnings(counts: Mapping[str, int]) -> list[str]:
    """Say what becomes of weights beyond float16's range."""
    if not counts["above"]:
        return []
    return [f"{counts['above']} weights are above {FP16_LARGEST:g}, the largest number of float16"]
