"""`OnnxFromTorch`: torch.onnx.export (dynamo), for one shape or with dynamic axes, as a single file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchfw.errors import BuildFailed
from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw_torch.sources import build
from benchfw_torch.tensors import example_inputs, named_outputs


class OnnxFromTorch(Step):
    """Options: `benchfw_torch.options.ExportOptions`."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        model = build(artifact)
        example = example_inputs(inputs, profile.sizes("opt"))
        with torch.inference_mode():
            outputs = list(named_outputs(model(**example)))
        dims = {
            name: torch.export.Dim(name, min=axis.min, max=axis.max)
            for name, axis in profile.axes.items()
            if axis.min != axis.max
        }
        shapes = {
            spec.name: {place: dims[dim] for place, dim in enumerate(spec.shape) if dim in dims} for spec in inputs
        }
        try:
            torch.onnx.export(
                model,
                (),
                str(destination),
                kwargs=example,
                input_names=list(example),
                output_names=outputs,
                opset_version=self.options["opset"],
                dynamic_shapes=shapes if dims else None,
                dynamo=True,
                external_data=False,
            )
        except Exception as error:
            raise BuildFailed(
                f"torch.onnx.export: {_first_line(error)}", hint="the log has the whole report"
            ) from error
        return {"opset": self.options["opset"]}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
