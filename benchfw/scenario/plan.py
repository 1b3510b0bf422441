"""From a scenario to its cases, grouped into cohorts (measured together) and sessions (served by one worker)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchfw.scenario.modes import device_label, device_of, modes_of
from benchfw.scenario.schema import BackendEntry, FixedSweep, MinOptMaxSweep, RandomBatchSweep, Scenario, Sweep
from benchfw.scenario.sequence import BatchSequence
from benchfw.scenario.tolerances import tolerance_of
from benchfw.spec.accuracy import Tolerance
from benchfw.spec.backend import BackendInfo
from benchfw.spec.device import CPU, CUDA, DeviceName
from benchfw.spec.tensors import AxisRange, Profile, axis_slug
from benchfw.worker.timing import Mode

POINTS = ("min", "opt", "max")
BATCH_AXIS = "batch"


@dataclass(frozen=True, kw_only=True)
class Session:
    """A worker process, and what all cases that it serves share.

    Attributes:
        session_id: `NAME-PRECISION`.
        entry: The backend's table of the scenario.
        info: What its plugin says; None if no installed plugin provides it.
        precision: The requested precision.
        environment: Name of the interpreter.
        options: Validated options, defaults filled in.
        steps: Options of artifact steps that the scenario gives for the backend, by their names.
        tolerance: What its outputs may differ by where the scenario sets that; None for the default of its precision.
        threads: Of each inference; 0 for as many as the run's settings say.
        device: What it runs on: `cpu`, `cuda:0`, ….
        arm: Arm of a comparison that it belongs to; None outside of one.
    """

    session_id: str
    entry: BackendEntry
    info: BackendInfo | None
    precision: str
    environment: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tolerance: Tolerance | None = None
    threads: int = 0
    device: str = CPU
    arm: str | None = None

    @property
    def device_kind(self) -> str:
        return DeviceName.parse(self.device).kind


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the result.

    Attributes:
        case_id: Readable slug of its labels, the same in every run.
        cohort_id: The point of the sweep that it belongs to.
        session: What serves it.
        profile: Sizes for which its artifact is made.
        sizes: Size of every axis; without the varying one for a random sequence.
        sequence: The random sequence, or None for one shape.
        sweeps: Kinds of the sweeps that ask for it; more than one where they would measure the same thing.
        point: `min`, `opt`, `max`, or None outside of a `min-opt-max` sweep.
        mode: What is timed, and how.
        status: None if it can be measured; else the status that its row has from the start.
        reason: Why it has that status.
        remedy: What would change it.
    """

    case_id: str
    cohort_id: str
    session: Session
    profile: Profile
    sizes: Mapping[str, int]
    sequence: BatchSequence | None
    sweeps: tuple[str, ...]
    point: str | None = None
    mode: Mode = field(default_factory=Mode)
    status: str | None = None
    reason: str = ""
    remedy: str = ""

    @property
    def artifact_kind(self) -> str:
        """`static`, `dynamic`, or `any` where the backend makes no difference."""
        return _artifact_kind(self.session.info, self.profile)

    @property
    def instance_key(self) -> str:
        """What it shares a loaded artifact by, with other cases of its session."""
        return "-".join(filter(None, (self.profile.slug, self.device_label)))

    @property
    def device_label(self) -> str:
        """Device and mode in a word: `cuda-device-graph`; empty on the CPU."""
        return device_label(self.session.entry, self.session.device, self.mode)

    @property
    def batch(self) -> int | None:
        """Size of the batch axis; None if there is none, or if it varies."""
        return self.sizes.get(BATCH_AXIS)


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """One point of the sweep across all backends: its cases are measured, stored and journaled together."""

    cohort_id: str
    cases: tuple[Case, ...]

    @property
    def runnable(self) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if case.status is None)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All cases of a scenario, in the order in which they are measured."""

    cohorts: tuple[Cohort, ...]

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple(case for cohort in self.cohorts for case in cohort.cases)

    @property
    def sessions(self) -> dict[str, Session]:
        return {case.session.session_id: case.session for case in self.cases}


@dataclass(frozen=True)
class _Point:
    """One point of one sweep."""

    sweep: str
    sizes: Mapping[str, int]
    point: str | None = None
    sequence: BatchSequence | None = None

    @property
    def cohort_id(self) -> str:
        parts = [axis_slug(axis, str(size)) for axis, size in sorted(self.sizes.items())]
        if self.sequence is not None:
            parts.insert(0, self.sequence.slug)
        return "_".join(parts) or "fixed"


def make_plan(
    scenario: Scenario,
    *,
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any] | None = None,
    only_backends: frozenset[str] = frozenset(),
    only_sweeps: frozenset[str] = frozenset(),
    has_gpu: bool = True,
) -> Plan:
    """Plan the cases of a scenario.

    Args:
        scenario: A scenario without faults.
        backends: Every backend that plugins provide.
        options: Pydantic model of the options of each backend by name.
        only_backends: Names to keep; empty for all. The reference stays, since the others are compared with it.
        only_sweeps: Kinds of sweeps to keep; empty for all.
        has_gpu: There is one here; else cases on `cuda` are skipped.
    """
    sessions = list(_sessions(scenario, backends, options or {}, only_backends))
    points = [
        point
        for sweep in scenario.sweep
        if not only_sweeps or sweep.kind in only_sweeps
        for point in _points(sweep, scenario)
    ]
    cache = scenario.measure.cache
    kinds = [
        (session, mode) for session in sessions for mode in modes_of(session.entry, session.info, session.device, cache)
    ]
    cohorts: dict[str, dict[tuple[str, str], Case]] = {}
    for point in points:
        cases = cohorts.setdefault(point.cohort_id, {})
        for session, mode in kinds:
            case = _case(point, session, mode, scenario, has_gpu=has_gpu)
            key = (session.session_id, case.case_id)
            known = cases.get(key)
            if known is not None:
                sweeps = tuple(dict.fromkeys((*known.sweeps, *case.sweeps)))
                case = replace(known, sweeps=sweeps, point=known.point or case.point)
            cases[key] = case
    return Plan(
        cohorts=tuple(Cohort(cohort_id=cohort_id, cases=tuple(cases.values())) for cohort_id, cases in cohorts.items())
    )


def places(
    scenario: Scenario, backends: Mapping[str, BackendInfo], only_backends: frozenset[str] = frozenset()
) -> dict[tuple[str, str], None]:
    """Return on which devices a scenario measures, in which environments: `("cuda:0", "default")`, as keys."""
    return {
        (session.device, session.environment): None
        for session in _sessions(scenario, backends, {}, only_backends)
        if session.info is not None and session.device_kind in session.info.capabilities.devices
    }


def _sessions(
    scenario: Scenario, backends: Mapping[str, BackendInfo], options: Mapping[str, Any], only: frozenset[str]
) -> Iterator[Session]:
    for entry in scenario.backend:
        if only and entry.label not in only and entry.label != scenario.reference:
            continue
        model = options.get(entry.use)
        values = model.model_validate(entry.options).model_dump(mode="json") if model else dict(entry.options)
        for precision in dict.fromkeys(entry.precision):
            yield Session(
                session_id=f"{entry.label}-{precision}",
                entry=entry,
                info=backends.get(entry.use),
                precision=precision,
                environment=entry.environment or "default",
                options=values,
                steps=scenario.steps_of(entry),
                tolerance=tolerance_of(scenario.accuracy, precision),
                threads=scenario.threads or 0,
                device=device_of(entry.device, backends.get(entry.use)),
            )


def _points(sweep: Sweep, scenario: Scenario) -> Iterator[_Point]:
    axes = {name: axis.to_spec() for name, axis in scenario.shapes.items()}
    if isinstance(sweep, FixedSweep):
        lists = {name: sweep.axes.get(name, [axis.opt]) for name, axis in axes.items()}
        for combination in itertools.product(*lists.values()):
            yield _Point("fixed", dict(zip(lists, combination, strict=True)))
    elif isinstance(sweep, MinOptMaxSweep):
        seen = []
        for name in POINTS:
            sizes = Profile(axes).sizes(name)
            if sizes not in seen:  # min = opt is one point, not two
                seen.append(sizes)
                yield _Point("min-opt-max", sizes, name)
    else:
        others = {name: axis.opt for name, axis in axes.items() if name != sweep.axis}
        yield _Point("random-batch", others, sequence=_sequence(sweep, axes[sweep.axis]))


def _sequence(sweep: RandomBatchSweep, axis: AxisRange) -> BatchSequence:
    if sweep.trace is not None:
        sizes = sorted(set(sweep.trace))
    elif isinstance(sweep.range, list):
        sizes = list(range(sweep.range[0], sweep.range[1] + 1))
    else:
        low, high = (int(getattr(axis, point)) for point in sweep.range.split(".."))
        sizes = list(range(low, high + 1))
    return BatchSequence(
        axis=sweep.axis, sizes=tuple(sizes), draw=sweep.draw, seed=sweep.seed, trace=tuple(sweep.trace or ())
    )


def _case(point: _Point, session: Session, mode: Mode, scenario: Scenario, *, has_gpu: bool) -> Case:
    info = session.info
    dynamic = Profile({name: axis.to_spec() for name, axis in scenario.shapes.items()})
    specialised = point.sweep == "fixed" and (info is None or info.capabilities.specializes)
    profile = Profile.fixed(point.sizes) if specialised else dynamic
    kind = _artifact_kind(info, profile)
    status, reason, remedy = _prospect(session, profile, mode, has_gpu=has_gpu)
    where = device_label(session.entry, session.device, mode)
    labels = (scenario.model_name, session.entry.label, session.precision, kind, where)
    return Case(
        case_id="/".join((*filter(None, labels), point.cohort_id)),
        cohort_id=point.cohort_id,
        session=session,
        profile=profile,
        sizes=point.sizes,
        sequence=point.sequence,
        sweeps=(point.sweep,),
        point=point.point,
        mode=mode,
        status=status,
        reason=reason,
        remedy=remedy,
    )


def _artifact_kind(info: BackendInfo | None, profile: Profile) -> str:
    if info is not None and not info.capabilities.specializes:
        return "any"
    return "static" if profile.static else "dynamic"


def _prospect(session: Session, profile: Profile, mode: Mode, *, has_gpu: bool) -> tuple[str | None, str, str]:
    """Say whether a case can be measured at all: status, reason, remedy."""
    info = session.info
    if info is None:
        use = session.entry.use
        return (
            "SKIPPED",
            f"no installed plugin provides {use!r}",
            "install its plugin; `benchfw backends` lists what is there",
        )
    if session.precision not in info.capabilities.precisions:
        can = ", ".join(info.capabilities.precisions)
        why = info.capabilities.lacks.get(session.precision)
        reason = f"{info.name} does not compute in {session.precision}" + (f": {why}" if why else "")
        return "UNSUPPORTED", reason, f"it computes in {can}"
    if session.device_kind not in info.capabilities.devices:
        can = ", ".join(info.capabilities.devices)
        return "UNSUPPORTED", f"{info.name} does not run on {session.device_kind}", f"it runs on {can}"
    if session.device_kind == CUDA and not has_gpu:
        return "SKIPPED", f"{info.name} needs a GPU", "run it on a machine that has one"
    if mode.graph == "on" and not info.capabilities.cuda_graph:
        return "UNSUPPORTED", f"launches of {info.name} cannot be captured into a CUDA graph", 'graph = ["off"]'
    if mode.cache == "flush" and session.device == CPU:
        return "UNSUPPORTED", "the caches of a CPU are not flushed", 'cache = "rotate" exceeds them'
    if not profile.static and not info.capabilities.dynamic_shapes:
        return "UNSUPPORTED", f"{info.name} has no dynamic shapes", "use a sweep of kind 'fixed'"
    return None, "", ""
