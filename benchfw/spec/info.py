"""What every registration has in common. Light data, read in the parent."""

from __future__ import annotations

from dataclasses import dataclass

SPEC_VERSION = 1
"""Version of the contract in `benchfw.spec`. A registration states the one that it was written for."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MAX_NAME = 80
"""What names are made of: those of registrations, and those that scenarios give."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """Base of all registrations.

    Attributes:
        factory: `package.module:Name` of what does the work, imported where it is needed and not before.
        summary: One line for people.
        requires: Requirements (PEP 508) of the interpreter that imports `factory`; of a backend the first one is the
            framework whose version the results record. Distributions of which one is enough stand in one text, as
            `onnxruntime>=1.20 | onnxruntime-gpu>=1.20`.
        install: The command that satisfies them.
        imports: Packages of other plugins that the package of `factory` imports, so that workers get these too.
        spec: Version of the contract that it was written for.
    """

    factory: str
    summary: str = ""
    requires: tuple[str, ...] = ()
    install: str = ""
    imports: tuple[str, ...] = ()
    spec: int = SPEC_VERSION

    @property
    def key(self) -> str:
        """What users call it."""
        raise NotImplementedError

    @property
    def code(self) -> frozenset[str]:
        """What workers are handed the packages of: `factory` and `imports`."""
        return frozenset({self.factory, *self.imports})


@dataclass(frozen=True, kw_only=True)
class NamedInfo(Info):
    """A registration with a name.

    Attributes:
        name: What users call it; one plugin only may have it.
    """

    name: str

    @property
    def key(self) -> str:
        return self.name
