"""What a builder says: its log, its errors and its progress. TensorRT itself is given as the argument `trt`."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchfw.errors import BackendError, BuildFailed, OutOfMemory

LEVELS = {"error": 1, "warning": 2, "info": 3, "verbose": 4}
"""Severities by their names in the options. 0 is an internal error."""

_NAMES = ("internal error", "error", "warning", "info", "verbose")
_MAX_WARNINGS = 50
_MAX_ERRORS = 20
_REPORT_S = 0.5
_SOURCE_LINE = re.compile(r"^\S+\.(?:cpp|h|cu):\d+: ")
_NOISE = re.compile(r"Thread context has not been set|getHardwareCompatibilityLevel\(\) is unsupported")
"""Said of every build by TensorRT-RTX 1.7, of nothing that the user did."""

_IMPORTANT = re.compile(
    r"INT64.*INT32|cast(ing)? down|subnormal|denormal|smallest positive|out of range|Multi stream is disabled",
    re.IGNORECASE,
)
"""Warnings that change what is computed, or that an option has no effect."""

_OUT_OF_MEMORY = re.compile(
    r"\bOutOfMemory\b|\bout of memory\b|cudaErrorMemoryAllocation|insufficient memory", re.IGNORECASE
)
"""Of the device, as TensorRT says it: `Error Code 2: OutOfMemory`, `Cuda Runtime (out of memory)`."""

_NO_DRIVER = r"cudaError 35|cudaError 100\b|CUDA initialization failure|no CUDA-capable device"
_HINTS = (
    (r"has type Int32 but must have type FP8", 'quantise with recipe = "tensorrt", which leaves biases in float'),
    (r"Plugin not found", "the runtime has no such operator: replace it in the model, or leave this backend out"),
    (r"within workspace limit", "a larger option workspace, or none"),
    (_NO_DRIVER, "this needs an NVIDIA GPU and its driver"),
    (r"for Turing \(SM75\)", "leave 7.5 out of compute_capabilities, or build in fp16"),
)


class BuildLog:
    """Messages of one build.

    Args:
        level: Of `LEVELS`: messages up to this one are printed, which goes to the worker's log.

    Attributes:
        warnings: Different warnings, the first fifty.
        warning_count: How many there were, repetitions included.
        layers: The last list of layers that the builder printed; empty if it printed none.
    """

    def __init__(self, level: str = "warning") -> None:
        self._level = LEVELS[level]
        self._errors: list[str] = []
        self.warnings: list[str] = []
        self.warning_count = 0
        self.layers = ""

    def add(self, severity: int, text: str) -> None:
        """Take a message: 0 and 1 are errors, 2 a warning, 3 and 4 tell what happens."""
        if severity <= self._level:
            sys.stderr.write(f"[{_NAMES[min(severity, 4)]}] {text}\n")
            sys.stderr.flush()
        if severity == LEVELS["verbose"] and text.startswith("Layers:\n"):
            self.layers = text
        if severity > LEVELS["warning"] or _NOISE.search(text):
            return
        text = _SOURCE_LINE.sub("", text).strip()
        if severity < LEVELS["warning"]:
            self._errors = [*self._errors, text][:_MAX_ERRORS]
            return
        self.warning_count += 1
        if text not in self.warnings and len(self.warnings) < _MAX_WARNINGS:
            self.warnings.append(text)

    @contextlib.contextmanager
    def aside(self) -> Iterator[list[str]]:
        """Keep errors of a `with` block apart, of which none ends a build: they are in the list once it is over."""
        before, self._errors = self._errors, []
        told: list[str] = []
        try:
            yield told
        finally:
            told += self._errors
            self._errors = before

    @property
    def important(self) -> list[str]:
        """Warnings that who reads the results should see."""
        return [text for text in self.warnings if _IMPORTANT.search(text)]

    def failure(self, what: str, kind: type[BackendError] = BuildFailed, *, hint: str | None = None) -> BackendError:
        """Return the error for a call that has failed, in TensorRT's first words, which are then told.

        It is an `OutOfMemory` where they say so, or else of `kind`. `hint` is what to do where the words do not tell.
        """
        errors, self._errors = self._errors, []
        last = f"; its last warning: {self.warnings[-1]}" if self.warnings else ""
        text = errors[0] if errors else f"it gives no reason{last}"
        if any(map(_OUT_OF_MEMORY.search, errors)):
            kind = OutOfMemory
        return kind(f"{what}: {text.splitlines()[0]}", hint=hint_for(text) or hint)


def hint_for(text: str) -> str | None:
    """Return what to do about an error of TensorRT, where that is known."""
    return next((hint for pattern, hint in _HINTS if re.search(pattern, text)), None)


_loggers: dict[str, Any] = {}


def listen(trt: Any, log: BuildLog) -> Any:
    """Return a logger that tells `log`.

    There is one per process: TensorRT keeps the first that it is given, for whatever it says outside of a build.
    """
    if trt.__name__ not in _loggers:

        class Logger(trt.ILogger):
            target: BuildLog

            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # pybind11 does not want super() here

            def log(self, severity: Any, msg: str) -> None:
                self.target.add(int(severity), msg)

        _loggers[trt.__name__] = Logger()
    logger = _loggers[trt.__name__]
    logger.target = log
    return logger


def heard(trt: Any) -> BuildLog:
    """Return who is told at present: where the words are of a call that has failed just now."""
    log: BuildLog = _loggers[trt.__name__].target
    return log


class Progress:
    """Phases within phases, as the share of the whole that is done.

    Args:
        report: Told "phase, 40 %", at most twice a second.
        clock: Seconds.
    """

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._open: dict[str, tuple[int, int]] = {}  # steps done, and all; outermost phase first
        self._share = 0.0
        self._last = -_REPORT_S
        self._lock = threading.Lock()  # a builder may tell from any of its threads

    def start(self, phase: str, steps: int) -> None:
        """Open a phase inside those that are open."""
        with self._lock:
            self._open[phase] = 0, max(steps, 1)
            self._tell(phase)

    def done(self, phase: str, step: int) -> None:
        """Note that a phase has done its steps up to `step`, counted from 0."""
        with self._lock:
            if phase in self._open:
                self._open[phase] = step + 1, self._open[phase][1]
                self._tell(phase)

    def finish(self, phase: str) -> None:
        """Close a phase."""
        with self._lock:
            self._open.pop(phase, None)

    def _tell(self, phase: str) -> None:
        share, part = 0.0, 1.0
        for done, steps in self._open.values():
            share += part * min(done / steps, 1.0)
            part /= steps
        self._share = max(self._share, min(share, 1.0))  # a step may hold several phases, one after the other
        now = self._clock()
        if now - self._last >= _REPORT_S:
            self._last = now
            self._report(f"{phase}, {self._share:.0%}".replace("%", " %"))


def monitor(trt: Any, progress: Progress) -> Any:
    """Return a progress monitor for a builder's configuration."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.done(phase_name, step)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
