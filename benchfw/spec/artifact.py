"""Models and what is made of them: references, artifacts, and the steps from one format to another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchfw.spec.info import Info, NamedInfo
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec

PROFILES = ("static", "dynamic")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model in one format, as a file.

    Attributes:
        format: `onnx`, `torch`, …: what backends and steps name in `accepts` and `source`.
        path: The file. Formats that need more beside it say so in `meta`.
        sha256: Identity of the artifact: the hash of the file and of all that `meta` adds to it.
        precision: Precision of the weights and of the arithmetic that the artifact asks for.
        meta: What the format's readers need besides the file; JSON values only.
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
            BuildFailed: The reference leads nowhere, or what it leads to is no model.
        """


@dataclass(frozen=True, kw_only=True)
class StepInfo(NamedInfo):
    """A conversion between two formats, named `<Target>From<Source>`. `factory` names a `Step`.

    Attributes:
        source: Format that it takes.
        target: Format that it makes; the same as `source` for a step that specialises.
        profiles: Which profiles it serves: `static`, `dynamic`.
        options: `package.module:Model` of the pydantic model of its options; empty for none.
    """

    source: str
    target: str
    profiles: tuple[str, ...] = ("static", "dynamic")
    options: str = ""


class Step(ABC):
    """Makes one artifact from another. Runs in a worker."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    @abstractmethod
    def run(
        self,
        artifact: Artifact,
        *,
        inputs: Sequence[TensorSpec],
        profile: Profile,
        destination: Path,
    ) -> Mapping[str, Any]:
        """Write the new artifact to the file `destination` and return its `meta`.

        Args:
            artifact: What to convert.
            inputs: The model's inputs, with axis names where `profile` gives a range.
            profile: Sizes for which the artifact is made.
            destination: A temporary name; the core moves the file once the step has returned.

        Raises:
            BuildFailed: The conversion failed.
        """
