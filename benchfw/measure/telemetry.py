"""What samplers read of the surroundings while a run measures, taken over between cohorts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

import numpy as np

from benchfw.errors import CaseError, ProtocolError
from benchfw.measure.gates import Finding
from benchfw.measure.gates.telemetry import partial, slowed
from benchfw.requirements import check_requirements
from benchfw.spec.events import Event, Notice
from benchfw.spec.sampler import SamplerInfo
from benchfw.spec.stop import Stop
from benchfw.supervisor import Worker
from benchfw.worker.pace import MIN_PERIOD_NS
from benchfw.worker.protocol import Message

_ANSWER_S = 10.0
"""The process never waits for a sampler, so that it answers at once unless something is wrong with it."""


class Telemetry:
    """The sampler process of a run, from the beginning of a `with` block to its end.

    It starts beside what the run does first, and nobody waits for it before it is asked for something. No sampler and
    nothing that happens to the process ends the run: it goes on with less telemetry, and says so once.

    Args:
        samplers: What to read, by name; without any there is no process.
        devices: What the run measures on: `cpu`, `cuda:0`, …
        start: Starts the process, in a thread of its own: it must not share a `Stop` with others.
        stop: The wish to end the run; it does not cut short what is asked here.
        notify: Told what went wrong.

    Attributes:
        facts: Per sampler its `fields` with their units, its `period_ns` in the end, how many `readings` were taken,
            what one of them took on average (`read_ns`), how many were `dropped` because a cohort took too long, why it
            `ended` early, None if it did not, and under `facts` what it tells of itself.
    """

    def __init__(
        self,
        samplers: Mapping[str, SamplerInfo],
        start: Callable[[], Worker],
        *,
        devices: Collection[str] = (),
        stop: Stop | None = None,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.facts: dict[str, dict[str, Any]] = {name: _no_facts() for name in samplers}
        self._stop = stop or Stop()
        self._notify = notify
        self._starting = _Starting(samplers, start, devices) if samplers else None
        self._paused = False
        self._told: set[str] = set()

    def __enter__(self) -> Telemetry:
        if self._starting is not None:
            self._starting.start()
        return self

    def take(self, cohort: str) -> list[dict[str, Any]]:
        """Return what was read since the last call as rows of `telemetry`, in time order."""
        rows: list[dict[str, Any]] = []
        with self._surviving(), self._awake() as worker:
            if worker is not None:
                answer = worker.ask("sample_take", _ANSWER_S)
                with _understood():
                    for name in self._starting.read if self._starting else ():
                        rows += self._rows(name, answer, cohort)
        return sorted(rows, key=lambda row: row["time_ns"])

    def watch(self, session: str, process: int) -> None:
        """Tell the samplers of a new worker, without waiting for their start. They see by themselves when it ends."""
        if self._starting is None or not self._starting.note(session, process):
            return
        with self._surviving(), self._awake() as worker:
            if worker is not None:
                worker.ask("sample_watch", _ANSWER_S, processes=self._starting.processes)

    def boundary(self, *, dear: bool = False) -> None:
        """Let samplers read what is read between blocks only, also while they are paused; see `Sampler.boundary`."""
        with self._surviving(), self._awake() as worker:
            if worker is not None:
                worker.ask("sample_boundary", _ANSWER_S, dear=dear)

    def pause(self) -> None:
        """Read nothing until `resume`: the process uses no CPU time meanwhile. Idempotent; takes about 0.2 ms.

        The process lets readings end before it is stopped. One that is stopped in the middle of a reading would tell
        neither when it was read nor what that cost, and could hold a lock of a driver all the time.
        """
        worker = self._process()
        if worker is not None and not self._paused:
            with self._surviving():
                worker.ask("sample_pause", _ANSWER_S)
                worker.hold()
                self._paused = True

    def resume(self) -> None:
        """Go on; what was due meanwhile is read once, at once. Idempotent."""
        worker = self._process()
        if worker is not None and self._paused:
            with self._surviving():
                self._paused = False
                worker.resume()
                worker.ask("sample_resume", _ANSWER_S)

    @property
    def running(self) -> bool | None:
        """Whether samplers are read now; None if there are none, or none any more."""
        return None if self._process() is None else not self._paused

    @property
    def process(self) -> int | None:
        """Number of the process, for its CPU time; None without one."""
        worker = self._process()
        return None if worker is None else worker.pid

    @property
    def findings(self) -> list[Finding]:
        """What is to be said of the telemetry so far: W12 and W13."""
        found = [gate(name, facts) for name, facts in self.facts.items() for gate in (partial, slowed)]
        return [finding for finding in found if finding is not None]

    def __exit__(self, *_: object) -> None:
        worker = self._process()
        if worker is not None:
            if not self._stop.at_once:
                with self._surviving():
                    self.resume()
                    worker.ask("sample_stop", _ANSWER_S)
            worker.kill()  # what samplers held is closed: nobody waits for an interpreter to end
        if self._starting is not None:
            self._starting.over.set()
            self._starting.join()

    def _rows(self, name: str, answer: Message, cohort: str) -> Iterator[dict[str, Any]]:
        state, facts = answer.values["samplers"][name], self.facts[name]
        times, costs, counts, fields, values = (
            answer.arrays[f"{name}/{what}"] for what in ("times", "costs", "counts", "fields", "values")
        )
        facts["fields"], facts["ended"] = dict(state["units"]), state["fault"]
        facts["dropped"], facts["period_ns"] = int(state["dropped"]), int(state["period_ns"])
        facts["facts"] = dict(state.get("facts") or {})
        before = facts["readings"]
        facts["readings"] = before + len(times)
        if len(times):
            facts["read_ns"] = ((facts["read_ns"] or 0.0) * before + float(costs.sum())) / facts["readings"]
        if state["fault"]:
            self._tell(name, f"the sampler {name}: {state['fault']}")
        units = list(facts["fields"].items())
        stamps, lengths = np.repeat(times, counts).tolist(), np.repeat(costs, counts).tolist()
        for time_ns, read_ns, place, value in zip(
            stamps, lengths, fields.tolist(), values.astype(np.float64).tolist(), strict=True
        ):
            field, unit = units[place]
            yield {
                "cohort": cohort,
                "sampler": name,
                "field": field,
                "unit": unit,
                "time_ns": time_ns,
                "value": value,
                "read_ns": read_ns,
            }

    # --- the process --------------------------------------------------------------------------------------------

    def _process(self) -> Worker | None:
        """Return the process, once it has started; None if there is none, or none any more."""
        starting = self._starting
        if starting is None or not starting.is_alive():
            return None
        starting.done.wait()
        for name, error in starting.refused.items():
            self._end(name, error)
        if starting.error is not None:
            failure, starting.error = starting.error, None
            self._end_all(failure)
        return starting.worker

    @contextlib.contextmanager
    def _awake(self) -> Iterator[Worker | None]:
        """Let the process answer, also while it is paused."""
        worker = self._process()
        if worker is None or not self._paused:
            yield worker
        else:
            with worker.running():
                yield worker

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """End the telemetry, not the run, with what the process fails at."""
        try:
            yield
        except CaseError as error:
            self._end_all(error)

    def _end_all(self, error: BaseException) -> None:
        text = error.message if isinstance(error, CaseError) else f"{type(error).__name__}: {error}"
        for facts in self.facts.values():
            facts["ended"] = facts["ended"] or text
        self._tell("", f"there is no more telemetry: {text}")
        if self._starting is not None and self._starting.worker is not None:
            self._starting.worker.close()
            self._starting.worker = None

    def _end(self, name: str, error: CaseError) -> None:
        self.facts[name]["ended"] = error.message + (f" ({error.hint})" if error.hint else "")
        self._tell(name, f"the sampler {name} is left out: {self.facts[name]['ended']}")

    def _tell(self, name: str, text: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._notify(Notice(f"warning: {text}"))


class _Starting(Thread):
    """Starts the process, and lives as long as it may: a worker is killed when the thread that started it ends.

    Attributes:
        worker: The process, if it has started.
        read: Samplers that it reads.
        refused: Samplers that lack what they need, and why.
        error: Why there is no process.
        processes: What the samplers are to watch.
        done: Set once all of these say how it went.
        over: Set to let the thread end.
    """

    def __init__(
        self, samplers: Mapping[str, SamplerInfo], start: Callable[[], Worker], devices: Collection[str]
    ) -> None:
        super().__init__(name="telemetry", daemon=True)
        self.worker: Worker | None = None
        self.read: dict[str, str] = {}
        self.refused: dict[str, CaseError] = {}
        self.error: BaseException | None = None
        self.done = Flag()
        self.over = Flag()
        self.processes: dict[str, int] = {}
        self._lock = Lock()
        self._samplers = dict(samplers)
        self._begin = start
        self._devices = sorted(devices)

    def note(self, session: str, process: int) -> bool:
        """Note a process to watch; False if this thread will tell the samplers of it."""
        with self._lock:
            self.processes[session] = process
            return self.done.is_set()

    def run(self) -> None:
        try:
            self.worker = self._begin()
            for name, info in self._samplers.items():
                try:
                    check_requirements(name, info.requires, self.worker.hello["packages"], info.install)
                    self.read[name] = info.factory
                except CaseError as error:
                    self.refused[name] = error
            self.worker.ask("sample_start", _ANSWER_S, factories=self.read, devices=self._devices)
            with self._lock:
                self.worker.ask("sample_watch", _ANSWER_S, processes=self.processes)
                self.done.set()
        except BaseException as error:  # the thread that asks for telemetry tells of it
            self.error = error
            self.done.set()
        self.over.wait()


def _no_facts() -> dict[str, Any]:
    counts = {"period_ns": MIN_PERIOD_NS, "readings": 0, "read_ns": None, "dropped": 0}
    return {"fields": {}, **counts, "ended": None, "facts": {}}


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Take an answer that is not what was agreed for a fault of the process that gave it.

    Raises:
        ProtocolError: It is not.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ProtocolError(f"the samplers' answer is not what was agreed: {type(error).__name__}: {error}") from error
