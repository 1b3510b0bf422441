"""Resolves the model and makes artifacts of it, in a worker, through the cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchfw.artifacts.cache import Cache, sha256_of
from benchfw.artifacts.routes import find_route
from benchfw.errors import BenchfwError, BuildFailed, CaseError
from benchfw.requirements import check_requirements, distributions
from benchfw.spec.artifact import Artifact, ModelSourceInfo, StepInfo
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec
from benchfw.supervisor import Worker


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A model as an artifact.

    Attributes:
        artifact: Its `sha256` is the results' `model_hash`.
        io: Inputs and outputs as the model itself has them, where its source knows.
        seconds: What resolving took.
    """

    artifact: Artifact
    io: IoSpec | None
    seconds: float

    @property
    def model_hash(self) -> str:
        return self.artifact.sha256


@dataclass(frozen=True, kw_only=True)
class Made:
    """An artifact for a backend, and what making it took.

    Attributes:
        artifact: What the backend loads.
        steps: Names of the steps, in order.
        seconds: Time in steps that had to run; 0 if all came from the cache.
        notes: Why cached artifacts could not be used.
    """

    artifact: Artifact
    steps: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()


class Builder:
    """One worker that resolves and converts, started when it is first needed.

    Args:
        start: Starts a worker that serves the given factories and tells versions of the given distributions.
        cache: Where artifacts are kept.
        steps: Every step that plugins provide.
        step_options: Options by the name of the step, validated, defaults filled in.
        timeout: Deadline of a resolution or step, in seconds.
        notify: Told when a step begins that the cache cannot spare.
    """

    def __init__(
        self,
        *,
        start: Callable[[], Worker],
        cache: Cache,
        steps: Mapping[str, StepInfo],
        step_options: Mapping[str, Mapping[str, Any]],
        timeout: float,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._notify = notify
        self._start = start
        self._cache = cache
        self._steps = steps
        self._step_options = step_options
        self._timeout = timeout
        self._worker: Worker | None = None
        self._made: dict[tuple[Any, ...], Made | BenchfwError] = {}

    @property
    def worker(self) -> Worker:
        if self._worker is not None and not self._worker.alive:
            self.close()
        if self._worker is None:
            self._worker = self._start()
        return self._worker

    def resolve(
        self, source: ModelSourceInfo, target: str, *, root: Path, seed: int, weights: str | None
    ) -> ResolvedModel:
        """Resolve a reference.

        Raises:
            CaseError: It cannot be resolved.
        """
        self._check(f"a model from {source.scheme}:", source.requires, source.install)
        start = time.monotonic()
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
        return ResolvedModel(artifact=artifact, io=io, seconds=time.monotonic() - start)

    def make(
        self,
        artifact: Artifact,
        accepts: Sequence[str],
        *,
        inputs: Sequence[TensorSpec],
        profile: Profile,
        specialize: bool,
    ) -> Made:
        """Return the artifact that a backend accepts, from the cache or made now.

        Raises:
            CaseError: A step failed or there is no route.
        """
        route = find_route(artifact.format, accepts, self._steps.values(), specialize=specialize)
        key = (artifact.sha256, tuple(step.name for step in route), profile.slug)
        if key not in self._made:
            made = Made(artifact=artifact, steps=(), seconds=0.0)
            try:
                for step in route:
                    made = self._run(step, made, inputs, profile)
                self._made[key] = made
            except CaseError as error:  # every case that needs it fails alike, the step runs once
                self._made[key] = error
        result = self._made[key]
        if isinstance(result, BenchfwError):
            raise result
        return result

    def close(self) -> None:
        """End the worker. Idempotent; a later call starts another one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def _run(self, step: StepInfo, made: Made, inputs: Sequence[TensorSpec], profile: Profile) -> Made:
        self._check(f"the step {step.name}", step.requires, step.install)
        source = made.artifact
        packages = self.worker.hello["packages"]
        recipe = {
            "step": step.name,
            "source_sha256": source.sha256,
            "options": dict(self._step_options.get(step.name, {})),
            "profile": {name: [axis.min, axis.opt, axis.max] for name, axis in profile.axes.items()},
            "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in inputs],
            "versions": {name: packages.get(name) for name in distributions(step.requires)},
        }
        path = self._cache.path_for(recipe, f"{step.name}-{profile.slug}", step.target)
        found, why_not = self._cache.find(path, recipe)
        steps = (*made.steps, step.name)
        if found is not None:
            return replace(made, artifact=found, steps=steps)
        self._notify(f"{step.name} for {profile.slug}")
        start = time.monotonic()
        temporary = self._cache.temporary(path)
        try:
            answer = self.worker.ask(
                "step",
                self._timeout,
                factory=step.factory,
                options=recipe["options"],
                artifact=asdict(source),
                inputs=[asdict(spec) for spec in inputs],
                profile=asdict(profile),
                destination=str(temporary),
            )
            if not temporary.is_file():
                raise BuildFailed(f"the step {step.name} wrote no file")
            artifact = Artifact(
                format=step.target,
                path=str(path),
                sha256=sha256_of(temporary),
                precision=source.precision,
                meta=answer.values["meta"],
            )
            seconds = time.monotonic() - start
            self._cache.add(temporary, path, artifact, recipe, seconds=seconds)
        except OSError as error:
            raise BuildFailed(
                f"the cache cannot be written: {error}", hint="BENCHFW_CACHE names another folder"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        notes = (*made.notes, why_not) if why_not else made.notes
        return replace(made, artifact=artifact, steps=steps, seconds=made.seconds + seconds, notes=notes)

    def _check(self, what: str, requires: Sequence[str], install: str) -> None:
        check_requirements(what, requires, self.worker.hello["packages"], install)
