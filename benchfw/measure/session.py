"""A session while it runs: one worker, the instances that it has loaded, and what was found out about them."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.artifacts import Made
from benchfw.errors import CaseError, FellBack, Invalid, MissingDependency, WorkerCrashed
from benchfw.measure.canary import Canaries
from benchfw.measure.settings import Settings
from benchfw.requirements import check_requirements, versions
from benchfw.scenario import Case, Session
from benchfw.spec.device import CPU
from benchfw.spec.tensors import IoSpec, TensorSpec
from benchfw.supervisor import Worker
from benchfw.worker.protocol import Message

_OVERHEAD_N = 2000
_OVERHEAD_ROUNDS = 7
_MAX_THREADS = 1 << 20

MAX_FAILED_STARTS = 2
"""After so many in a row the other cases of a session are not tried: each may take as long as a deadline."""

_MAX_PADDING = 4096


@dataclass(frozen=True, kw_only=True)
class Start:
    """Which worker of a session is to be started.

    Attributes:
        number: Counts the workers of the session from 0.
        lane: 0, or the lane of a window that the worker is for.
        padding: Bytes to add to its environment variables.
    """

    number: int
    lane: int = 0
    padding: int = 0


StartWorker = Callable[[Session, Start], Worker]
"""Starts a worker of a session."""


@dataclass
class Instance:
    """A loaded artifact, and what loading it took.

    Attributes:
        device_bytes: Memory of the device that it took; None on the CPU.
        follows_closed: Another one was closed before it was loaded in its worker: what libraries keep for the next one,
            it could use.
    """

    key: str
    made: Made
    build_s: float
    load_s: float
    io: IoSpec
    facts: Mapping[str, Any]
    device_bytes: int | None = None
    follows_closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Host:
    """A worker as rows speak of it.

    Attributes:
        invocation: Its number within the session, from 0.
        log: Its log.
        python: Version of its interpreter.
        backend_version: Version of the framework, the first requirement of the backend.
        overhead: `harness_overhead_ns` and `bare_loop_ns`, once measured.
        padding: Bytes that were added to its environment.
        pid: Of its process.
        device: Facts of its device; None on the CPU.
    """

    invocation: int = 0
    log: Path | None = None
    python: str | None = None
    backend_version: str | None = None
    overhead: Mapping[str, float] = field(default_factory=dict)
    padding: int = 0
    pid: int | None = None
    device: Mapping[str, Any] | None = None


@dataclass
class LiveSession:
    """The parent's view of a session.

    Attributes:
        session: Its part of the plan.
        peak_rss_bytes: Largest peak that a case of it has reached.
        invocation: Number of the current worker, from 0.
        death: How the last worker that was found dead had ended.
        lane: 0, or the lane of windows that this session serves beside another one.
        canaries: Looks at the canary of the current worker.
        device: Facts of its device; None on the CPU, and before that was opened.
        device_memory: See `DeviceMemory.told`, the last time.
        left_bytes: Memory of the device that closed instances of the current worker have not given back, by their keys.
    """

    session: Session
    settings: Settings
    start: StartWorker
    root: Path
    frameworks: Path
    inputs: Sequence[TensorSpec]
    peak_rss_bytes: int = 0
    invocation: int = 0
    overhead: Mapping[str, float] = field(default_factory=dict)
    death: CaseError | None = None
    lane: int = 0
    canaries: Canaries = field(default_factory=Canaries)
    device: Mapping[str, Any] | None = None
    device_memory: Mapping[str, int] | None = None
    left_bytes: dict[str, int] = field(default_factory=dict)
    _has_closed: bool = False
    _companions: int = 0
    _worker: Worker | None = None
    _instances: dict[str, Instance] = field(default_factory=dict)
    _opened: int = 0
    _refusal: CaseError | None = None
    _failed_starts: int = 0

    def start_worker(self) -> None:
        """Start the worker if there is none; a dead one is followed by the next invocation.

        Raises:
            MissingDependency: Its interpreter lacks what the backend needs.
            WorkerError: It does not start.
        """
        if self._worker is not None and not self._worker.alive:
            self.close()
        if self._worker is not None:
            return
        if self._refusal is not None:
            raise self._refusal
        try:
            self._worker = self._started()
            self._failed_starts = 0
        except CaseError as error:
            self._failed_starts += 1
            if isinstance(error, MissingDependency) or self._failed_starts == MAX_FAILED_STARTS:
                self._refusal = error  # it would be the same for every case of the session
            raise

    def _started(self) -> Worker:
        worker = self.start(self.session, Start(number=self.invocation, lane=self.lane, padding=self._padding))
        info = self.session.info
        assert info is not None
        try:
            check_requirements(info.name, info.requires, worker.hello["packages"], info.install)
        except CaseError:
            worker.close()
            raise
        return worker

    @property
    def processes(self) -> tuple[int, ...]:
        """The worker's process; none without one."""
        return () if self._worker is None else (self._worker.pid,)

    def look(self) -> None:
        """Look at the whole canary of the worker."""
        self.canaries.note(self.ask("canary", self.settings.load_s, whole=True).values["parts"])

    @property
    def _padding(self) -> int:
        """Bytes that the environment of the worker grows by, at random where there are several invocations.

        The size of the environment moves the stack, and with it how data falls into caches and pages: one size would
        be one more accident that all invocations share (Mytkowicz et al., Producing Wrong Data Without Doing Anything
        Obviously Wrong!, ASPLOS'09).
        """
        if self.settings.rule.invocations == 1:
            return 0
        seed = [self.settings.seed, zlib.crc32(self.session.session_id.encode()), self.invocation, self.lane]
        return int(np.random.default_rng(seed).integers(_MAX_PADDING))

    def companion(self) -> LiveSession:
        """Return another session like this one, for a lane of its own. Its worker is not started yet."""
        self._companions += 1
        return LiveSession(
            self.session,
            self.settings,
            self.start,
            self.root,
            self.frameworks,
            self.inputs,
            invocation=self.invocation,
            lane=self._companions,
            overhead=self.overhead,
        )

    @property
    def is_open(self) -> bool:
        return self._worker is not None and self._worker.alive

    @property
    def host(self) -> Host:
        """Facts of the current worker, or of the one that just died."""
        if self._worker is None:
            return Host(invocation=self.invocation)
        hello = self._worker.hello
        requires = self.session.info.requires if self.session.info else ()
        version = next(iter(versions(requires, hello["packages"]).values()), None)
        return Host(
            invocation=self.invocation,
            log=self._worker.log,
            python=hello["python"],
            backend_version=version,
            overhead=dict(self.overhead),
            padding=self._padding,
            pid=self._worker.pid,
            device=self.device,
        )

    def take_dropped_bytes(self) -> int:
        """Return what the worker's log has lost since this was last asked, because there was too much of it."""
        return self._worker.take_dropped_bytes() if self._worker is not None else 0

    def ask(self, kind: str, timeout: float, /, **values: Any) -> Message:
        """Resume the worker for one question; it is held again once it has answered.

        Raises:
            CaseError, Interrupted: See `Worker.ask`.
        """
        if self._worker is None:
            raise WorkerCrashed(f"the worker is gone, {kind!r} cannot be asked")
        with self._worker.running() as worker:
            return worker.ask(kind, timeout, **values)

    def instance(self, case: Case, make: Callable[[], Made]) -> Instance:
        """Return the instance that serves a case: opened, prepared and loaded if it is not there yet."""
        key = case.instance_key
        if not self.is_open:
            self._instances.clear()
        if key not in self._instances:
            self.open_device()
            self._instances[key] = self._load(case, make(), key)
        return self._instances[key]

    def open_device(self) -> None:
        """Let the worker open the device of the session, if it is not the CPU: before anything is built for it.

        Raises:
            MissingDependency: It is not there.
        """
        info = self.session.info
        if self.session.device != CPU and info is not None:
            self.start_worker()
            answer = self.ask("device", self.settings.load_s, device=self.session.device, factory=info.factory)
            self.device = answer.values["facts"]

    def _load(self, case: Case, made: Made, key: str) -> Instance:
        info = self.session.info
        assert info is not None
        settings = self.settings
        self.start_worker()
        self._opened += 1
        name = f"{key}#{self._opened}"
        self.ask(
            "open",
            settings.load_s,
            instance=name,
            factory=info.factory,
            options=dict(self.session.options),
            context={
                "device": self.session.device,
                "threads": self.session.threads or settings.threads,
                "precision": self.session.precision,
                "cache_dir": str(self.frameworks),
                "root": str(self.root),
                "inputs": [asdict(spec) for spec in self.inputs],
                "allow_fallback": self.session.entry.allow_fallback,
            },
            mode=asdict(case.mode),
        )
        try:
            prepared = self.ask(
                "prepare", settings.build_s, instance=name, artifact=asdict(made.artifact), profile=asdict(case.profile)
            ).values
            loaded = self.ask("load", settings.load_s, instance=name).values
            self.check_facts(loaded["facts"])
        except Exception:
            with contextlib.suppress(CaseError):  # what went wrong first is what counts
                self._forget(name)
            raise
        if not self.overhead:
            self.overhead = self.ask("overhead", settings.load_s, n=_OVERHEAD_N, rounds=_OVERHEAD_ROUNDS).values
        return Instance(
            key=name,
            made=made,
            build_s=prepared["build_s"],
            load_s=loaded["load_s"],
            io=IoSpec.from_json(loaded["io"]),
            facts=loaded["facts"],
            device_bytes=loaded.get("device_bytes"),
            follows_closed=self._has_closed,
        )

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Compare what runs with what was asked for.

        Raises:
            Invalid: The results could not hold it.
            FellBack: Another provider or precision is in effect, which would be timed under the wrong name, and the
                scenario does not allow that.
        """
        _check_types(facts)
        departures = self.departures(facts)
        if departures and not self.session.entry.allow_fallback:
            raise FellBack(departures[0], hint="ask for that, or let it count: allow_fallback = true")

    def departures(self, facts: Mapping[str, Any]) -> list[str]:
        """Say what is in effect instead of what was asked for; nothing if that is the same."""
        info = self.session.info
        assert info is not None
        wanted = {"provider": info.provider, "precision": self.session.precision}
        effective = {what: facts.get(f"{what}_effective") for what in wanted}
        return [
            f"asked for the {what} {asked}, {effective[what]} is in effect"
            for what, asked in wanted.items()
            if asked and effective[what] and effective[what] != asked
        ]

    def drop(self, case: Case) -> None:
        """Close the instance that serves a case, so that a later one loads it anew.

        An allocator that has failed to get what is huge may not give what is small: ONNX Runtime's arena goes on asking
        for nearly as much.
        """
        instance = self._instances.pop(case.instance_key, None)
        if instance is not None:
            self._has_closed = True
            with contextlib.suppress(CaseError):  # of the one that has failed, that was told
                self._forget(instance.key)

    def keep_only(self, keys: set[str]) -> None:
        """Close the instances but those of some keys, which later cases need, and the worker if none is left."""
        for key in [key for key in self._instances if key not in keys]:
            self._has_closed = True
            self._forget(self._instances.pop(key).key)
        if not keys:
            self.close()

    def close(self) -> None:
        """End the worker; another one would be the next invocation. Idempotent."""
        if self._worker is not None:
            if not self._worker.alive:
                self.death = self._worker.death()
            self._worker.close()
            self.invocation += 1
            self.overhead = {}
            self._has_closed = False
            self._companions = 0
            self.canaries = Canaries()
        self._worker = None
        self._instances.clear()

    def _forget(self, name: str) -> None:
        if not self.is_open:
            return
        left = self.ask("close", self.settings.load_s, instance=name).values.get("device_bytes")
        if left is not None:
            self.left_bytes[name] = left


def _check_types(facts: Mapping[str, Any]) -> None:
    """Refuse facts that the results could not hold, before anything is measured.

    Raises:
        Invalid: A known key has a value of another type.
    """
    texts = dict.fromkeys(("provider_effective", "precision_effective", "backend_version"), str)
    for key, kind in {**texts, "threads_effective": int}.items():
        if type(facts.get(key, kind())) is not kind:  # True is an int
            raise Invalid(f"the backend's fact {key!r} is {facts[key]!r}, not of type {kind.__name__}")
    if not 0 <= facts.get("threads_effective", 0) <= _MAX_THREADS:
        raise Invalid(f"the backend's fact 'threads_effective' is {facts['threads_effective']}, which no machine has")
