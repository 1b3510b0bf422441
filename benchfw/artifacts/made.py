"""What comes of a reference and of a route: models and artifacts, with what making them took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchfw.errors import CaseError
from benchfw.spec.artifact import Artifact
from benchfw.spec.tensors import IoSpec


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
class BrokenModel:
    """A model that is there and cannot be used.

    Attributes:
        failure: Why; what every case of it ends with.
        seconds: What trying to resolve it took.
    """

    failure: CaseError
    seconds: float
    io: None = None
    model_hash: None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """An artifact for a backend, and what making it took.

    Attributes:
        artifact: What the backend loads.
        steps: Names of the steps, in order.
        seconds: Time in steps that had to run; 0 if all came from the cache.
        notes: Why cached artifacts could not be used.
        warnings: What the steps had to say of it.
        metas: What each step noted of its artifact, in order.
        options: Options of each step, defaults filled in, in order.
        build: Number of the build, from 0, of what was built for a runtime; None of anything else.
    """

    artifact: Artifact
    steps: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    metas: tuple[Mapping[str, Any], ...] = ()
    options: tuple[Mapping[str, Any], ...] = ()
    build: int | None = None
