"""Options of the fake backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchfw.testing.faults import NAMES

Lie = Literal["", "other-stream", "lazy", "uncapturable", "captures-nothing", "dies"]

Place = Literal[
    "init", "prepare", "load", "bind", "launch", "outputs", "facts", "counters", "profile", "explain", "close"
]
Unit = Literal["calls", "seconds"]


class FakeOptions(BaseModel):
    """Options of `fake` and `fake-special`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    latency_us: float = Field(200.0, ge=0, description="Time that one launch takes.")
    clock: Literal["real", "virtual"] = Field(
        "real", description="Spin for that time, or let a clock jump by it, which takes none."
    )
    releases_gil: bool = Field(
        False, description="Let other threads work meanwhile. Without it, services of several threads never overlap."
    )
    per_sample: bool = Field(False, description="Multiply that by the leading dimension of the first input.")
    distribution: Literal["constant", "normal", "lognormal", "ar1", "two-state", "pareto"] = Field(
        "constant", description="What successive services are drawn from, with mean `latency_us`."
    )
    seed: int = Field(0, description="Of what is drawn; below 0, each process draws something else.")
    spread: float = Field(0.02, ge=0, description="Relative standard deviation; `pareto` has its own.")
    rho: float = Field(0.0, ge=0, lt=1, description="Correlation of successive services, for `ar1`.")
    level: float = Field(1.05, gt=0, description="Second level of `two-state`, relative to the first.")
    dwell: float = Field(100.0, ge=1, description="Mean number of launches for which `two-state` stays on a level.")
    tail: float = Field(3.0, gt=1, description="Tail index of `pareto`.")
    drift: float = Field(0.0, description="Relative change per second since the first launch.")
    step: float = Field(0.0, gt=-1, description="Relative change from `step_at` on.")
    step_at: float = Field(0.0, ge=0, description="Launches of the instance, or seconds, before the step.")
    step_unit: Unit = Field("calls", description="Unit of `step_at`.")
    warmup: float = Field(0.0, gt=-1, description="Relative excess of the first launch, which decays exponentially.")
    warmup_fold: float = Field(100.0, gt=0, description="Launches, or seconds, in which it falls to 1/e.")
    warmup_unit: Unit = Field("calls", description="Unit of `warmup_fold`.")
    scale: float = Field(1.0, description="Factor of the output; other than 1 is an accuracy failure.")
    compile_at: int = Field(0, ge=0, description="Count a compilation at this launch of a slot; 0 for never.")
    compile_at_total: int = Field(
        0, ge=0, description="Count a compilation at this launch of the instance, whatever the slot; 0 for never."
    )
    provider: str = Field("fake", description="Provider that it says is in effect.")
    fact: Literal["", "numpy", "text"] = Field("", description="Say `threads_effective` as such; both are mistakes.")
    fault: str = Field("", description="What goes wrong: one of `NAMES` of `benchfw.testing.faults`.")
    at_batch: int = Field(
        0, ge=0, description="Only for this leading dimension, of inputs or of what the artifact is for; 0 for all."
    )
    at_profile: Literal["", "static", "dynamic"] = Field("", description="Only for such artifacts.")
    at: Place = Field("launch", description="The method in which it goes wrong; `launch` spares the first call.")

    @field_validator("fault")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in NAMES:
            raise ValueError(f"no such fault; there are {', '.join(NAMES)}")
        return name


class DeviceOptions(FakeOptions):
    """Options of `fake-device`. A launch takes `latency_us` on the device."""

    clock: Literal["real", "virtual"] = Field("virtual", description="As that of `fake`.")
    enqueue_us: float = Field(20.0, ge=0, description="Time of the host that enqueueing a launch takes.")
    copy_us: float = Field(5.0, ge=0, description="Time of the device for the copies in, and out; 0 if it has none.")
    cold_us: float = Field(0.0, ge=0, description="What a launch takes longer once the device's cache was flushed.")
    weights_bytes: int = Field(1 << 20, ge=0, description="Device memory that an instance takes, beside its inputs.")
    leaked_bytes: int = Field(0, ge=0, description="Of these, so many are not given back when it is closed.")
    library_bytes: int = Field(0, ge=0, description="What the first instance takes for its process besides.")
    lie: Lie = Field(
        "",
        description="`other-stream`: it works on another stream than it says; `lazy`: only once somebody waits for it; "
        "`uncapturable`: capturing raises; `captures-nothing`: as `other-stream`; "
        "`dies`: a launch breaks the device for its process.",
    )
