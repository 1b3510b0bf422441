"""Where a run takes place: on this machine, or wherever a plugin carries it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchfw.spec.events import Event
from benchfw.spec.info import NamedInfo
from benchfw.spec.stop import Stop


@dataclass(frozen=True, kw_only=True)
class ExecutorInfo(NamedInfo):
    """A way to run scenarios, as `benchfw run --executor NAME` takes it. `factory` names an `Executor`.

    It is imported in the parent, so `requires` are requirements of benchfw's own interpreter.
    """


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run: plain values, so that it can be sent elsewhere.

    Attributes:
        document: The scenario, overrides applied.
        source: Name of its file, for messages.
        root: Folder that its paths and modules start from.
        out: Folder of results.
        effort: Replaces the scenario's.
        backends: Names of backends to keep; empty for all.
        sweeps: Kinds of sweeps to keep; empty for all.
        against: For a comparison, the scenario of arm `b`, with the keys `document`, `source` and `root`.
        backends_against: Names of backends of arm `b` to keep; empty for all.
        thresholds: For a comparison, the relative difference that counts, by metric.
        min_delta_ns: For a comparison, the absolute difference below which nothing counts.
        request: Goes into the manifest: what the caller needs to ask for the same again.
        resume: Folder of the run to go on with.
        retry_failed: With `resume`: measure the cohorts of failed cases again.
        force: With `resume`: go on although something has changed; the rows say what.
        wait: Wait for another run on the same devices; else fail.
        shared: Measure beside other runs on the same devices; the rows of both are CONTENDED.
        rebuild: Make every artifact anew, though the cache has it.
        lock_clocks: MHz to hold the clocks of the GPUs at while it measures; None to leave them alone.
    """

    document: Mapping[str, Any]
    source: str
    root: str
    out: str
    effort: str | None = None
    backends: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()
    against: Mapping[str, Any] | None = None
    backends_against: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    min_delta_ns: float = 0.0
    request: Mapping[str, Any] = field(default_factory=dict)
    resume: str | None = None
    retry_failed: bool = False
    force: bool = False
    wait: bool = True
    shared: bool = False
    rebuild: bool = False
    lock_clocks: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        data = json.loads(text)
        return cls(**data | {key: tuple(data[key]) for key in ("backends", "backends_against", "sweeps")})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run left behind.

    Attributes:
        run_id: Its id.
        folder: Its folder, on this machine.
        rows: Rows of the table `cases`, in the order of the plan.
        interrupted: Why the run ended early; None if it did not.
    """

    run_id: str
    folder: Path
    rows: list[dict[str, Any]]
    interrupted: str | None = None


class Executor(ABC):
    """Runs jobs. Lives in the parent; made for one job."""

    @abstractmethod
    def run(self, job: Job, *, stop: Stop, notify: Callable[[Event], None]) -> Outcome:
        """Run a job and return once its results lie in a folder below `job.out` on this machine.

        What an executor needs to run the job somewhere is `benchfw.run_job(job)` there, in any interpreter that has
        benchfw and the plugins of the scenario.

        Args:
            job: What is to be run.
            stop: To be looked at now and then: `stop.check()` raises once the user wants the run to end.
            notify: To be told what happens; may be called with nothing but a `Stage` now and then.

        Raises:
            BenchfwError: The run as a whole failed; a case that failed is a row.
        """
