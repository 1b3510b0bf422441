"""Samplers at work: a thread for each, so that one that hangs or raises costs no other one its readings."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BenchfwError, Invalid
from benchfw.spec.sampler import Sampler
from benchfw.worker.clocks import now

STUCK_NS = 2_000_000_000
"""A call that takes longer is told of."""

_MAX_VALUES = 1 << 18
"""What is kept of one sampler until somebody takes it: an hour of seven fields, ten times per second."""
_MAX_FIELDS = 1 << 10
_MAX_REASON = 1000


class Sampling:
    """Reads samplers from when it is made until `stop`.

    Args:
        makers: Makes each sampler, by its name; called in the thread that will read it.
        period_ns: From one reading to the next.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Sampler]], period_ns: int) -> None:
        self._readers = {name: _Reader(name, make, period_ns) for name, make in makers.items()}
        for reader in self._readers.values():
            reader.start()

    def take(self) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]]:
        """Return what was read since the last call. Never waits for a sampler.

        Returns:
            Per sampler its `units` by field, how many readings were `dropped` so far because nobody took them, and its
            `fault`: why it ended, or that it hangs; None for one that works. And as arrays `NAME/times` (ns, before
            the reading), `NAME/costs` (ns, how long it took), both int64 [readings], and `NAME/values`, float64
            [readings, fields], NaN for what could not be read.
        """
        states: dict[str, dict[str, Any]] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for name, reader in self._readers.items():
            readings, dropped = reader.take()
            units = dict(reader.units)
            states[name] = {"units": units, "dropped": dropped, "fault": reader.fault}
            arrays[f"{name}/times"] = np.array([reading[0] for reading in readings], np.int64)
            arrays[f"{name}/costs"] = np.array([reading[1] for reading in readings], np.int64)
            values = np.array([reading[2] for reading in readings], np.float64)
            arrays[f"{name}/values"] = values.reshape(len(readings), len(units))
        return states, arrays

    def stop(self, timeout: float) -> None:
        """End all samplers and wait for them to close, so many seconds at most; one that hangs ends with the process.

        Idempotent.
        """
        deadline = time.monotonic() + timeout
        for reader in self._readers.values():
            reader.stopping.set()
        for reader in self._readers.values():
            reader.join(max(0.0, deadline - time.monotonic()))


class _Reader(Thread):
    """Reads one sampler.

    Attributes:
        units: Unit of every field, once the sampler is open.
        stopping: Set to end it.
    """

    def __init__(self, name: str, make: Callable[[], Sampler], period_ns: int) -> None:
        super().__init__(name=f"sampler {name}", daemon=True)
        self.units: dict[str, str] = {}
        self.stopping = Event()
        self._make = make
        self._period_ns = period_ns
        self._lock = Lock()  # never held while the sampler is asked
        self._readings: deque[tuple[int, int, tuple[float, ...]]] = deque()
        self._dropped = 0
        self._ended: str | None = None
        self._asked: tuple[str, int] | None = None

    @property
    def fault(self) -> str | None:
        asked = self._asked
        if self._ended is None and asked is not None and now() - asked[1] > STUCK_NS:
            return f"{asked[0]}() has not returned for {(now() - asked[1]) / 1e9:.1f} s"
        return self._ended

    def take(self) -> tuple[list[tuple[int, int, tuple[float, ...]]], int]:
        """Return the readings since the last call, and how many were dropped so far."""
        with self._lock:
            readings = list(self._readings)
            self._readings.clear()
            return readings, self._dropped

    def run(self) -> None:
        sampler = None
        try:
            sampler = self._ask("open", self._make)
            self.units = _units(self._ask("open", sampler.open))
            self._read(sampler)
        except BaseException as error:  # SystemExit too: nothing of it may get lost
            self._end(error)
        finally:
            if sampler is not None:
                try:
                    self._ask("close", sampler.close)
                except BaseException as error:
                    self._end(error)

    def _read(self, sampler: Sampler) -> None:
        """Read once per period, by deadlines that do not depend on how long readings take; what is late is left out."""
        most = _MAX_VALUES // len(self.units)
        start = now()
        tick = 0
        while not self.stopping.wait(max(0, start + tick * self._period_ns - now()) / 1e9):
            before = now()
            given = self._ask("sample", sampler.sample)
            reading = (before, now() - before, _values(self.units, given))
            with self._lock:
                if len(self._readings) == most:
                    self._readings.popleft()
                    self._dropped += 1
                self._readings.append(reading)
            tick = max(tick, (now() - start) // self._period_ns) + 1

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


def _units(given: Any) -> dict[str, str]:
    """Return what `open` gave.

    Raises:
        Invalid: It is no unit for each of some fields.
    """
    fields = dict(given) if isinstance(given, Mapping) else {}
    words = all(isinstance(text, str) for item in fields.items() for text in item)
    if not 1 <= len(fields) <= _MAX_FIELDS or not words:
        raise Invalid(f"open() returned {given!r:.200}, not the units of 1 to {_MAX_FIELDS} fields")
    return fields


def _values(units: Mapping[str, str], given: Any) -> tuple[float, ...]:
    """Return what `sample` gave, in the order of the fields; NaN for None.

    Raises:
        Invalid: These are not the fields that `open` announced, or one is no number.
    """
    if not isinstance(given, Mapping) or set(given) != set(units):
        raise Invalid(f"sample() returned {given!r:.200}, not a value for each of the fields {sorted(units)!r:.200}")
    return tuple(_number(field, given[field]) for field in units)


def _number(field: str, value: Any) -> float:
    if value is None:
        return float("nan")
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise Invalid(f"sample() returned {value!r:.200} for {field!r:.80}, which is no number")
