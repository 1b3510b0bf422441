"""A worker with one backend in it, asked step by step: what a session does, for tests."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.artifacts import Builder, Cache, ResolvedModel, Wanted
from benchfw.environments import DEFAULT, Environment, start_worker, thread_variables
from benchfw.errors import CaseError
from benchfw.executors.options import filler, step_options
from benchfw.handover import hand_over
from benchfw.plugins import Registry, options_model
from benchfw.requirements import check_requirements, distributions
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import BackendInfo
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec
from benchfw.supervisor import Worker
from benchfw.testing.imports import import_names

_HERE = Environment()

PROBE = "benchfw.testing.probe:ProbedBackend"
_TIMEOUT_S = 600.0
_NOTE_LINES = 40
_NOT_THEIRS = re.compile(r'^  File "(benchfw/worker/|benchfw/testing/probe|<frozen ).*\n(    .*\n)*', re.MULTILINE)
"""Frames that every traceback of a worker begins with."""

Arrays = Mapping[str, NDArray[Any]]


class Host:
    """Starts workers for one backend, and makes artifacts for it.

    Args:
        registry: What plugins provide.
        backend: Name of the backend.
        folder: An empty folder for code, logs, inputs and what frameworks keep.
        environment: Where the backend runs, and the steps that make what only its own runtime reads.
        device: What the backend runs on.
        root: Folder that paths in options of steps start from; default: the current one.

    Attributes:
        code: The folder with the code of the workers.
    """

    def __init__(
        self,
        registry: Registry,
        backend: str,
        folder: Path,
        environment: Environment = _HERE,
        *,
        device: str = "cpu",
        root: Path | None = None,
    ) -> None:
        self.info: BackendInfo = registry.backend(backend)
        self.folder = folder
        self.cache = Cache(folder / "cache")
        self._registry = registry
        self._environment = environment
        self._device = device
        self._framework = import_names(self.info.requires)
        self._numbers = itertools.count()
        infos = (self.info, *registry.steps.values(), *registry.model_sources.values())
        self.code = hand_over(folder / "code", {PROBE, *(factory for info in infos for factory in info.code)})
        self._workers: list[Worker] = []
        steps = registry.steps
        self._builder = Builder(
            start=lambda name: self._start(
                _HERE if name == DEFAULT else self._environment,
                (name for step in steps.values() for name in (*distributions(step.requires), *step.uses)),
            ),
            cache=self.cache,
            steps=steps,
            options=filler(step_options(registry)),
            timeout=_TIMEOUT_S,
            root=root,
        )

    def worker(self) -> Worker:
        """Return a worker, the same as long as it lives.

        Raises:
            MissingDependency: The interpreter lacks what the backend requires, or the machine the device.
        """
        if not self._workers or not self._workers[-1].alive:
            self._workers.append(self._start(self._environment, distributions(self.info.requires)))
        worker = self._workers[-1]
        check_requirements(self.info.name, self.info.requires, worker.hello["packages"], self.info.install)
        worker.ask("device", _TIMEOUT_S, device=self._device, factory=self.info.factory)
        return worker

    def resolve(self, reference: str, root: Path) -> ResolvedModel:
        """Resolve a model reference."""
        scheme, _, target = reference.partition(":")
        return self._builder.resolve(self._registry.model_source(scheme), target, root=root, seed=0, weights=None)

    def artifact(
        self,
        model: ResolvedModel,
        inputs: Iterable[TensorSpec],
        profile: Profile,
        precision: str = "fp32",
        steps: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Artifact:
        """Return what the backend would be given for a profile and a precision, with some options of steps."""
        specialize = profile.static and bool(profile.axes)
        wanted = Wanted.by(
            self.info,
            precision,
            specialize=specialize,
            given=steps or {},
            environment=self._environment.name,
            device=self._device,
        )
        return self._builder.make(model.artifact, wanted, inputs=list(inputs), profile=profile).artifact

    def open(
        self,
        inputs: Iterable[TensorSpec],
        *,
        root: Path,
        precision: str = "fp32",
        options: Mapping[str, Any] | None = None,
        threads: int = 1,
    ) -> Instance:
        """Make an instance of the backend in the worker, watched by a probe."""
        model = options_model(self.info)
        values = model.model_validate(options or {}).model_dump(mode="json") if model else {}
        instance = Instance(self.worker(), f"instance{next(self._numbers)}", self.folder, self.code)
        instance.ask(
            "open",
            factory=PROBE,
            options={"factory": self.info.factory, "options": values, "framework": sorted(self._framework)},
            context={
                "device": self._device,
                "threads": threads,
                "precision": precision,
                "cache_dir": str(self.cache.frameworks),
                "root": str(root),
                "inputs": [asdict(spec) for spec in inputs],
            },
        )
        return instance

    def close(self) -> None:
        """End all workers."""
        self._builder.close()
        for worker in self._workers:
            worker.close()

    def _start(self, environment: Environment, names: Iterable[str]) -> Worker:
        return start_worker(
            environment,
            code=self.code,
            log=self.folder / f"worker{next(self._numbers)}.log",
            env=thread_variables(1),
            distributions=names,
        )


class Instance:
    """One instance of a backend in a worker.

    Its methods raise the errors of `benchfw.errors` that the worker names, with what it wrote to its log as a note: the
    traceback in the plugin's code.
    """

    def __init__(self, worker: Worker, name: str, folder: Path, code: Path) -> None:
        self.worker = worker
        self._name = name
        self._folder = folder
        self._code = code
        self._files: dict[str, Path] = {}

    def load(self, artifact: Artifact, profile: Profile) -> IoSpec:
        """Prepare and load."""
        self.ask("prepare", artifact=asdict(artifact), profile=asdict(profile))
        return IoSpec.from_json(self.ask("load").values["io"])

    def bind(self, arrays: Arrays, slot: int = 0) -> None:
        """Bind arrays to a slot."""
        self._files = {}
        for place, (name, array) in enumerate(arrays.items()):
            file = self._files[name] = self._folder / f"input{place}.npy"
            file.unlink(missing_ok=True)  # the old one may still be mapped
            np.save(file, array)
        self.ask("bind", slot=slot, files={name: str(file) for name, file in self._files.items()})

    def spoil(self) -> None:
        """Overwrite the arrays that were bound last, where the worker has mapped them."""
        for file in self._files.values():
            np.load(file, mmap_mode="r+")[...] = 0

    def launch(self, slot: int = 0, n: int = 1) -> NDArray[np.int64]:
        """Launch as a block, and return the latencies in ns: int64 [n]."""
        arrays = self.ask("block", slot=slot, n=n).arrays
        latencies: NDArray[np.int64] = arrays["ends"] - arrays["starts"]
        return latencies

    def profile(self, n: int) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
        """Return the layers of `n` inferences and their times; see `benchfw.worker.returned.profile`."""
        answer = self.ask("profile", n=n)
        return answer.values["layers"], dict(answer.arrays)

    def outputs(self, slot: int = 0) -> dict[str, NDArray[Any]]:
        """Return the outputs of the last launch of a slot."""
        return {name: np.array(array) for name, array in self.ask("outputs", slot=slot).arrays.items()}

    def infer(self, arrays: Arrays, slot: int = 0) -> dict[str, NDArray[Any]]:
        """Bind, launch, and return the outputs."""
        self.bind(arrays, slot)
        self.launch(slot)
        return self.outputs(slot)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the backend, and `probe`; see `ProbedBackend`."""
        facts: dict[str, Any] = self.ask("facts").values["facts"]
        return facts

    def capture(self, slot: int = 0) -> None:
        """Capture the launch of a slot into a graph, which is launched in its place from now on."""
        self.ask("capture", slot=slot)

    def close(self) -> int | None:
        """Close it, twice, and return the bytes of its device that it has not given back; None without a device."""
        left: int | None = self.ask("close").values["device_bytes"]
        return left

    def rss_bytes(self) -> int:
        """Return the resident memory of the worker."""
        pages = int(Path(f"/proc/{self.worker.pid}/statm").read_text().split()[1])
        return pages * 4096

    def ask(self, kind: str, **values: Any) -> Any:
        """Send a message about this instance, and return the answer."""
        start = self.worker.log.stat().st_size
        try:
            return self.worker.ask(kind, _TIMEOUT_S, instance=self._name, **values)
        except CaseError as error:
            with self.worker.log.open("rb") as log:
                log.seek(start)
                words = log.read().decode("utf-8", "replace")
            words = _NOT_THEIRS.sub("", words.replace(f"{self._code}/", ""))
            if words.strip():
                error.add_note("\n".join([f"the worker, in {kind!r}:", *words.rstrip().splitlines()[-_NOTE_LINES:]]))
            raise
