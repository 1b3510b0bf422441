"""Resolves the model and makes artifacts of it, in a worker, through the cache."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from benchfw.artifacts.cache import Cache
from benchfw.artifacts.denormals import denormals_left
from benchfw.artifacts.entries import evict, sweep
from benchfw.artifacts.heartbeat import Heartbeat
from benchfw.artifacts.holds import Uses
from benchfw.artifacts.made import Made, ResolvedModel
from benchfw.artifacts.routes import HERE, Wanted, find_route, precisions_along
from benchfw.errors import BackendError, BenchfwError, BuildFailed, CaseError
from benchfw.requirements import check_requirements, versions
from benchfw.spec.artifact import ALWAYS, Artifact, FormatInfo, ModelSourceInfo, StepInfo
from benchfw.spec.device import CPU
from benchfw.spec.info import Info
from benchfw.spec.stop import Stop
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec
from benchfw.supervisor import Worker

_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_ROOM = "make room there (`benchfw cache rm --older-than 30d`, `df`), or let BENCHFW_CACHE name another folder"


class _Place(NamedTuple):
    """Where a step runs: the interpreter, and the device that an engine is built on."""

    environment: str = HERE
    device: str = CPU


def is_full(error: BackendError) -> bool:
    """Say whether a worker tells of a disk, or a quota, that is full."""
    return any(text in error.message for text in _FULL)


class Builder:
    """Workers that resolve and convert, each started when it is first needed.

    Engines are built on the interpreter and the device that run them, all else on benchfw's own and no device.

    Args:
        start: Starts a worker in the environment of a name, which tells versions of all that steps require.
        cache: Where artifacts are kept.
        steps: Every step that plugins provide.
        options: Returns the options of a step, validated, defaults filled in; given its name and those that are set.
        timeout: Deadline of a resolution or step, in seconds.
        rebuild: Make every artifact anew, once.
        stop: Ends the wait for another run that makes the same artifact.
        notify: Told when a step begins that the cache cannot spare, and every few seconds how far it is.
        root: Folder that relative paths in options of steps start from; default: the current one.
    """

    def __init__(
        self,
        *,
        start: Callable[[str], Worker],
        cache: Cache,
        steps: Mapping[str, StepInfo],
        options: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
        timeout: float,
        rebuild: bool = False,
        stop: Stop | None = None,
        notify: Callable[[str], None] = lambda text: None,
        root: Path | None = None,
    ) -> None:
        self._notify = notify
        self._root = root or Path.cwd()
        self._start = start
        self._cache = cache
        self._steps = steps
        self._options = options
        self._rebuild = rebuild
        self._stop = stop or Stop()
        self._timeout = timeout
        self._workers: dict[str, Worker] = {}
        self._uses = Uses(cache.root / "locks")
        self._made: dict[tuple[Any, ...], Made | BenchfwError] = {}

    @property
    def worker(self) -> Worker:
        return self._worker_in(HERE)

    def _worker_in(self, environment: str) -> Worker:
        worker = self._workers.get(environment)
        if worker is not None and not worker.alive:
            self._workers.pop(environment).close()
            worker = None
        if worker is None:
            worker = self._workers[environment] = self._start(environment)
        return worker

    def resolve(
        self, source: ModelSourceInfo, target: str, *, root: Path, seed: int, weights: str | None
    ) -> ResolvedModel:
        """Resolve a reference.

        Raises:
            CaseError: It cannot be resolved.
        """
        self._check(f"a model from {source.scheme}:", source)
        start = time.monotonic()
        with self._writing():
            answer = self.worker.ask(
                "resolve",
                self._timeout,
                factory=source.factory,
                target=target,
                root=str(root),
                destination=str(self._cache.models),
                seed=seed,
                weights=str(root / weights) if weights else None,
            ).values
        io = IoSpec.from_json(answer["io"]) if answer["io"] else None
        artifact = Artifact.from_json(answer["artifact"])
        if Path(artifact.path).parent == self._cache.root / "models":
            self._uses.add(Path(artifact.path).name)
        return ResolvedModel(artifact=artifact, io=io, seconds=time.monotonic() - start)

    def ask_format(self, kind: str, info: FormatInfo, **values: Any) -> Mapping[str, Any]:
        """Let a format `describe` a file, or `copy` one, and return the facts that it tells.

        Raises:
            CaseError: The file is none of that format, or cannot be read or written.
        """
        self._check(f"a file of format {info.name}", info)
        answer = self.worker.ask(kind, self._timeout, factory=info.factory, **values)
        facts: Mapping[str, Any] = answer.values["facts"]
        return facts

    def make(
        self,
        artifact: Artifact,
        wanted: Wanted,
        *,
        inputs: Sequence[TensorSpec],
        profile: Profile,
        build: int = 0,
    ) -> Made:
        """Return the artifact that a case needs, from the cache or made now.

        Args:
            artifact: What to make it of.
            wanted: What it is to be.
            inputs, profile: For which shapes.
            build: Which one of several artifacts that are built for a runtime by the same recipe. They share nothing
                that frameworks keep, as what kernels took.

        Raises:
            CaseError: A step failed or there is no route.
        """
        route = find_route(artifact.format, wanted, self._steps.values(), precision=artifact.precision)
        goal = wanted.precision or artifact.precision
        own = () if route else tuple(artifact.meta.get("warnings", ()))  # a step says itself what still holds
        made = Made(artifact=artifact, steps=(), seconds=0.0, warnings=own)
        for step, precision in zip(route, precisions_along(route, artifact.precision, goal), strict=True):
            made = self._once(step, made, inputs, profile, precision, wanted, build if step.runtime else None)
        left = denormals_left([artifact.meta, *made.metas])
        return replace(made, warnings=(*made.warnings, left)) if left else made

    def _once(
        self,
        step: StepInfo,
        made: Made,
        inputs: Sequence[TensorSpec],
        profile: Profile,
        precision: str,
        wanted: Wanted,
        build: int | None,
    ) -> Made:
        """Run a step unless it has run: every case that needs what failed fails alike."""
        options = self._options(step.name, wanted.options(step.name))
        place = _Place(wanted.environment, wanted.device) if step.runtime else _Place()
        key = (
            made.artifact.sha256,
            made.steps,
            step.name,
            profile.slug,
            precision,
            json.dumps(options, sort_keys=True),
            tuple(inputs),
            place,
            build,
        )
        if key not in self._made:
            try:
                self._made[key] = self._run(step, made, options, inputs, profile, precision, place, build)
            except CaseError as error:
                self._made[key] = error
        result = self._made[key]
        if isinstance(result, BenchfwError):
            raise result
        return result

    def end_worker(self) -> None:
        """End all workers. Idempotent; a later call starts another one."""
        while self._workers:
            self._workers.popitem()[1].close()

    def close(self) -> None:
        """End the worker, and no longer need what was made: others may remove it. Idempotent."""
        self.end_worker()
        self._uses.close()

    def _run(
        self,
        step: StepInfo,
        made: Made,
        options: Mapping[str, Any],
        inputs: Sequence[TensorSpec],
        profile: Profile,
        precision: str,
        place: _Place,
        build: int | None,
    ) -> Made:
        self._check(f"the step {step.name}", step, place.environment)
        worker = self._worker_in(place.environment)
        packages = worker.hello["packages"]
        recipe: dict[str, Any] = {
            "step": step.name,
            "source_sha256": made.artifact.sha256,
            "options": dict(options),
            "precision": precision,
            "profile": {name: [axis.min, axis.opt, axis.max] for name, axis in profile.axes.items()},
            "inputs": [[spec.name, spec.dtype, list(spec.shape), spec.low, spec.high] for spec in inputs],
            "versions": versions(step.requires, packages) | {name: packages.get(name) for name in step.uses},
        }
        if build:  # the first one is what a run of one build makes and finds
            recipe["build"] = build
        if any(name == ALWAYS or options.get(name) for name in step.reads):
            recipe["reads"] = self._ask(worker, "step_reads", step, recipe, inputs, profile, place)["reads"]
        folder = self._cache.folder_for(recipe, f"{step.name}-{profile.slug}")
        what = f"{step.name} for {profile.slug}" + (f" in {precision}" if precision != "fp32" else "")
        what += f", build {build + 1}" if build else ""
        waiting = Heartbeat(f"{what}: another run makes it", self._notify, at_once=True)
        with self._writing(), self._cache.lock(folder, self._waiting(waiting)):
            found, why_not = (None, "") if self._rebuild else self._cache.find(folder, recipe)
            seconds = 0.0
            if found is None:
                why_not = why_not or self._cache.predecessor(folder, recipe, but=self._own())
                self._notify(what)
                start = time.monotonic()
                found = self._fill(worker, step, made.artifact, recipe, folder, inputs, profile, place, what)
                seconds = time.monotonic() - start
            self._uses.add(folder.name)
        if seconds:
            evict(self._cache, self._notify)
        handed_on = made.artifact.meta if step.source == step.target else {}
        return replace(
            made,
            artifact=replace(found, meta={**handed_on, **found.meta}),
            steps=(*made.steps, step.name),
            seconds=made.seconds + seconds,
            notes=(*made.notes, why_not) if why_not else made.notes,
            warnings=(*made.warnings, *(f"{step.name}: {text}" for text in found.meta.get("warnings", ()))),
            metas=(*made.metas, found.meta),
            options=(*made.options, options),
            build=made.build if build is None else build,
        )

    def _own(self) -> set[str]:
        """Return the names of the artifacts that this run has made or found."""
        return {Path(made.artifact.path).parent.name for made in self._made.values() if isinstance(made, Made)}

    def _ask(
        self,
        worker: Worker,
        type_: str,
        step: StepInfo,
        recipe: Mapping[str, Any],
        inputs: Sequence[TensorSpec],
        profile: Profile,
        place: _Place,
        beat: Callable[..., None] = lambda text="": None,
        **more: Any,
    ) -> Mapping[str, Any]:
        """Ask a worker to do something with a step."""
        return worker.ask_long(
            type_,
            self._timeout,
            beat,
            factory=step.factory,
            options=recipe["options"],
            inputs=[asdict(spec) for spec in inputs],
            profile=asdict(profile),
            device=place.device,
            root=str(self._root),
            cache_dir=str(self._frameworks(recipe)),
            **more,
        ).values

    def _frameworks(self, recipe: Mapping[str, Any]) -> Path:
        """Return where frameworks keep what they like: each build has a place of its own, or it would be a copy."""
        build = recipe.get("build")
        return self._cache.frameworks / f"build-{build}" if build else self._cache.frameworks

    def _fill(
        self,
        worker: Worker,
        step: StepInfo,
        source: Artifact,
        recipe: Mapping[str, Any],
        folder: Path,
        inputs: Sequence[TensorSpec],
        profile: Profile,
        place: _Place,
        what: str,
    ) -> Artifact:
        """Let a worker make an artifact in a draft, and move it to its place."""
        sweep(self._cache)
        start = time.monotonic()
        beat = Heartbeat(what, self._notify)
        with self._cache.draft(folder) as draft:
            file = draft / f"model.{step.target}"
            more = {"artifact": asdict(source), "precision": recipe["precision"], "destination": str(file)}
            answer = self._ask(worker, "step", step, recipe, inputs, profile, place, beat, **more)
            if not file.is_file():
                raise BuildFailed(f"the step {step.name} wrote no file")
            return self._cache.add(
                draft,
                folder,
                file.name,
                format=step.target,
                precision=recipe["precision"],
                meta=answer["meta"],
                recipe=dict(recipe),
                source=self._origin(source),
                seconds=round(time.monotonic() - start, 3),
                python=worker.hello["python"],
            )

    def _origin(self, source: Artifact) -> dict[str, Any]:
        """Return what the side-car shall tell of an artifact's source: its key if it is in the cache, else its file."""
        path = Path(source.path)
        if path.is_relative_to(self._cache.root / "artifacts"):
            return {"format": source.format, "key": path.relative_to(self._cache.root / "artifacts").parts[0]}
        return {"format": source.format, "path": source.path, "ref": source.meta.get("ref")}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what to do about a cache that cannot be written, wherever that was noticed.

        Raises:
            BuildFailed: It cannot.
        """
        try:
            yield
        except OSError as error:
            raise BuildFailed(
                f"the cache {self._cache.root} cannot be written: {error.strerror or error}", hint=_ROOM
            ) from error
        except BackendError as error:
            if not is_full(error):
                raise
            full = BuildFailed(f"the cache {self._cache.root} cannot be written: {error.message}", hint=_ROOM)
            full.stage, full.log = error.stage, error.log
            raise full from error

    def _waiting(self, beat: Heartbeat) -> Callable[[], None]:
        def wait() -> None:
            self._stop.check()
            beat()

        return wait

    def _check(self, what: str, info: Info, environment: str = HERE) -> None:
        where = "" if environment == HERE else f" in the environment {environment!r}"
        packages = self._worker_in(environment).hello["packages"]
        check_requirements(what + where, info.requires, packages, info.install)
