"""Options of the OpenVINO backend. Light: imported in the parent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class OpenVinoOptions(BaseModel):
    """Options of `openvino`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    threads: PositiveInt | None = Field(None, description="INFERENCE_NUM_THREADS; default: those of the run.")
    performance_hint: Literal["LATENCY", "THROUGHPUT"] = Field("LATENCY", description="PERFORMANCE_HINT.")
    streams: PositiveInt = Field(1, description="NUM_STREAMS; one inference at a time uses one.")
