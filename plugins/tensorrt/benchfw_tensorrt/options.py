"""Options of the steps that build engines. Light: imported in the parent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

_SIZE = r"^[1-9][0-9]{0,9}(KiB|MiB|GiB)$"
Capability = Annotated[str, Field(pattern=r"^[1-9][0-9]?\.[0-9]$")]
Format = Annotated[str, Field(pattern=r"^(fp32|fp16|bf16|int8|int32|int64|uint8|bool):[a-z][a-z0-9_]*$")]
Range = Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], Field(strict=False)]


class EngineOptions(BaseModel):
    """Options of every step that builds an engine of an ONNX model."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    optimization_level: int | None = Field(
        None, ge=0, le=5, description="How long the builder searches, 0 to 5; default: the builder's own."
    )
    workspace: str | None = Field(
        None,
        pattern=_SIZE,
        description="Most device memory that a layer may use beside its tensors, as `2GiB`; default: all.",
    )
    strict_nans: bool = Field(False, description="Forbid optimisations that lose a NaN on its way to the outputs.")
    weight_streaming: bool = Field(False, description="Let weights stay in host memory and stream to the device.")
    max_aux_streams: NonNegativeInt | None = Field(
        None, description="Streams beside the main one, at most; 0 for none; default: the builder decides."
    )
    log: Literal["error", "warning", "info", "verbose"] = Field(
        "warning", description="What of the builder's log goes to the log of the worker."
    )
    profiling_verbosity: Literal["none", "layer-names-only", "detailed"] = Field(
        "detailed", description="What the engine knows of its layers; `detailed` gives a list of them beside it."
    )


class RtxEngineOptions(EngineOptions):
    """Options of the step `RtxEngineFromOnnx`."""

    user_allocation: bool | None = Field(
        None,
        description="Let the engine allocate nothing as it runs, so that launches can be captured into CUDA graphs. "
        "Where values decide shapes, and with `weight_streaming`, it must be `false`. Default: unless weights stream.",
    )
    compute_capabilities: tuple[Capability, ...] = Field(
        (),
        strict=False,
        description='GPUs to build for, as `["8.6", "12.0"]`; default: one engine for all that TensorRT-RTX supports.',
    )

    @field_validator("compute_capabilities")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names one of them twice")
        return value


class TrtEngineOptions(EngineOptions):
    """Options of the step `TrtEngineFromOnnx`."""

    tactic_sources: tuple[str, ...] | None = Field(
        None,
        strict=False,
        description='Where kernels may come from, as `["jit-convolutions"]`; default: the builder\'s own choice.',
    )
    hardware_compatibility: Literal["none", "ampere-plus", "same-compute-capability"] = Field(
        "none",
        description="Other GPUs that the engine shall be able to run on, at the price of speed: to measure that price, "
        "or for a copy of the engine. benchfw itself builds one for each GPU.",
    )
    version_compatible: bool = Field(
        False,
        description="Let later TensorRTs of the same major version load the engine: to measure what that costs, or for "
        "a copy of it. benchfw itself builds one for each version.",
    )
    refit: bool = Field(False, description="Let weights be exchanged in the finished engine.")
    sparse_weights: bool = Field(False, description="Use kernels for weights of which two in four are zero.")
    timing_iterations: PositiveInt | None = Field(
        None, description="How often a kernel is timed; default: the builder's own."
    )
    timing_cache: bool = Field(
        True, description="Keep what kernels took in the cache, for later builds; `false` times them anew each time."
    )
    io_formats: dict[str, Format] = Field(
        {},
        description='Types of inputs and outputs as `{ image = "fp16:chw" }`. Another type than the model\'s needs '
        "weak typing. `chw`, rows, is the one layout that the backends fill and read.",
    )
    profiles: tuple[dict[str, Range], ...] = Field(
        (),
        strict=False,
        description="Several profiles in place of one, each with ranges of axes as `{ batch = [1, 1, 4] }` (min, opt, "
        "max); axes that are not named keep the range of the case.",
    )

    @field_validator("io_formats")
    @classmethod
    def _fed(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            kind, _, layout = text.partition(":")
            if layout != "chw":
                raise ValueError(f"{name} = {text}: the backends fill and read rows alone, {kind}:chw")
            if kind == "bf16":
                raise ValueError(f"{name} = {text}: numpy has no bf16, so that nothing could fill it; use fp32")
        return value

    @field_validator("profiles")
    @classmethod
    def _ascending(cls, value: tuple[dict[str, tuple[int, int, int]], ...]) -> tuple[dict[str, Any], ...]:
        for axis, sizes in (item for profile in value for item in profile.items()):
            if list(sizes) != sorted(sizes):
                raise ValueError(f"{axis} needs min <= opt <= max, not {list(sizes)}")
        return value


class WeakEngineOptions(TrtEngineOptions):
    """Options of the step `WeakTrtEngineFromOnnx`."""

    also: tuple[Literal["fp16", "bf16", "int8"], ...] = Field(
        (), strict=False, description="Precisions that layers may use beside that of the case, as fp16 beside int8."
    )
    calibration: str | None = Field(
        None,
        min_length=1,
        description="Folder of `.npz`, `.npy` or images for int8, or `python:MODULE:CALLABLE`; default: random.",
    )
    samples: PositiveInt = Field(64, description="Samples to calibrate with, at most.")
    calibrator: Literal["entropy", "minmax"] = Field("entropy", description="How ranges of activations are found.")
    image_mean: tuple[float, float, float] = Field(
        (0.485, 0.456, 0.406), strict=False, description="Subtracted from images, whose pixels are from 0 to 1."
    )
    image_std: tuple[float, float, float] = Field(
        (0.229, 0.224, 0.225), strict=False, description="Images are divided by this afterwards."
    )


class TrtOptions(BaseModel):
    """Options of the backends `trt-static` and `trt-dynamic`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    weight_streaming_budget: str | None = Field(
        None,
        pattern=_SIZE,
        description="Device memory for weights of an engine that streams them, as `2GiB`; default: all of them.",
    )
    log: Literal["error", "warning", "info", "verbose"] = Field(
        "warning", description="What of TensorRT's log goes to the log of the worker."
    )


class RtxOptions(TrtOptions):
    """Options of the backend `trt-rtx`."""

    specialization: Literal["eager", "lazy", "none"] = Field(
        "eager",
        description="When kernels for a shape of a dynamic engine are compiled: before it is first launched; in the "
        "background, while others do (launches get faster at some time); or never.",
    )
    runtime_cache: bool = Field(
        False, description="Keep compiled kernels in the cache, for later processes; `false` compiles them in each."
    )
