"""The shape of a scenario file, as pydantic models: strict, frozen, unknown keys refused.

`benchfw schema` prints the JSON Schema of `Scenario`; the descriptions below are its documentation.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from benchfw.spec.backend import Precision
from benchfw.spec.device import DEVICE_PATTERN
from benchfw.spec.info import MAX_NAME, NAME_PATTERN
from benchfw.spec.tensors import AxisRange as SpecRange

EFFORTS = ("quick", "standard", "report")
INTERLEAVES = ("all", "session", "off")

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h)\s*")


def parse_duration(value: Any) -> Any:
    """Turn `"3min"`, `"90s"`, `"1.5 h"` or `"200ms"` into seconds; leave other values for pydantic to judge."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError("a duration is a number and a unit: ms, s, min or h, as in '3min'")
    return float(match[1]) * _UNITS[match[2]]


Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[Positive, BeforeValidator(parse_duration, json_schema_input_type=str | Positive)]
Size = Annotated[int, Field(gt=0, lt=1 << 31)]
"""What a 32-bit column of the results holds."""
CachePolicy = Literal["rotate", "warm", "flush"]

Dim = Size | Literal[-1] | Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def axis_name(text: str) -> str:
    """Return the nearest text that can be the name of an axis: graphs name theirs as they like (`input.1_0`)."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdecimal() else name


class Strict(BaseModel):
    """Base of all tables."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _named_axes(name: str, shape: list[int | str]) -> list[int | str]:
    return [dim if dim != -1 else axis_name(f"{name}_{place}") if place else "batch" for place, dim in enumerate(shape)]


class Input(Strict):
    """One input of the model."""

    shape: list[Dim] = Field(
        description="Per dimension a size, the name of an axis, or -1 for an axis that is called `batch` if it comes "
        "first and else after input and place: `x_2`."
    )
    dtype: Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"] = Field(
        "float32", description="Element type."
    )
    low: float | None = Field(
        None, allow_inf_nan=False, description="Lower bound of random values; without bounds floats are normal(0, 1)."
    )
    high: float | None = Field(
        None, allow_inf_nan=False, description="Upper bound of random values, exclusive; integers need it."
    )


class Model(Strict):
    """What is benchmarked."""

    ref: str = Field(
        pattern=r"^[a-z][a-z0-9_]*:.+$",
        description="`builtin:NAME`, `onnx:PATH` or `python:MODULE:CALLABLE`; paths start at the scenario file.",
    )
    name: Name | None = Field(None, description="Name in the results; default: from `ref`.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of random weights and of random inputs.")
    weights: str | None = Field(
        None, description="File of weights to load: safetensors, or a state dict as its framework saves it."
    )
    data: str | None = Field(None, description="Folder of `.npy` or `.npz` samples to use instead of random inputs.")
    inputs: dict[str, Input] = Field({}, description="Inputs by name; default: what the model itself says.")

    @field_validator("inputs")
    @classmethod
    def _named(cls, inputs: dict[str, Input]) -> dict[str, Input]:
        """Give the axes that are -1 their names."""
        return {name: item.model_copy(update={"shape": _named_axes(name, item.shape)}) for name, item in inputs.items()}


class AxisRange(Strict):
    """Sizes of a named axis."""

    min: Size = Field(description="Smallest size.")
    opt: Size = Field(description="Size to optimise for.")
    max: Size = Field(description="Largest size.")

    @model_validator(mode="after")
    def _ordered(self) -> AxisRange:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"needs min <= opt <= max, got {self.min}, {self.opt}, {self.max}")
        return self

    def to_spec(self) -> SpecRange:
        return SpecRange(min=self.min, opt=self.opt, max=self.max)


class FixedSweep(BaseModel):
    """Artifacts specialised to one shape each; one list of sizes per axis, their product is measured."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, Annotated[list[Size], Field(min_length=1)]] = Field(init=False)

    kind: Literal["fixed"] = Field(description="Beside it one list of sizes per axis, as in `batch = [1, 8]`.")

    @property
    def axes(self) -> dict[str, list[int]]:
        return dict(self.__pydantic_extra__ or {})


class MinOptMaxSweep(Strict):
    """The dynamic artifact at the three points of `[shapes]`."""

    kind: Literal["min-opt-max"] = Field(description="Nothing else is to be said.")


class RandomBatchSweep(Strict):
    """The dynamic artifact under a random sequence of sizes of one axis, the same for every backend."""

    kind: Literal["random-batch"] = Field(description="A mixture of sizes.")
    axis: str = Field("batch", description="The axis that varies; the others stay at `opt`.")
    range: Literal["min..opt", "min..max", "opt..max"] | Annotated[list[Size], Field(min_length=2, max_length=2)] = (
        Field("min..opt", description="Sizes, both ends included: two points of `[shapes]`, or `[low, high]`.")
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the order.")
    draw: Literal["permuted", "iid", "trace"] = Field(
        "permuted",
        description="Concatenated random permutations of the sizes; independent draws; or the list in `trace`.",
    )
    trace: Annotated[list[Size], Field(min_length=1)] | None = Field(
        None, description='The sequence for `draw = "trace"`.'
    )

    @model_validator(mode="after")
    def _trace_fits(self) -> RandomBatchSweep:
        if (self.draw == "trace") != (self.trace is not None):
            raise ValueError('`draw = "trace"` and `trace = [...]` need each other')
        if isinstance(self.range, list) and self.range[0] > self.range[1]:
            raise ValueError(f"the range {self.range} is upside down")
        return self


Sweep = Annotated[FixedSweep | MinOptMaxSweep | RandomBatchSweep, Field(discriminator="kind")]


class Deadlines(Strict):
    """How long the parent waits for a worker."""

    build: Seconds = Field(1200.0, description="Export, compile, first inference of a shape.")
    load: Seconds = Field(300.0, description="Importing the framework, loading an artifact, binding inputs.")
    block: Seconds = Field(30.0, description="One block; or 20 times its expected length, if that is longer.")


_OF = "Default: that of the effort."


class Measure(Strict):
    """How much is measured."""

    effort: Literal["quick", "standard", "report"] = Field("standard", description="How precise; also `--effort`.")
    budget: Seconds | None = Field(
        None,
        description="Time for warm-up and blocks of the whole run, shared out over the cohorts; preparation is extra.",
    )
    median_width: Width | None = Field(
        None, description=f"Half of the median's interval over the median, at most. {_OF}"
    )
    p99_width: Width | None = Field(None, description=f"The same for the 99th percentile. {_OF}")
    throughput_width: Width | None = Field(None, description=f"The same for the throughput. {_OF}")
    min_time: Seconds | None = Field(None, description=f"Time that a case is measured at least. {_OF}")
    max_time: Seconds | None = Field(None, description=f"Time that a case is measured at most. {_OF}")
    settle_time: Seconds | None = Field(None, description=f"Time that warm-up waits for a steady machine. {_OF}")
    max_iterations: Size | None = Field(None, description=f"Iterations of a case, at most. {_OF}")
    min_blocks: Annotated[int, Field(ge=4, le=10_000)] | None = Field(
        None, description=f"Steady blocks of each invocation, at least. {_OF}"
    )
    invocations: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description=f"Fresh processes that each case is measured in. {_OF}"
    )
    builds: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None,
        description="Builds of each engine, as artifacts of their own. The invocations of a case take turns with them; "
        "there are as many of these at least, and twice as many tell builds from processes. Default: 1.",
    )
    depths: Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=1)] | None = Field(
        None,
        description="Numbers of outstanding inferences to try for the throughput; the best one is measured. Default: "
        "1 for `quick`, else 1, 2, 4, 8 as far as there are CPUs.",
    )
    cache: CachePolicy = Field(
        "rotate",
        description="Go round several sets of inputs, larger than the last-level cache; or repeat one; or, on a "
        "device, flush its cache before each inference. A backend's own `cache` replaces it.",
    )
    interleave: Literal["all", "session", "off"] = Field(
        "all", description="Whose cases take turns: all of a cohort, those of one worker, or none."
    )
    profile: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0,
        description="Inferences over which every case of one shape is profiled by layer, once its cohort is measured, "
        "in a worker of its own; 0 for none. What cannot be profiled says so by the warning P01.",
    )
    samplers: list[Name] | None = Field(
        None,
        description="What to read ten times per second beside the measurement, from a process of its own: names of "
        "installed samplers, see `benchfw backends`. Default: `host`, and `nvml` if cases run on a GPU; `[]`: none.",
    )
    deadlines: Deadlines = Field(
        Deadlines(build=1200.0, load=300.0, block=30.0), description="How long the parent waits for a worker."
    )


class OutputTolerance(Strict):
    """What an output may differ by. What is not given is that of its precision."""

    rel_l2: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="Relative L2 above which it fails.")
    rel_l2_warn: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Relative L2 above which it is a `warn`; at most `rel_l2`."
    )
    rtol: Share | None = Field(
        None, description="An element is outside if it differs by more than rtol abs(r) + atol RMS(r)."
    )
    atol: Share | None = Field(None, description="The other term of it.")
    outside_share: Share | None = Field(None, description="Share of the elements that may be outside.")
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = Field(None, description="Cosine that it has at least.")


class PrecisionTolerance(OutputTolerance):
    """What outputs of a precision may differ by, in place of the default; what only this lets pass is told by R05."""

    outputs: dict[str, OutputTolerance] = Field(
        {},
        description="The same for single outputs by the reference's names; what is not given is that of all outputs.",
    )


class Accuracy(Strict):
    """What outputs are compared with."""

    reference: str | None = Field(None, description="Name of a backend of this file; default: its first fp32 one.")
    may_repeat: bool = Field(
        False,
        description="The model may give constant outputs, or the same ones for different inputs: V01 does not ask for "
        "others.",
    )
    tolerance: dict[Precision, PrecisionTolerance] = Field(
        {}, description="What outputs may differ by, by precision; see docs/concepts/accuracy.md."
    )


class BackendEntry(Strict):
    """One backend, in one or more precisions."""

    use: Name = Field(description="Name of an installed backend, see `benchfw backends`.")
    name: Name | None = Field(None, description="Name in the results; default: `use`.")
    precision: list[Precision] = Field(["fp32"], min_length=1, description="Precisions to compute in, a case each.")
    environment: str | None = Field(
        None, description="A table of `[environments]`; default: benchfw's own interpreter."
    )
    device: str | None = Field(
        None,
        pattern=DEVICE_PATTERN,
        description="`cpu`, `cuda`, or one of several, `cuda:1`; default: `cpu` where the backend runs on it.",
    )
    io_scope: list[Literal["device", "pinned"]] | None = Field(
        None,
        min_length=1,
        description="On a device, what an inference is, a case each: from device memory to device memory, or from "
        '"pinned" (page-locked) memory of the host and back. Default: `["device"]`.',
    )
    graph: list[Literal["off", "on"]] | None = Field(
        None,
        min_length=1,
        description='On a device, whether launches are replayed from a CUDA graph, a case each. Default: `["off"]`.',
    )
    sync: list[Literal["spin", "blocking"]] | None = Field(
        None,
        min_length=1,
        description="On a device, how the host waits for outputs, a case each: it spins, or lets its CPU sleep, which "
        'notices later. Default: `["spin"]`, and `["blocking"]` for a backend whose launches return complete: it has '
        "no other.",
    )
    cache: list[CachePolicy] | None = Field(
        None,
        min_length=1,
        description="On a device, what each inference finds in its last-level cache, a case each; see `cache` of "
        "`[measure]`, which is the default.",
    )
    optional: bool = Field(False, description="Skip it, with a row that says so, if no plugin provides it.")
    allow_fallback: bool = Field(
        False,
        description="Measure it also where another provider or precision is in effect than the one asked for: the row "
        "says which by `provider_effective` and `precision_effective`, with the warning V05. Else it is a `FALLBACK`.",
    )
    options: dict[str, Any] = Field({}, description="Options of the backend, see docs/reference/backends.md.")
    steps: dict[str, dict[str, Any]] = Field(
        {},
        description="Options of artifact steps by their names, for this backend alone: each comes before that of "
        "`[steps]`.",
    )

    @property
    def label(self) -> str:
        return self.name or self.use


class EnvironmentEntry(Strict):
    """An interpreter to run workers on. It needs numpy and the frameworks that run on it."""

    python: str | None = Field(
        None,
        description="A path, or a name on PATH. Or a version, as `3.10`: the environment of this name that "
        "`benchfw env create` made of it, else one that is found and has numpy. Default: the environment of this name, "
        "of any version.",
    )
    packages: list[str] = Field(
        [], description='Requirements that it must satisfy, as `["numpy==2.1.0"]`; else its cases are skipped.'
    )
    env: dict[str, str] = Field({}, description="Environment variables of its workers.")


class Scenario(Strict):
    """A scenario: one model, the shapes and sweeps to run it through, and the backends to run it on."""

    name: Name = Field(description="Name of the scenario in the results.")
    description: str = Field("", description="For people.")
    threads: Size | None = Field(None, description="Threads of every backend; default: what affinity and quota allow.")
    model: Model = Field(description="What is benchmarked.")
    shapes: dict[str, AxisRange] = Field({}, description="Range of every named axis.")
    sweep: list[Sweep] = Field(min_length=1, description="The shapes that are measured.")
    measure: Measure = Field(Measure(), description="How much is measured.")
    accuracy: Accuracy = Field(Accuracy(), description="What outputs are compared with.")
    backend: list[BackendEntry] = Field(min_length=1, description="What runs the model.")
    environments: dict[str, EnvironmentEntry] = Field({}, description="Other interpreters, by name.")
    steps: dict[str, dict[str, Any]] = Field(
        {}, description="Options of artifact steps by their names, for all backends."
    )

    def steps_of(self, entry: BackendEntry) -> dict[str, dict[str, Any]]:
        """Return the options of artifact steps that hold for a backend: its own before those of `[steps]`."""
        names = dict.fromkeys((*self.steps, *entry.steps))
        return {name: {**self.steps.get(name, {}), **entry.steps.get(name, {})} for name in names}

    @property
    def model_name(self) -> str:
        """The model's name in results: `model.name`, or the last part of the reference."""
        if self.model.name:
            return self.model.name
        last = re.split(r"[:/\\]", self.model.ref)[-1]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", last.removesuffix(".onnx")).strip("-.") or "model"

    @property
    def reference(self) -> str | None:
        """Name of the backend that the others are compared with."""
        if self.accuracy.reference:
            return self.accuracy.reference
        return next((entry.label for entry in self.backend if "fp32" in entry.precision), None)
