"""Requirements of backends and environments (PEP 508), held against the packages that a worker found.

One text may name alternatives, as distributions that install the same module are:
`onnxruntime>=1.20 | onnxruntime-gpu>=1.20`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packaging.requirements import Requirement

from benchfw.errors import MissingDependency

Packages = Mapping[str, str | None]
"""Versions by the names of distributions; None for what is not installed."""


def check_requirements(what: str, requires: Sequence[str], packages: Packages, install: str) -> None:
    """Compare requirements with the packages that a worker found.

    Raises:
        MissingDependency: One is missing or of another version; the hint is the command that installs it.
    """
    for text in requires:
        why = _unmet(text, packages)
        if why:
            raise MissingDependency(f"{what} needs {' or '.join(alternatives(text))}, {why}", hint=install or None)


def alternatives(text: str) -> list[str]:
    """Return the requirements of which one is enough."""
    return [part.strip() for part in text.split("|")]


def distributions(requires: Sequence[str]) -> list[str]:
    """Return the names of the distributions that requirements speak of, those of all alternatives."""
    return [Requirement(choice).name for text in requires for choice in alternatives(text)]


def versions(requires: Sequence[str], packages: Packages) -> dict[str, str | None]:
    """Return what is installed for each requirement; of alternatives those that are there, else None for the first."""
    found: dict[str, str | None] = {}
    for text in requires:
        names = distributions([text])
        there = {name: packages[name] for name in names if packages.get(name) is not None}
        found |= there or {names[0]: None}
    return found


def _unmet(text: str, packages: Packages) -> str:
    """Return why none of the alternatives is there as it must be; empty if one is."""
    choices = list(map(Requirement, alternatives(text)))
    there = [(choice, version) for choice in choices if (version := packages.get(choice.name)) is not None]
    if any(choice.specifier.contains(version, prereleases=True) for choice, version in there):
        return ""
    if not there:
        return "which is not installed" if len(choices) == 1 else "none of which is installed"
    return (
        f"{' and '.join(version if len(choices) == 1 else f'{c.name} {version}' for c, version in there)} is installed"
    )
