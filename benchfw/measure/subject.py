"""What a session runs: a model, its inputs, and what its rows have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchfw.artifacts import BrokenModel, Builder, Made, ResolvedModel, Wanted
from benchfw.measure.inputs import InputMaker
from benchfw.scenario import Case
from benchfw.spec.artifact import Artifact


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A resolved model with its inputs. A run has one; a comparison of two models has two.

    Attributes:
        model: The resolved model, or why there is none.
        builder: Makes artifacts of it.
        inputs: Makes inputs.
        root: Folder that the model's modules are found from.
        common: Columns of `cases` that are the same for all its rows.
        context: What goes into the hash of every case.
    """

    model: ResolvedModel | BrokenModel
    builder: Builder
    inputs: InputMaker
    root: Path
    common: Mapping[str, Any]
    context: Mapping[str, Any]

    @property
    def artifact(self) -> Artifact:
        """The model as an artifact.

        Raises:
            CaseError: It could not be resolved.
        """
        if isinstance(self.model, BrokenModel):
            raise self.model.failure
        return self.model.artifact

    def make(self, case: Case, build: int = 0) -> Made:
        """Make the artifact that a case needs, or take it from the cache; of an engine the build of a number.

        Raises:
            CaseError: It cannot be made.
        """
        return self.make_wanted(case, self.wanted(case), build)

    def wanted(self, case: Case) -> Wanted:
        """Return which artifact a case needs."""
        info = case.session.info
        assert info is not None
        own = self.model.io.inputs if self.model.io else ()
        dynamic = any(isinstance(dim, str) for spec in (*self.inputs.specs, *own) for dim in spec.shape)
        return Wanted.by(
            info,
            case.session.precision,
            specialize=dynamic and case.profile.static,
            given=case.session.steps,
            environment=case.session.environment,
            device=case.session.device,
        )

    def make_wanted(self, case: Case, wanted: Wanted, build: int = 0) -> Made:
        """Make another artifact of the model for the shapes of a case; as `make`."""
        return self.builder.make(self.artifact, wanted, inputs=self.inputs.specs, profile=case.profile, build=build)
