"""A case while one process measures it: its worker, its slots, how it runs its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw import supervisor
from benchfw.errors import CaseError
from benchfw.measure.blocks import Block, device_times, rewarm_count, stamps
from benchfw.measure.inputs import InputMaker
from benchfw.measure.observer import Observer
from benchfw.measure.order import Order
from benchfw.measure.samples import Sampled
from benchfw.measure.session import Host, Instance, LiveSession
from benchfw.measure.settings import Effort, Settings
from benchfw.measure.shapes import check_fit, check_outputs
from benchfw.measure.slots import Slots, last_level_cache_bytes, sets_to_rotate
from benchfw.measure.stopping import Stopping, targets
from benchfw.spec.accuracy import Outputs
from benchfw.spec.tensors import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a case has no number: columns of its row."""

    status: str
    status_reason: str
    stage: str | None = None
    signal: str | None = None
    log: Path | None = None
    log_tail: str | None = None


@dataclass
class Member(Sampled):
    """A case of the cohort that is being measured, in one process.

    Attributes:
        number: Invocation, from 0.
        observer: Watches the machine.
        sm_mhz: The SM clock of its GPU once it had warmed up, alone; None where it was not read.
        unstable: Why its numbers change with the heat of its GPU, if they do.
        is_asynchronous: Its launches return before they are complete, so that the device's times are known too.
        has_lanes: Slots for several inferences at once have been bound.
        layers: Rows of the table `layers`, if it was profiled.
        stretch: Beginning and end, in ns, of a time in which only this case ran, and the samples that it computed then.
        graph: Columns that say what the model's graph has to do, likewise.
        left_bytes: Memory of the device that its instance had not given back when it was closed; None if that is not
            known, as before it is closed.
    """

    session: LiveSession
    settings: Settings
    observer: Observer
    number: int = 0
    instance: Instance | None = None
    host: Host = field(default_factory=Host)
    bind_s: float = 0.0
    input_bytes: int = 0
    rule: Effort = field(init=False)
    stopping: Stopping = field(init=False)
    failure: Failure | None = None
    contended: str | None = None
    sm_mhz: float | None = None
    unstable: str | None = None
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    graph: dict[str, Any] = field(default_factory=dict)
    interleave: str = "all"
    peak_rss_bytes: int | None = None
    device_memory: dict[str, int] | None = None
    left_bytes: int | None = None
    instrumentation_cost: float | None = None
    canary_shift: float | None = None
    is_asynchronous: bool = False
    stretch: tuple[NDArray[np.int64], int] | None = None
    has_lanes: bool = False
    order: Order = field(init=False)

    def __post_init__(self) -> None:
        self.rule = self.settings.rule.of_one_invocation()
        wanted = targets(self.rule, mixture=self.case.sequence is not None, throughput=self.has_throughput)
        self.stopping = Stopping(self.rule, wanted)
        self.order = Order(self.case.sequence, Slots(self.sizes, 1))

    # --- labels -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        kind = self.case.artifact_kind
        labels = [*(() if kind == "any" else (kind,)), *filter(None, (self.case.device_label,))]
        return self.case.session.entry.label + (f" ({', '.join(labels)})" if labels else "")

    @property
    def build(self) -> int:
        """Number of the build that it measures, of a case with an engine."""
        return self.number % self.settings.rule.builds

    @property
    def built(self) -> int | None:
        """The same once its artifact is loaded; None where nothing was built."""
        return self.instance.made.build if self.instance is not None else None

    @property
    def alive(self) -> bool:
        """Nothing went wrong with this case itself."""
        return self.failure is None

    @property
    def keeps_precision(self) -> bool:
        """It computes in the precision that was asked for, as far as its backend tells."""
        facts = self.instance.facts if self.instance else {}
        return facts.get("precision_effective") in (None, self.case.session.precision)

    @property
    def lost(self) -> bool:
        """The worker that held it is gone."""
        return not self.session.is_open or self.session.invocation != self.host.invocation

    @property
    def ready(self) -> bool:
        return self.alive and self.instance is not None and not self.lost

    def fail(self, error: CaseError, *, log_tail: str | None = None) -> None:
        """Note why there is no number; the first reason stays."""
        if self.failure is not None:
            return
        self.host = self.session.host
        log = Path(error.log) if error.log else self.host.log
        self.failure = Failure(
            status=error.status,
            status_reason=error.message + (f" ({error.hint})" if error.hint else ""),
            stage=error.stage,
            signal=error.signal,
            log=log,
            log_tail=log_tail or (supervisor.log_tail(log) if log else "") or None,
        )

    def warn(self, code: str, value: float | None, threshold: float | None, message: str) -> None:
        self.warnings.append(
            {"case_id": self.case.case_id, "code": code, "value": value, "threshold": threshold, "message": message}
        )

    # --- slots --------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> Slots:
        return self.order.slots

    @property
    def sizes(self) -> Sequence[int]:
        """Sizes of the varying axis, one per slot; `[0]` for a case of one shape."""
        return self.case.sequence.sizes if self.case.sequence else (0,)

    def sizes_at(self, place: int) -> dict[str, int]:
        """Return the size of every axis for one size of the varying axis."""
        sequence = self.case.sequence
        return dict(self.case.sizes) | ({sequence.axis: sequence.sizes[place]} if sequence else {})

    def bind(self, instance: Instance, inputs: InputMaker, model_inputs: Sequence[TensorSpec]) -> None:
        """Bind one slot per size and set of inputs."""
        self.instance = instance
        self.host = self.session.host
        fixed = {spec.name: spec for spec in model_inputs}
        largest = max(inputs.bytes_of(self.sizes_at(place)) for place in range(len(self.sizes)))
        policy = self.case.mode.cache
        if policy != "warm" and inputs.specs:
            twice = 1 if self.session.device is None else 2
            exceeded = twice * (self.cache_bytes or 0) if policy == "rotate" else None
            sets = sets_to_rotate(largest, len(self.sizes), exceeded)
            self.order = Order(self.case.sequence, Slots(self.sizes, sets))
        for place in range(len(self.sizes)):
            sizes = self.sizes_at(place)
            for spec in inputs.specs:
                check_fit(spec, fixed.get(spec.name), sizes)
            self.input_bytes += inputs.bytes_of(sizes) * self.slots.sets
        self.bind_lane(self.session, instance, inputs, 0)

    @property
    def cache_bytes(self) -> int | None:
        """Size of the last-level cache, of the device or of the machine; None where that does not say."""
        device = self.session.device
        return last_level_cache_bytes() if device is None else int(device["cache_bytes"])

    def capture(self, lane: int = 0) -> None:
        """Capture the launches of all slots of a lane into CUDA graphs, if that is what the case measures."""
        if self.case.mode.graph == "off":
            return
        assert self.instance is not None
        for slot in range(self.slots.of(0, 0, lane), self.slots.of(0, 0, lane + 1)):
            self.session.ask("capture", self.settings.build_s, instance=self.instance.key, slot=slot)

    def bind_lane(self, session: LiveSession, instance: Instance, inputs: InputMaker, lane: int) -> None:
        """Bind the slots of one lane in the worker of a session."""
        for place in range(len(self.sizes)):
            for set_ in range(self.slots.sets):
                answer = session.ask(
                    "bind",
                    self.settings.load_s,
                    instance=instance.key,
                    slot=self.slots.of(place, set_, lane),
                    files=inputs.files(self.sizes_at(place), set_),
                )
                self.bind_s += float(answer.values["bind_s"])

    def outputs(self, slot: int) -> Outputs:
        """Return what the last launch of a slot gave.

        Raises:
            Invalid: It is not what the loaded artifact announced.
        """
        assert self.instance is not None
        outputs = self.session.ask("outputs", self.settings.load_s, instance=self.instance.key, slot=slot).arrays
        check_outputs(self.instance.io.outputs, outputs, self.sizes_at(self.sizes.index(self.slots.size_of(slot))))
        return outputs

    def read_facts(self) -> None:
        """Ask what is true of the loaded artifact now, and for the worker's peak memory."""
        assert self.instance is not None
        values = self.session.ask("facts", self.settings.load_s, instance=self.instance.key).values
        self.session.check_facts(values["facts"])
        self.instance.facts = values["facts"]
        if not self.has_lanes:  # what the slots of other lanes take is not the case's
            self.peak_rss_bytes = values["peak_rss_bytes"]
            self.device_memory = self.session.device_memory = values["device_memory"]
        self.session.peak_rss_bytes = max(self.session.peak_rss_bytes, self.peak_rss_bytes or 0)

    # --- blocks -------------------------------------------------------------------------------------------------

    def recount(self) -> None:
        """Look again at the blocks so far, of which some do not count any more, or count again."""
        self.forget()
        self.stopping = Stopping(self.rule, self.stopping.targets)
        self.stopping.look(self.count, len(self.measured), self.measured_s, self.evidence)

    def call(self, phase: str, slot: int, n: int, *, timeout: float | None = None) -> Block:
        """Run `n` iterations of one slot outside of the rounds."""
        return self._run(phase, [slot] * n, rewarm=0, timeout=timeout, place=(-1, -1))

    def measure(self, round_: int, position: int, phase: str = "measure") -> Block:
        """Run one block of the length that is aimed at; one of the phase `events` with those of the device."""
        slots, rewarm = self.order.block()
        return self._run(phase, slots, rewarm=rewarm, timeout=None, place=(round_, position))

    def deadline(self, slots: Sequence[int]) -> float:
        """Return the seconds to wait for a block of these slots."""
        return max(self.settings.block_s, 20 * self.order.expected_s(slots))

    def _run(
        self, phase: str, slots: list[int], *, rewarm: int | None, timeout: float | None, place: tuple[int, int]
    ) -> Block:
        assert self.instance is not None
        same = len(set(slots)) == 1
        what: dict[str, Any] = {"slot": slots[0], "n": len(slots)} if same else {"slots": slots}
        what["events"] = phase == "events"
        key, deadline = self.instance.key, timeout or self.deadline(slots)
        answer, host = self.observer.around(
            self.session.processes, lambda: self.session.ask("block", deadline, instance=key, **what)
        )
        starts, ends = stamps(answer, len(slots))
        enqueued, spans = device_times(answer, starts, ends)
        block = Block(
            phase=phase,
            round=place[0],
            position=place[1],
            sizes=self.order.sizes_of(slots),
            n=len(slots),
            rewarm=rewarm_count(starts) if rewarm is None else rewarm,
            starts=starts,
            ends=ends,
            counters=answer.values["counters"],
            changes={**answer.values["changes"], "collections": answer.values["collections"]},
            telemetry=self.observer.running if phase == "measure" else None,
            host=host,
            enqueued=enqueued,
            spans=spans,
        )
        self.blocks.append(block)
        self.is_asynchronous = enqueued is not None
        return block
