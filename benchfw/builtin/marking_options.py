"""Options of `MarkedOnnx`. Light: imported in the parent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MarkedOptions(BaseModel):
    """Options of `MarkedOnnx`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    tensors: list[str] = Field([], description="Tensors that become outputs of the graph.")
