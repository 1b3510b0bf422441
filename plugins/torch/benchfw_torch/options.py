"""Options of the PyTorch backends and of the export step. Light: imported in the parent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationInfo, field_validator

OPSETS = {"dynamo": (18, 25), "torchscript": (9, 20)}
"""First and last operator set of each exporter; dynamo makes 18 where less is asked for."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EagerOptions(_Options):
    """Options of `torch-eager`."""

    threads: PositiveInt | None = Field(None, description="Intra-op threads; default: those of the run.")
    cudnn_benchmark: bool = Field(
        False, description="On a CUDA device, let cuDNN try its algorithms for each shape and keep the fastest."
    )
    channels_last: bool = Field(False, description="Keep weights and 4-d inputs in channels-last memory format.")


class CompileOptions(EagerOptions):
    """Options of `torch-compile`."""

    mode: Literal["default", "max-autotune-no-cudagraphs"] = Field(
        "default",
        description="Mode of `torch.compile`. Those that capture CUDA graphs are left out: `graph` does that.",
    )
    fullgraph: bool = Field(
        True, description="Fail where a part of the model would run in eager mode; `false` records the graph breaks."
    )
    recompile_limit: PositiveInt = Field(
        64, description="Compilations of one function before it fails (PyTorch's own limit of 8 falls back to eager)."
    )


class ExportOptions(_Options):
    """Options of the step `OnnxFromTorch`."""

    exporter: Literal["dynamo", "torchscript"] = Field(
        "dynamo",
        description="`torch.export`, or the older exporter, which traces: it keeps the branches that the example took.",
    )
    opset: int = Field(
        20,
        ge=OPSETS["torchscript"][0],
        le=OPSETS["dynamo"][1],
        description="ONNX operator set; `dynamo` makes {} to {}, `torchscript` {} to {}.".format(
            *OPSETS["dynamo"], *OPSETS["torchscript"]
        ),
    )
    external_data: Literal["auto", "always"] = Field(
        "auto", description="Weights in a file of their own beside the graph: from 2 GB on, or always."
    )
    keep_io_types: bool = Field(
        True,
        description="In fp16, keep inputs and outputs as they are, with casts at both ends; `false` makes them fp16.",
    )

    @field_validator("opset")
    @classmethod
    def _made_by_the_exporter(cls, opset: int, info: ValidationInfo) -> int:
        exporter = info.data.get("exporter", "dynamo")
        low, high = OPSETS[exporter]
        if not low <= opset <= high:
            others = "; ".join(f"{name} makes {a} to {b}" for name, (a, b) in OPSETS.items() if name != exporter)
            raise ValueError(f"the exporter {exporter} makes opsets {low} to {high} ({others})")
        return opset
