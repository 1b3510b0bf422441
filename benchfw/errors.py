"""Every error that benchfw raises on purpose, as one tree.

    BenchfwError                 carries `hint` (what to do) and `exit_code`
    ├── UsageError               the command line asks for something that cannot be     (exit 2)
    │   └── ScenarioError        a scenario file, with all of its faults
    ├── PluginError              a plugin cannot be used
    │   ├── DuplicateName        two plugins register one name
    │   └── UnknownName          nothing is registered under a name
    ├── CaseError                ends one case, not the run; `status` goes into its row
    │   ├── BackendError         a backend cannot serve a case
    │   │   ├── Unsupported          this backend never can                     UNSUPPORTED
    │   │   ├── MissingDependency    not here, not now                          SKIPPED
    │   │   ├── BuildFailed          compiling, converting or loading failed    BUILD_FAILED
    │   │   ├── OutOfMemory          host or device memory ran out              OOM
    │   │   ├── DeviceLost           an error that the process cannot recover from  CRASH
    │   │   ├── FellBack             another provider than the requested one    FALLBACK
    │   │   ├── Invalid              outputs or shapes are not what was agreed  INVALID
    │   │   └── BadReference         what names the model is wrong              ends the run   (exit 2)
    │   └── WorkerError          the worker process failed
    │       ├── WorkerCrashed        it ended                                   CRASH
    │       ├── WorkerTimeout        it missed a deadline                       TIMEOUT
    │       └── ProtocolError        it speaks something else                   INVALID
    ├── ResultError              a results folder cannot be read or written
    ├── DeviceBusy               another run measures on the same devices
    ├── NvmlError                NVIDIA's management library refuses, or cannot be used
    │   └── NoDriver             because there is no NVIDIA driver
    └── Interrupted              the user or the system wants the run to end   (exit 130)

This module is handed to workers: stdlib only, CPython 3.10 and later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class BenchfwError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What is wrong, naming the place.
        hint: What the reader can do about it, if anything.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BenchfwError):
    """The command line or the API was asked for something that cannot be."""

    exit_code = 2


@dataclass(frozen=True)
class Fault:
    """One fault of a scenario.

    Attributes:
        path: Keys and indices that lead there; empty for the file as a whole.
        reason: What is wrong with the value there.
        line: Line of the file, from 1; None where the value has none (a `--set`, a missing table).
        nearest: The nearest valid name, where the fault is a misspelt one.
        unprovided: The value names what a plugin might provide, and none does.
    """

    path: tuple[str | int, ...]
    reason: str
    line: int | None = None
    nearest: str | None = None
    unprovided: bool = False

    @property
    def key(self) -> str:
        """The path as people write it: `backend[1].options.threads`."""
        text = ""
        for step in self.path:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text


class ScenarioError(UsageError):
    """A scenario that cannot be used, with all of its faults at once."""

    def __init__(self, source: str, faults: list[Fault], *, hint: str | None = None) -> None:
        self.source = source
        self.faults = faults
        super().__init__("\n".join(self._lines()), hint=hint)

    def _lines(self) -> list[str]:
        lines = []
        for fault in self.faults:
            place = self.source if fault.line is None else f"{self.source}:{fault.line}"
            key = f" {fault.key}:" if fault.path else ""
            nearest = f" (did you mean {fault.nearest!r}?)" if fault.nearest else ""
            lines.append(f"{place}:{key} {fault.reason}{nearest}")
        return lines


class PluginError(BenchfwError):
    """A plugin that cannot be used."""

    exit_code = 2


class DuplicateName(PluginError):
    """Two plugins register the same name."""


class UnknownName(PluginError):
    """Nothing is registered under this name."""


class CaseError(BenchfwError):
    """Ends one case, not the run.

    Attributes:
        status: What the case's row says.
        stage: What the worker was asked for, where that is known.
        signal: Name of the signal that ended the worker, if one did.
        log: Path of the worker's log.
    """

    status: ClassVar[str] = "CRASH"
    stage: str | None = None
    signal: str | None = None
    log: str | None = None


class BackendError(CaseError):
    """A backend cannot serve a case."""


class Unsupported(BackendError):
    """This backend never can (precision, axis, operator)."""

    status = "UNSUPPORTED"


class MissingDependency(BackendError):
    """Something that the backend needs is not on this machine."""

    status = "SKIPPED"


class BuildFailed(BackendError):
    """Converting, compiling or loading the model failed."""

    status = "BUILD_FAILED"


class OutOfMemory(BackendError):
    """Host or device memory ran out."""

    status = "OOM"


class DeviceLost(BackendError):
    """Something on the device has failed, and this process cannot use it any more: its worker is ended."""


class FellBack(BackendError):
    """The framework answered with another provider than the requested one."""

    status = "FALLBACK"


class Invalid(BackendError):
    """Outputs, shapes or dtypes are not what was agreed."""

    status = "INVALID"


class BadReference(BackendError):
    """A model reference leads nowhere: what names it is wrong, not a file. It ends the run."""

    status = "BUILD_FAILED"
    exit_code = 2


class WorkerError(CaseError):
    """The worker process failed while it served a case."""


class WorkerCrashed(WorkerError):
    """The worker ended before it answered."""


class WorkerTimeout(WorkerError):
    """The worker did not answer within the deadline."""

    status = "TIMEOUT"


class ProtocolError(WorkerError):
    """The other end of the pipe speaks something else."""

    status = "INVALID"


class ResultError(BenchfwError):
    """A results folder cannot be read or written."""


class DeviceBusy(BenchfwError):
    """Another run measures on the same devices."""

    exit_code = 2


class NvmlError(BenchfwError):
    """NVIDIA's management library refuses, or cannot be used.

    Attributes:
        code: The number that it gave; None if it was not reached at all.
    """

    def __init__(self, message: str, *, hint: str | None = None, code: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NoDriver(NvmlError):
    """There is no NVIDIA driver: nothing is wrong on a machine without such a GPU."""


class Interrupted(BenchfwError):
    """The user (Ctrl-C) or the system (SIGTERM) wants the run to end; what is there has been stored."""

    exit_code = 130


BACKEND_ERRORS: dict[str, type[BackendError]] = {
    kind.__name__: kind
    for kind in (
        Unsupported,
        MissingDependency,
        BuildFailed,
        OutOfMemory,
        DeviceLost,
        FellBack,
        Invalid,
        BadReference,
    )
}
"""Errors that cross the wire by name, so that the parent raises what the worker raised."""
