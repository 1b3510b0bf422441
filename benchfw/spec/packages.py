"""What a package was built for. pip installs it beside anything else, and it then fails, or quietly does otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Wants:
    """Another package that one was built for.

    Attributes:
        distributions: Its names; the first of them that is installed counts. Nothing is said where none is.
        versions: What its version has to satisfy, as `>=10.14,<10.15`.
        text: What is wrong where it does not: `{version}` is that of the one, `{found}` of the other.
        remedy: What to do then, likewise.
    """

    distributions: tuple[str, ...]
    versions: str
    text: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Packages that together bring all that a backend needs, its libraries included: what a user is told to install.

    Attributes:
        packages: As pip is asked for them, with their extras: `some-gpu[cuda]>=1.27`. Of those that install one module,
            `a>=1 | b>=1`, the one that is there is named, else the first.
        cuda: Major version of CUDA that they are made for, which the driver has to serve; None if they want no GPU.
        python: Versions of Python that they are there for, as `>=3.11`.
        instead_of: Distributions that install files of theirs, and have to go first.
    """

    packages: tuple[str, ...]
    cuda: int | None = None
    python: str = ""
    instead_of: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuiltFor:
    """What some versions of a package were built for. Nothing is said of versions that no such statement is about.

    Attributes:
        distribution: The package, as it is installed.
        versions: Which of its versions, as `>=1.31,<1.32`.
        cuda: Major version of the CUDA whose libraries it loads from packages (`nvidia-…`); None if it loads none.
        cuda_remedy: What to do where only those of other versions are installed, with `{version}`.
        wants: Other packages.
    """

    distribution: str
    versions: str
    cuda: int | None = None
    cuda_remedy: str = ""
    wants: tuple[Wants, ...] = ()
