"""What torch-tensorrt logs while it compiles: TensorRT's errors, and how many operators each engine holds."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

REPORT = "torch_tensorrt.dynamo._DryRunTracker"
"""Logger of the report of partitions, which is made in any case, and shown where its level is DEBUG."""

IN_ENGINE = re.compile(r"^ *Number of Operators in Engine: (\d+)$", re.MULTILINE)

_PACKAGE = "torch_tensorrt"
"""Begins the names of all its loggers, that of TensorRT's messages included."""


@dataclass
class Heard:
    """What was logged.

    Attributes:
        errors: Of TensorRT and of torch-tensorrt, in order.
        operators: Of each engine, by the report that came last.
    """

    errors: list[str] = field(default_factory=list)
    operators: list[int] = field(default_factory=list)


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Hear what is logged within a `with` block; all of it still goes where it went, but for the report."""
    heard = Heard()
    root, tracker = logging.getLogger(), logging.getLogger(REPORT)
    errors, report = _Errors(heard), _Report(heard)
    level, propagate = tracker.level, tracker.propagate
    root.addHandler(errors)
    tracker.addHandler(report)
    tracker.setLevel(logging.DEBUG)
    tracker.propagate = False
    try:
        yield heard
    finally:
        root.removeHandler(errors)
        tracker.removeHandler(report)
        tracker.setLevel(level)
        tracker.propagate = propagate


class _Errors(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.ERROR)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_PACKAGE):
            self._heard.errors.append(next(iter(record.getMessage().strip().splitlines()), ""))


class _Report(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.DEBUG)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.operators = [int(count) for count in IN_ENGINE.findall(record.getMessage())]
