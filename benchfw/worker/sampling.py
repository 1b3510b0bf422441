"""Samplers at work: a thread for each, so that one that hangs or raises costs no other one its readings."""

from __future__ import annotations

import contextlib
import json
import resource
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BenchfwError, Invalid
from benchfw.spec.sampler import Sampler
from benchfw.worker.clocks import now
from benchfw.worker.pace import Pace
from benchfw.worker.readings import MAX_FIELDS, Reading, units_of, values_of

STUCK_NS = 2_000_000_000
"""A call that takes longer is told of."""

_MAX_VALUES = 1 << 18
"""What is kept of one sampler until somebody takes it: an hour of seven fields, ten times per second."""
_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
_MAX_REASON = 1000


class Sampling:
    """Reads samplers from when it is made until `stop`.

    Args:
        makers: Makes each sampler, by its name; called in the thread that will read it.
        period_ns: From one reading to the next, unless that costs too much.
        devices: What the run measures on.
    """

    def __init__(
        self, makers: Mapping[str, Callable[[], Sampler]], period_ns: int, devices: Sequence[str] = ()
    ) -> None:
        self._readers = {name: _Reader(name, make, period_ns, devices) for name, make in makers.items()}
        for reader in self._readers.values():
            reader.start()

    def take(self) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]]:
        """Return what was read since the last call. Never waits for a sampler.

        Returns:
            Per sampler its `units` by field, its `period_ns` of now, how many readings were `dropped` so far because
            nobody took them, its `facts`, and its `fault`: why it ended, or that it hangs; None for one that works. And
            as arrays `NAME/times` (ns, before the reading), `NAME/costs` (ns, how long it took) and `NAME/counts` (how
            many values it gave), int64 [readings]; `NAME/fields`, int64 [values], the place of each value's field among
            the units, and `NAME/values`, float64 [values], NaN for what could not be read.
        """
        states: dict[str, dict[str, Any]] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for name, reader in self._readers.items():
            readings, states[name] = reader.take()
            places = {field: place for place, field in enumerate(states[name]["units"])}
            values = [item for reading in readings for item in reading.values.items()]
            arrays[f"{name}/times"] = np.array([reading.time_ns for reading in readings], np.int64)
            arrays[f"{name}/costs"] = np.array([reading.cost_ns for reading in readings], np.int64)
            arrays[f"{name}/counts"] = np.array([len(reading.values) for reading in readings], np.int64)
            arrays[f"{name}/fields"] = np.array([places[field] for field, _ in values], np.int64)
            arrays[f"{name}/values"] = np.array([value for _, value in values], np.float64)
        return states, arrays

    def watch(self, processes: Mapping[str, int]) -> None:
        """Tell the samplers which workers live: their numbers by session."""
        for reader in self._readers.values():
            reader.watch(processes)

    def boundary(self, timeout: float, *, dear: bool) -> None:
        """Read what is read between blocks, also while paused, so many seconds at most; see `Sampler.boundary`."""
        deadline = time.monotonic() + timeout
        done = [reader.boundary(dear=dear) for reader in self._readers.values() if reader.fault is None]
        for each in done:
            each.wait(max(0.0, deadline - time.monotonic()))

    def pause(self, timeout: float) -> None:
        """Read nothing until `resume`, and wait for readings to end, so many seconds at most. Idempotent."""
        deadline = time.monotonic() + timeout
        for reader in self._readers.values():
            reader.pause()
        for reader in self._readers.values():
            reader.settle(deadline - time.monotonic())

    def resume(self) -> None:
        """Go on; what was due meanwhile is read once, at once. Idempotent."""
        for reader in self._readers.values():
            reader.resume()

    def stop(self, timeout: float) -> None:
        """End all samplers and wait for them to close, so many seconds at most; one that hangs ends with the process.

        Idempotent.
        """
        deadline = time.monotonic() + timeout
        for reader in self._readers.values():
            reader.stop()
        for reader in self._readers.values():
            reader.join(max(0.0, deadline - time.monotonic()))


class _Reader(Thread):
    """Reads one sampler.

    Attributes:
        units: Unit of every field that it has announced so far; they only become more.
        wake: Set to make the thread look at what it was told.
    """

    def __init__(self, name: str, make: Callable[[], Sampler], period_ns: int, devices: Sequence[str] = ()) -> None:
        super().__init__(name=f"sampler {name}", daemon=True)
        self.units: dict[str, str] = {}
        self.wake = Event()
        self._make = make
        self._devices = tuple(devices)
        self._pace = Pace(period_ns)
        self._lock = Lock()  # never held while the sampler is asked
        self._reading = Lock()  # held while it is
        self._readings: deque[Reading] = deque()
        self._held = 0
        self._dropped = 0
        self._ended: str | None = None
        self._asked: tuple[str, int] | None = None
        self._stopping = False
        self._paused = False
        self._watched: Mapping[str, int] | None = None
        self._boundaries: deque[tuple[bool, Event]] = deque()
        self._facts: dict[str, Any] = {}

    @property
    def fault(self) -> str | None:
        asked = self._asked
        if self._ended is None and asked is not None and now() - asked[1] > STUCK_NS:
            return f"{asked[0]}() has not returned for {(now() - asked[1]) / 1e9:.1f} s"
        return self._ended

    def take(self) -> tuple[list[Reading], dict[str, Any]]:
        """Return the readings since the last call, and the state; see `Sampling.take`."""
        with self._lock:
            readings = list(self._readings)
            self._readings.clear()
            self._held = 0
            state = {"units": dict(self.units), "period_ns": self._pace.period_ns, "dropped": self._dropped}
            state["facts"] = self._facts
        return readings, state | {"fault": self.fault}

    # --- what the thread is told --------------------------------------------------------------------------------

    def watch(self, processes: Mapping[str, int]) -> None:
        self._watched = dict(processes)

    def boundary(self, *, dear: bool) -> Event:
        """Ask for a boundary; the event is set once it has been read, or never will be."""
        done = Event()
        self._boundaries.append((dear, done))
        if self._ended is not None:
            done.set()
        self.wake.set()
        return done

    def pause(self) -> None:
        self._paused = True

    def settle(self, timeout: float) -> None:
        """Wait until no reading is under way, so many seconds at most."""
        if self._reading.acquire(timeout=max(0.0, timeout)):
            self._reading.release()

    def resume(self) -> None:
        self._paused = False
        self.wake.set()

    def stop(self) -> None:
        self._stopping = True
        self.wake.set()

    # --- the thread ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        sampler = None
        try:
            sampler = self._ask("open", self._make)
            sampler.devices = self._devices
            self._announce("open", self._ask("open", sampler.open), least=1)
            self._note_facts(sampler)
            self._read(sampler)
        except BaseException as error:  # SystemExit too: nothing of it may get lost
            self._end(error)
        finally:
            if sampler is not None:
                try:
                    self._ask("close", sampler.close)
                except BaseException as error:
                    self._end(error)
            for _, done in self._boundaries:
                done.set()

    def _read(self, sampler: Sampler) -> None:
        """Read once per period, by deadlines that do not depend on how long readings take; what is late is left out."""
        start = now()
        tick = 0
        while not self._stopping:
            due = start + tick * self._pace.period_ns
            while self._boundaries:
                self._read_boundary(sampler)
            if self._paused or now() < due:
                self.wake.wait(None if self._paused else (due - now()) / 1e9)
                self.wake.clear()
                continue
            with self._reading:
                if self._paused:  # since it was looked at
                    continue
                self._keep_watch(sampler)
                switches, before = _switches(), now()
                given = self._ask("sample", sampler.sample)
                cost = now() - before
                disturbed = _switches() != switches
            self._keep(Reading(before, cost, values_of(self.units, given)))
            if not disturbed and self._pace.note(cost):
                start, tick = before, 1
            else:
                tick = max(tick, (now() - start) // self._pace.period_ns) + 1

    def _read_boundary(self, sampler: Sampler) -> None:
        """Read what is not read during blocks. It does not count for the pace: nothing is measured meanwhile."""
        dear, done = self._boundaries[0]
        self._keep_watch(sampler)
        before = now()
        given = self._ask("boundary", lambda: sampler.boundary(dear=dear))
        if given:
            self._keep(Reading(before, now() - before, values_of(self.units, given)))
        self._note_facts(sampler)
        self._boundaries.popleft()
        done.set()

    def _note_facts(self, sampler: Sampler) -> None:
        facts = dict(self._ask("facts", sampler.facts))
        json.dumps(facts)  # what cannot be sent is this sampler's fault
        with self._lock:
            self._facts = facts

    def _keep_watch(self, sampler: Sampler) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            self._announce("watch", self._ask("watch", lambda: sampler.watch(watched)), least=0)

    def _announce(self, method: str, given: Any, *, least: int) -> None:
        units = {**self.units, **units_of(method, given, least)}
        if len(units) > MAX_FIELDS:
            raise Invalid(f"{method}() announced more than {MAX_FIELDS} fields")
        with self._lock:
            self.units = units

    def _keep(self, reading: Reading) -> None:
        with self._lock:
            self._readings.append(reading)
            self._held += len(reading.values)
            while self._held > _MAX_VALUES:
                self._held -= len(self._readings.popleft().values)
                self._dropped += 1

    def _ask(self, method: str, call: Callable[[], Any]) -> Any:
        self._asked = (method, now())
        try:
            return call()
        finally:
            self._asked = None

    def _end(self, error: BaseException) -> None:
        """Keep why it ended: the first reason, since closing what has failed may fail too."""
        with contextlib.suppress(Exception):  # a sampler may have closed stderr
            traceback.print_exception(error)  # into the log of the process
        if self._ended is None:
            ours = isinstance(error, BenchfwError)
            text = str(error.message) if ours else traceback.format_exception_only(error)[-1]  # type: ignore[attr-defined]
            self._ended = text.strip()[:_MAX_REASON]


def _switches() -> int:
    """Return how often this thread lost its CPU: a reading that lost it took long, but cost nobody anything."""
    return resource.getrusage(_THREAD).ru_nivcsw
