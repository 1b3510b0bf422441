"""Options, validated before anything runs. Light, like `plugin`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TractOptions(BaseModel):
    """Options of `tract`: `[[backend]] options = { … }` in a scenario."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reuse_state: bool = Field(
        True, description="Keep the execution state between inferences, instead of a new one each."
    )
