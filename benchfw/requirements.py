"""Requirements of backends and environments (PEP 508), held against the packages that a worker found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packaging.requirements import Requirement

from benchfw.errors import MissingDependency


def check_requirements(what: str, requires: Sequence[str], packages: Mapping[str, str | None], install: str) -> None:
    """Compare requirements with the packages that a worker found.

    Raises:
        MissingDependency: One is missing or of another version; the hint is the command that installs it.
    """
    for text in requires:
        requirement = Requirement(text)
        version = packages.get(requirement.name)
        if version is None:
            raise MissingDependency(f"{what} needs {text}, which is not installed", hint=install or None)
        if not requirement.specifier.contains(version, prereleases=True):
            raise MissingDependency(f"{what} needs {text}, {version} is installed", hint=install or None)


def distributions(requires: Sequence[str]) -> list[str]:
    """Return the names of the distributions that requirements speak of."""
    return [Requirement(text).name for text in requires]
