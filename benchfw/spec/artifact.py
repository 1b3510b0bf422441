"""Models and what is made of them: references, artifacts, and the steps from one format to another."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchfw.spec.device import CPU
from benchfw.spec.info import Info, NamedInfo
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec

PROFILES = ("static", "dynamic")
ALWAYS = "*"
"""In `StepInfo.reads`: what the step makes depends on more than its options, as on the GPU of this machine."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model in one format, as a file.

    Attributes:
        format: `onnx`, `torch`, …: what backends and steps name in `accepts` and `source`.
        path: The file; what it needs besides lies in the same folder.
        sha256: Identity of the artifact: the hash of the file and of all that `meta` adds to it.
        precision: Precision of the weights and of the arithmetic that the artifact asks for.
        meta: What the format's readers need besides the file; JSON values only. `warnings` of a model source are
            sentences that cases show which run its artifact as it is; a step says itself which of them still hold.
    """

    format: str
    path: str
    sha256: str
    precision: str = "fp32"
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Artifact:
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class ModelSourceInfo(Info):
    """A scheme of model references, as `onnx:` in `onnx:model.onnx`. `factory` names a `ModelSource`.

    Attributes:
        scheme: The part of a reference before the first colon.
        format: Format of the artifact that `ModelSource.resolve` returns.
    """

    scheme: str
    format: str

    @property
    def key(self) -> str:
        return self.scheme


class ModelSource(ABC):
    """Turns a reference into an artifact. Runs in a worker."""

    @abstractmethod
    def resolve(
        self,
        target: str,
        *,
        root: Path,
        destination: Path,
        seed: int,
        weights: Path | None,
    ) -> tuple[Artifact, IoSpec | None]:
        """Return the model as an artifact, and its inputs and outputs where the source knows them.

        Args:
            target: The reference without its scheme.
            root: Folder that relative paths and modules start from.
            destination: Folder for files that have to be written; names in it should be content hashes.
            seed: Seed of random weights.
            weights: File of weights that replaces the random ones.

        Raises:
            BadReference: The reference leads nowhere. The run ends before anything is measured, with exit code 2.
            BuildFailed: What it leads to is no model, or a damaged one. Each case of it fails.
        """


@dataclass(frozen=True, kw_only=True)
class FormatInfo(NamedInfo):
    """A format of artifacts, by the name that sources, steps and backends use. `factory` names a `FileFormat`.

    A format needs none: it says what `benchfw inspect` tells of its files.

    Attributes:
        begins: How its files begin, by which those without a side-car are known; empty if they begin in many ways.
    """

    begins: tuple[bytes, ...] = ()


class FileFormat:
    """Knows the files of one format. Runs in a worker, and runs nothing of what is in a file."""

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Tell what a file holds, for `benchfw inspect`; JSON values.

        `inputs` and `outputs` (name, dtype, shape of each) are shown as a table, other keys by their names, those with
        empty values not at all. The side-car is told besides.

        Raises:
            BuildFailed: It is no such file, or not a whole one.
        """
        return {}

    def copy(self, path: Path, destination: Path) -> Mapping[str, Any]:
        """Write a copy of an artifact; return facts about it, JSON values.

        What has to lie beside it gets names that begin with that of `destination`. The original stays as it is.

        Raises:
            BuildFailed: It is no such file, or not a whole one.
        """
        shutil.copyfile(path, destination)
        return {}


@dataclass(frozen=True, kw_only=True)
class StepInfo(NamedInfo):
    """Makes one artifact of another. `factory` names a `Step`.

    Between two formats it is named `<Target>From<Source>`. A step from a format to itself makes another precision
    (`makes`), improves a model where somebody asks for it (`on_request`), or else specialises it to one shape.

    Attributes:
        source: Format that it takes.
        target: Format that it makes.
        profiles: Which profiles it serves: `static`, `dynamic`.
        makes: Precisions that it can make of an fp32 artifact; it keeps any other precision as it is.
        on_request: It runs where a scenario has a table `[steps.NAME]`, or one of the backend's own, and nowhere else;
            between two formats it then comes before others that would do.
        runtime: What `benchfw build --for` calls the runtime that it builds for; empty if it builds no engine.
        options: `package.module:Model` of the pydantic model of its options; empty for none.
        uses: Distributions that it uses where they are installed, besides those that it requires: their versions, too,
            decide whether an artifact of before will do.
        reads: Names of options that name files or code: while one is set, `Step.reads` is asked what is in them. With
            `ALWAYS` it is always asked.
    """

    source: str
    target: str
    profiles: tuple[str, ...] = ("static", "dynamic")
    makes: tuple[str, ...] = ()
    on_request: bool = False
    runtime: str = ""
    options: str = ""
    uses: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


class Step(ABC):
    """Makes one artifact from another. Runs in a worker.

    Attributes:
        options: Validated, defaults filled in.
        report: Tells the user how far it is, in a few words; for steps that take long.
        root: Folder that relative paths and modules in its options start from: the scenario's.
        cache_dir: Folder for what it wants to keep between runs, where there is one.
        device: What runs the engine that it builds, and where it has to build it: `cuda:1`. `cpu` for a step that
            builds none (`StepInfo.runtime`), and where nobody has said; then an engine is built on the first one.
    """

    report: Callable[[str], None]
    root: Path
    cache_dir: Path | None
    device: str

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.report = lambda text: None
        self.root = Path()
        self.cache_dir = None
        self.device = CPU

    def reads(self, inputs: Sequence[TensorSpec], profile: Profile) -> Mapping[str, str]:
        """Return hashes of what the options that `StepInfo.reads` lists lead to, by their names.

        Also what else decides whether an artifact of before will do, as short text.

        Raises:
            BuildFailed: They lead nowhere, or to what the step cannot use.
        """
        return {}

    @abstractmethod
    def run(
        self,
        artifact: Artifact,
        *,
        inputs: Sequence[TensorSpec],
        profile: Profile,
        precision: str,
        destination: Path,
    ) -> Mapping[str, Any]:
        """Write the new artifact to the file `destination`, and more files beside it if it needs them.

        Returns:
            The artifact's `meta`; JSON values. `warnings`, if there, is a list of sentences that its cases show.
            `weights` is the core's: what it has counted in the new file, if it knows the format. A step from a format
            to itself hands on the `meta` that it was given, with its own on top.

        Args:
            artifact: What to convert.
            inputs: The model's inputs, with axis names where `profile` gives a range.
            profile: Sizes for which the artifact is made.
            precision: What the new artifact's shall be: that of `artifact`, or one that the step `makes`.
            destination: A file in an empty folder, which the core moves as a whole once the step has returned; files
                must name each other relative to it.

        Raises:
            BuildFailed: The conversion failed.
        """
