"""The executor of this machine: from a job, or a scenario, to an outcome."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw import plugins
from benchfw.executors.arm import ONLY, Arm, make_arm
from benchfw.executors.devices import ANY_GPU, Devices, cpus
from benchfw.executors.log import EventLog, run_log
from benchfw.executors.options import backend_options, step_options
from benchfw.executors.resume import Resume
from benchfw.executors.run import Run
from benchfw.executors.workers import BUS_ORDER
from benchfw.gpu.identify import uuids
from benchfw.measure import Event
from benchfw.measure.comparisons import Criteria
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, from_document
from benchfw.scenario.arms import BASELINE, CANDIDATE, only
from benchfw.spec.device import CPU, CUDA, DeviceName
from benchfw.spec.events import Notice
from benchfw.spec.executor import Executor, Job, Outcome
from benchfw.spec.stop import Stop


class LocalExecutor(Executor):
    """Runs jobs on this machine."""

    def run(self, job: Job, *, stop: Stop, notify: Callable[[Event], None]) -> Outcome:
        return run_job(job, stop=stop, notify=notify)


def run_job(job: Job, *, stop: Stop | None = None, notify: Callable[[Event], None] = lambda event: None) -> Outcome:
    """Run a job on this machine, with the plugins that are installed here.

    Raises:
        BenchfwError: As `run_scenario`; the scenario or a plugin does not fit this machine.
    """
    registry = plugins.registry()
    against = job.against
    loaded = _load(registry, job.document, job.source, job.root)
    other = _load(registry, against["document"], against["source"], against["root"]) if against else None
    resume = Resume(folder=Path(job.resume), retry_failed=job.retry_failed, force=job.force) if job.resume else None
    return run_scenario(
        loaded,
        registry,
        out=Path(job.out),
        effort=job.effort,
        only_backends=frozenset(job.backends),
        against=only(other, frozenset(job.backends_against)) if other else None,
        criteria=Criteria(thresholds=job.thresholds, min_delta_ns=job.min_delta_ns) if other else None,
        only_sweeps=frozenset(job.sweeps),
        request=job.request,
        resume=resume,
        wait=job.wait,
        shared=job.shared,
        rebuild=job.rebuild,
        lock_clocks=job.lock_clocks,
        stop=stop,
        notify=notify,
    )


def _load(registry: Registry, document: Mapping[str, Any], source: str, root: str) -> Loaded:
    with registry.explaining():
        return from_document(
            copy.deepcopy(dict(document)),
            source=source,
            root=Path(root),
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )


def run_scenario(
    loaded: Loaded,
    registry: Registry,
    *,
    out: Path,
    against: Loaded | None = None,
    criteria: Criteria | None = None,
    effort: str | None = None,
    only_backends: frozenset[str] = frozenset(),
    only_sweeps: frozenset[str] = frozenset(),
    request: Mapping[str, Any] | None = None,
    resume: Resume | None = None,
    wait: bool = True,
    shared: bool = False,
    rebuild: bool = False,
    lock_clocks: int | None = None,
    stop: Stop | None = None,
    notify: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run a scenario and write its results.

    Args:
        loaded: The scenario.
        registry: What plugins provide.
        out: Folder of results.
        against: The scenario of arm `b`, if this is a comparison.
        criteria: What counts as a difference between the arms.
        effort: Replaces the scenario's.
        only_backends, only_sweeps: What to keep of the plan; empty for all.
        request: Goes into the manifest: what the caller needs to ask for the same again.
        resume: Go on with a run instead of making a new one.
        wait: Wait for another run on the same CPUs, or the same GPU; else fail.
        shared: Measure beside other runs there; the rows of both are CONTENDED.
        rebuild: Make every artifact anew, though the cache has it.
        lock_clocks: MHz to hold the clocks of the GPUs at while it measures; None to leave them alone.
        stop: Ends the run after the current block, with rows for everything.
        notify: Told what happens, between blocks.

    Raises:
        ScenarioError: The scenario does not fit the model.
        CaseError: The model cannot be resolved.
        ResultError: The results cannot be written.
        UsageError: The run to be resumed was made with something else.
        NvmlError: The clocks cannot be locked.
        DeviceBusy: Another run measures, and `wait` is false.
        Interrupted: The run was stopped before it had a plan.
    """
    stop = stop or Stop()
    log = EventLog()

    def log_and_notify(event: Event) -> None:
        log(event)
        notify(event)

    tell = registry.teller(log_and_notify)  # the log also has what went wrong in telling plugins

    def warn(text: str) -> None:
        tell(Notice(text))

    if against is None:
        arms = [make_arm(ONLY, loaded, registry)]
    else:
        arms = [
            make_arm(BASELINE, only(loaded, only_backends), registry),
            make_arm(CANDIDATE, against, registry),
        ]
        only_backends = frozenset()
    devices = _devices(arms, registry, only_backends, warn)
    with devices.taken(wait=wait, shared=shared, notify=warn, stop=stop):
        run = Run(
            arms, registry, out, effort, resume, devices, stop, tell, criteria, rebuild=rebuild, lock_clocks=lock_clocks
        )
        devices.name(run.writer.run_id)
        with run.writer, run_log(run.writer.folder, warn):
            return run.run(only_backends, only_sweeps, request or {})


def _devices(
    arms: Sequence[Arm], registry: Registry, only_backends: frozenset[str], warn: Callable[[str], None]
) -> Devices:
    """Return what a run takes: the devices that it measures on, and the CPUs beside them.

    A run that measures on GPUs alone lets others of its kind use the CPUs meanwhile: each launches on another GPU.
    """
    places = [place for arm in arms for place in arm.places(registry, only_backends)]
    beside = dict.fromkeys(cpus())
    names = dict(beside) if not places or any(device == CPU for device, _ in places) else {}
    gpus: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for device, environment in places:
        if DeviceName.parse(device).kind == CUDA:
            gpus.setdefault(tuple(sorted(environment.env.items())), []).append(device)
        elif device != CPU:
            names[device.replace(":", "-")] = None
    for variables, devices in gpus.items():
        found = uuids(devices, {**os.environ, **BUS_ORDER, **dict(variables)})
        for device in dict.fromkeys(devices):
            if device not in found:
                warn(f"which GPU {device} is cannot be told: no other run may measure on any GPU meanwhile")
            names[found.get(device, ANY_GPU)] = None
    if gpus:
        beside[ANY_GPU] = None
    return Devices(list(names), list(beside))
