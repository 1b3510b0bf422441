"""What samplers read of the surroundings while a run measures, taken over between cohorts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchfw.errors import CaseError, ProtocolError
from benchfw.spec.events import Event, Notice
from benchfw.spec.stop import Stop
from benchfw.supervisor import Worker
from benchfw.worker.protocol import Message

PERIOD_NS = 100_000_000
_ANSWER_S = 10.0
"""The process never waits for a sampler, so that it answers at once unless something is wrong with it."""


class Telemetry:
    """The sampler process of a run, from the beginning of a `with` block to its end.

    No sampler and nothing that happens to the process ends the run: it goes on with less telemetry, and says so once.

    Args:
        factories: `package.module:Class` of each sampler by its name; without any there is no process.
        start: Starts the process.
        stop: The wish to end the run; it does not cut short what is asked here.
        notify: Told what went wrong.

    Attributes:
        facts: Per sampler its `fields` with their units, how many `readings` were taken and how many were `dropped`
            because a cohort took too long, and why it `ended` early; None if it did not.
    """

    def __init__(
        self,
        factories: Mapping[str, str],
        start: Callable[[], Worker],
        *,
        stop: Stop | None = None,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.facts: dict[str, dict[str, Any]] = {
            name: {"fields": {}, "readings": 0, "dropped": 0, "ended": None} for name in factories
        }
        self._factories = dict(factories)
        self._start = start
        self._stop = stop or Stop()
        self._notify = notify
        self._worker: Worker | None = None
        self._told: set[str] = set()

    def __enter__(self) -> Telemetry:
        if self._factories:
            with self._surviving():
                self._worker = self._start()
                self._worker.ask("sample_start", _ANSWER_S, factories=self._factories, period_ns=PERIOD_NS)
        return self

    def take(self, cohort: str) -> list[dict[str, Any]]:
        """Return what was read since the last call as rows of `telemetry`, in time order."""
        rows: list[dict[str, Any]] = []
        if self._worker is not None:
            with self._surviving():
                answer = self._worker.ask("sample_take", _ANSWER_S)
                with _understood():
                    for name in self.facts:
                        rows += self._rows(name, answer, cohort)
        return sorted(rows, key=lambda row: row["time_ns"])

    def __exit__(self, *_: object) -> None:
        if self._worker is not None and not self._stop.at_once:
            with self._surviving():
                self._worker.ask("sample_stop", _ANSWER_S)
        if self._worker is not None:
            self._worker.close()

    def _rows(self, name: str, answer: Message, cohort: str) -> Iterator[dict[str, Any]]:
        state, facts = answer.values["samplers"][name], self.facts[name]
        times, costs, values = (answer.arrays[f"{name}/{what}"] for what in ("times", "costs", "values"))
        facts["fields"], facts["ended"] = dict(state["units"]), state["fault"]
        facts["dropped"] = int(state["dropped"])
        facts["readings"] += len(times)
        if state["fault"]:
            self._tell(name, f"the sampler {name}: {state['fault']}")
        for time_ns, read_ns, reading in zip(times.tolist(), costs.tolist(), values.astype(np.float64), strict=True):
            for (field, unit), value in zip(facts["fields"].items(), reading.tolist(), strict=True):
                yield {
                    "cohort": cohort,
                    "sampler": name,
                    "field": field,
                    "unit": unit,
                    "time_ns": time_ns,
                    "value": value,
                    "read_ns": read_ns,
                }

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """End the telemetry, not the run, with what the process fails at."""
        try:
            with self._stop.deferred():
                yield
        except CaseError as error:
            for facts in self.facts.values():
                facts["ended"] = facts["ended"] or error.message
            self._tell("", f"there is no more telemetry: {error.message}")
            if self._worker is not None:
                self._worker.close()
                self._worker = None

    def _tell(self, name: str, text: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._notify(Notice(f"warning: {text}"))


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Take an answer that is not what was agreed for a fault of the process that gave it.

    Raises:
        ProtocolError: It is not.
    """
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ProtocolError(f"the samplers' answer is not what was agreed: {type(error).__name__}: {error}") from error
