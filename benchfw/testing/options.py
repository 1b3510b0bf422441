"""Options of the fake backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Fault = Literal[
    "",
    "crash",
    "exit",
    "hang",
    "memory",
    "raise",
    "Unsupported",
    "MissingDependency",
    "BuildFailed",
    "OutOfMemory",
    "FellBack",
    "Invalid",
]


class FakeOptions(BaseModel):
    """Options of `fake` and `fake-dynamic`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    latency_us: float = Field(200.0, ge=0, description="Time that one launch spins.")
    per_sample: bool = Field(False, description="Multiply that by the leading dimension of the first input.")
    scale: float = Field(1.0, description="Factor of the output; other than 1 is an accuracy failure.")
    compile_at: int = Field(0, ge=0, description="Count a compilation at this launch of a slot; 0 for never.")
    provider: str = Field("fake", description="Provider that it says is in effect.")
    fact: Literal["", "numpy", "text"] = Field("", description="Say `threads_effective` as such; both are mistakes.")
    fault: Fault = Field("", description="What goes wrong.")
    at_batch: int = Field(
        0, ge=0, description="Only for inputs of this leading dimension (`bind`, `launch`); 0 for all."
    )
    at_profile: Literal["", "static", "dynamic"] = Field("", description="Only for such artifacts.")
    at: Literal["prepare", "load", "bind", "launch"] = Field("launch", description="Where; `launch` spares the first.")
