"""Options of the steps that build engines. Light: imported in the parent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, field_validator

Capability = Annotated[str, Field(pattern=r"^[1-9][0-9]?\.[0-9]$")]


class EngineOptions(BaseModel):
    """Options of every step that builds an engine of an ONNX model."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    optimization_level: int | None = Field(
        None, ge=0, le=5, description="How long the builder searches, 0 to 5; default: the builder's own."
    )
    workspace: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,9}(KiB|MiB|GiB)$",
        description="Most device memory that a layer may use beside its tensors, as `2GiB`; default: all.",
    )
    tf32: bool = Field(False, description="Let fp32 products use TF32, which rounds their inputs to 10 bits.")
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
