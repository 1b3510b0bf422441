"""The workers of one run: those of its sessions, the one that makes artifacts, the one that samples."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchfw.artifacts import Builder, Cache
from benchfw.environments import DEFAULT, Environment, start_worker, thread_variables
from benchfw.errors import CaseError, Invalid
from benchfw.executors.arm import ONLY, Arm
from benchfw.executors.manifest import Manifest
from benchfw.executors.options import filler, step_options
from benchfw.executors.resume import refuse
from benchfw.handover import hand_over
from benchfw.measure import Settings
from benchfw.measure.session import Start
from benchfw.registry import Registry
from benchfw.requirements import distributions
from benchfw.scenario import Plan, Session
from benchfw.scenario.arms import BASELINE, CONTROL
from benchfw.spec.sampler import SamplerInfo
from benchfw.spec.stop import Stop
from benchfw.supervisor import HELLO_TIMEOUT_S, Worker

DEFAULT_SAMPLERS = {"host": "", "nvml": "cuda"}
"""What is read unless the scenario says, and the kind of device without which there is nothing to read."""
TELEMETRY_VARIABLE = "BENCHFW_TELEMETRY"
"""`off` for no samplers, whatever the scenario says."""
BUS_ORDER = {"CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")}
"""CUDA counts the fastest GPU first unless told otherwise; so `cuda:0` is the same one as for NVML."""
_PADDING = "BENCHFW_PADDING"
"""Holds what an environment is made larger by; nobody reads it."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Starts workers, and holds what they say of themselves against the manifest.

    Attributes:
        arms: The scenarios of the run by their names.
        registry: What plugins provide.
        settings: Threads and deadlines.
        manifest: Of the run; knows what earlier attempts ran on.
        run_id: For messages.
        logs: Folder of logs.
        code: Folder for what workers import; its parent's name begins their marks.
        stop: Ends every wait for an answer.
        rebuild: Make artifacts anew that the cache has.
    """

    arms: Mapping[str, Arm]
    registry: Registry
    settings: Settings
    manifest: Manifest
    run_id: str
    logs: Path
    code: Path
    stop: Stop
    rebuild: bool = False

    def hand_over(self) -> None:
        """Copy what workers may import: backends and samplers of the scenario, the model's source, all steps."""
        uses = {entry.use for arm in self.arms.values() for entry in arm.scenario.backend}
        infos = [
            *(info for name, info in self.registry.backends.items() if name in uses),
            *self.registry.steps.values(),
            *(arm.source for arm in self.arms.values()),
            *self.samplers(set(DEFAULT_SAMPLERS.values())).values(),
        ]
        hand_over(self.code, {factory for info in infos for factory in info.code})

    def samplers(self, devices: Collection[str]) -> dict[str, SamplerInfo]:
        """Return the samplers of the run by their names: the first scenario's, or the default; none if they are off.

        Args:
            devices: What the run measures on: `cpu`, `cuda:0`, …
        """
        if os.environ.get(TELEMETRY_VARIABLE, "").lower() == "off":
            return {}
        names = self._first.scenario.measure.samplers
        if names is None:
            fit = (name for name, kind in DEFAULT_SAMPLERS.items() if any(d.startswith(kind) for d in devices))
            names = [name for name in fit if name in self.registry.samplers]
        return {name: self.registry.sampler(name) for name in names}

    @property
    def _first(self) -> Arm:
        return next(iter(self.arms.values()))

    def builder(self, arm: Arm, cache: Cache, notify: Callable[[str], None]) -> Builder:
        """Return the builder of an arm's artifacts, whose workers start when they are first needed.

        Each arm has its own: two versions of a module of the same name cannot be imported into one process.
        """
        steps = self.registry.steps
        names = {name for info in (*steps.values(), arm.source) for name in distributions(info.requires)}
        names |= {name for info in steps.values() for name in info.uses}

        def start(environment: str) -> Worker:
            label = "-".join(filter(None, ("artifacts", arm.name, environment if environment != DEFAULT else "")))
            worker = self._worker(label, arm.environments[environment], names, arm.threads)
            try:
                self._state(label, worker)
            except BaseException:
                worker.close()
                raise
            return worker

        return Builder(
            start=start,
            cache=cache,
            steps=steps,
            options=filler(step_options(self.registry)),
            timeout=self.settings.build_s,
            rebuild=self.rebuild,
            stop=self.stop,
            notify=notify,
            root=arm.loaded.root,
        )

    def start(self, session: Session, which: Start) -> Worker:
        """Start the worker of a session.

        Raises:
            Invalid: It runs on something else than before.
            CaseError: It does not start.
        """
        worker = self._of(session, which)
        changes = self.manifest.state_worker(session.session_id, worker.hello)
        if changes:
            worker.close()
            raise Invalid(f"what it runs on has changed since the run began: {'; '.join(changes)}")
        return worker

    def sampler(self, samplers: Mapping[str, SamplerInfo]) -> Worker:
        """Start the worker that reads these samplers.

        Waiting for it does not heed the run's `Stop`: it starts in a thread of its own, while the run goes on.
        """
        names = {name for info in samplers.values() for name in distributions(info.requires)}
        return self._worker("samplers", self._first.environments[DEFAULT], names, 1, stop=Stop())

    def compare(self, plan: Plan) -> None:
        """Start the worker of every session once, for what it says of its packages.

        Raises:
            UsageError: They are not those of before, and nobody insists.
        """
        for session_id in {case.session.session_id for case in plan.cases if case.status is None}:
            with contextlib.suppress(CaseError):  # told again when its case is loaded
                worker = self._of(plan.sessions[session_id], Start(number=0))
                worker.close()
                self._state(session_id, worker)

    def _state(self, session_id: str, worker: Worker) -> None:
        changes = self.manifest.state_worker(session_id, worker.hello)
        if changes:
            raise refuse(self.run_id, changes)

    def _of(self, session: Session, which: Start) -> Worker:
        suffix = (f".{which.number}" if which.number else "") + (f".lane{which.lane}" if which.lane else "")
        names = set(distributions(session.info.requires)) if session.info else set()
        padding = {_PADDING: "x" * which.padding} if which.padding else {}
        arm = self.arms[arm_name(session.arm)]
        environment = arm.environments[session.environment]
        return self._worker(session.session_id + suffix, environment, names, arm.threads, padding)

    def _worker(
        self,
        log: str,
        environment: Environment,
        distributions: set[str],
        threads: int,
        env: Mapping[str, str] | None = None,
        stop: Stop | None = None,
    ) -> Worker:
        suffix = f".resumed{self.manifest.attempt}" if self.manifest.attempt else ""
        return start_worker(
            environment,
            code=self.code,
            log=self.logs / f"{log}{suffix}.log",
            env=BUS_ORDER | thread_variables(threads) | dict(env or {}),
            distributions=distributions,
            timeout=min(HELLO_TIMEOUT_S, self.settings.load_s),
            stop=stop or self.stop,
            mark=self.code.parent.name,
        )


def arm_name(arm: str | None) -> str:
    """Return which scenario the sessions of an arm come from: the control is the baseline once more."""
    return ONLY if arm is None else BASELINE if arm == CONTROL else arm
