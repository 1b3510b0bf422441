"""Options of the ONNX Runtime backends. Light: imported in the parent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


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
