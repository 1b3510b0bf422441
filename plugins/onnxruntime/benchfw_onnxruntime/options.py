"""Options of the ONNX Runtime backends and of the steps from ONNX to ONNX. Light: imported in the parent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class CpuOptions(BaseModel):
    """Options of `ort-cpu`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    threads: PositiveInt | None = Field(None, description="Intra-op threads; default: those of the run.")
    inter_op_threads: PositiveInt = Field(1, description="Threads across operators; above 1 operators run in parallel.")
    optimization: Literal["disabled", "basic", "extended", "all"] = Field(
        "all", description="Level of graph optimisation."
    )
    spinning: bool = Field(True, description="Idle threads spin for a while before they sleep.")
    denormal_as_zero: bool = Field(
        False, description="Flush denormal numbers to zero; the first session of a process decides."
    )


class _StepOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SimplifyOptions(_StepOptions):
    """Options of the step `SimplifiedOnnx`."""

    tool: Literal["onnxsim", "onnxslim", "onnxoptimizer"] = Field("onnxsim", description="What simplifies the graph.")
    passes: list[str] = Field([], description="Passes of onnxoptimizer, in order; it needs them, the others take none.")

    @model_validator(mode="after")
    def _passes_belong_to_onnxoptimizer(self) -> SimplifyOptions:
        if bool(self.passes) != (self.tool == "onnxoptimizer"):
            raise ValueError('tool = "onnxoptimizer" needs a list `passes`, the other tools take none')
        return self


class DenormalOptions(_StepOptions):
    """Options of the step `DenormalFreeWeights`."""

    fp16: bool = Field(
        False, description="Zero what float16 cannot hold as well, |w| < 2^-24, and count what it holds badly."
    )


class HalfOptions(_StepOptions):
    """Options of the step `HalfOnnx`."""

    tool: Literal["auto", "modelopt", "onnxruntime"] = Field(
        "auto", description="What converts; `auto` takes modelopt's AutoCast where that is installed."
    )
    io: Literal["fp32", "fp16"] = Field("fp32", description="Types of the graph's float inputs and outputs.")


class Int8Options(_StepOptions):
    """Options of the step `Int8Onnx`."""

    recipe: Literal["cpu", "tensorrt"] = Field(
        "cpu", description="For whom: uint8 activations and int32 biases for CPUs, symmetric int8 for TensorRT."
    )
    tool: Literal["onnxruntime", "modelopt"] = Field(
        "onnxruntime", description="What quantises; modelopt has a recipe of its own, for TensorRT."
    )
    calibration: str | None = Field(
        None,
        min_length=1,
        description="Folder of `.npz`, `.npy` or images, or `python:MODULE:CALLABLE`; default: random inputs.",
    )
    samples: PositiveInt = Field(16, description="Samples to calibrate with, at most.")
    method: Literal["minmax", "entropy", "percentile"] = Field(
        "minmax", description="How ranges of activations are found."
    )
    per_channel: bool = Field(True, description="A scale for each output channel of a weight.")
    op_types: list[str] = Field([], description="Operators to quantise; default: those of the recipe.")
    nodes_to_exclude: list[str] = Field([], description="Names of nodes that stay as they are.")
    image_mean: tuple[float, float, float] = Field(
        (0.485, 0.456, 0.406), strict=False, description="Subtracted from images, whose pixels are from 0 to 1."
    )
    image_std: tuple[float, float, float] = Field(
        (0.229, 0.224, 0.225), strict=False, description="What images are divided by after that."
    )
