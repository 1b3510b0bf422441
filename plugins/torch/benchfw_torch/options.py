"""Options of the PyTorch backends and of the export step. Light: imported in the parent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EagerOptions(_Options):
    """Options of `torch-eager`."""

    threads: PositiveInt | None = Field(None, description="Intra-op threads; default: those of the run.")
    channels_last: bool = Field(False, description="Keep weights and 4-d inputs in channels-last memory format.")


class CompileOptions(EagerOptions):
    """Options of `torch-compile`."""

    mode: Literal["default", "max-autotune-no-cudagraphs"] = Field("default", description="Mode of `torch.compile`.")
    fullgraph: bool = Field(
        True, description="Fail where a part of the model would run in eager mode; `false` records the graph breaks."
    )
    recompile_limit: PositiveInt = Field(
        64, description="Compilations of one function before it fails (PyTorch's own limit of 8 falls back to eager)."
    )


class ExportOptions(_Options):
    """Options of the step `OnnxFromTorch`."""

    opset: int = Field(20, ge=18, le=25, description="ONNX operator set; the exporter makes 18 and later.")
