"""Options of the fake backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchfw.testing.fakes import DEEDS, LIES

Place = Literal["init", "prepare", "load", "bind", "launch", "outputs", "facts", "counters", "explain", "close"]


class FakeOptions(BaseModel):
    """Options of `fake` and `fake-special`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    latency_us: float = Field(200.0, ge=0, description="Time that one launch takes.")
    clock: Literal["real", "virtual"] = Field(
        "real", description="Spin for that time, or let a clock jump by it, which takes none."
    )
    per_sample: bool = Field(False, description="Multiply that by the leading dimension of the first input.")
    scale: float = Field(1.0, description="Factor of the output; other than 1 is an accuracy failure.")
    compile_at: int = Field(0, ge=0, description="Count a compilation at this launch of a slot; 0 for never.")
    provider: str = Field("fake", description="Provider that it says is in effect.")
    fact: Literal["", "numpy", "text"] = Field("", description="Say `threads_effective` as such; both are mistakes.")
    fault: str = Field("", description="What goes wrong: a name in `DEEDS` or `LIES` of `benchfw.testing.fakes`.")
    at_batch: int = Field(
        0, ge=0, description="Only for this leading dimension, of inputs or of what the artifact is for; 0 for all."
    )
    at_profile: Literal["", "static", "dynamic"] = Field("", description="Only for such artifacts.")
    at: Place = Field("launch", description="The method in which it goes wrong; `launch` spares the first call.")

    @field_validator("fault")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in DEEDS and name not in LIES:
            raise ValueError(f"no such fault; there are {', '.join([*DEEDS, *LIES])}")
        return name
