"""Packages with CUDA libraries that do not fit each other, or the driver. pip refuses none of these sets.

What a package was built for is told by the plugin that uses it: `BackendInfo.built_for`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from benchfw.doctor.findings import Finding
from benchfw.spec.packages import BuiltFor

_CUDA_SUFFIX = re.compile(r"-cu(\d\d)$")
_LOCAL = re.compile(r"\+cu(\d\d)(\d)")


def findings(
    environment: str, versions: Mapping[str, str], built_for: Iterable[BuiltFor], driver_cuda: str | None = None
) -> Iterator[Finding]:
    """Yield what does not fit in an environment; nothing is said of sets that are not known to be wrong.

    Args:
        environment: Its name.
        versions: Of the distributions that are installed there.
        built_for: What plugins tell; what several of them tell counts once.
        driver_cuda: Newest version of CUDA that the driver serves, like `13.0`; None if that is unknown.
    """
    read = {str(canonicalize_name(name)): _version(text) for name, text in versions.items()}
    known = {name: version for name, version in read.items() if version is not None}
    told = [found for each in dict.fromkeys(built_for) for found in _misfits(each, known)]
    for text, remedy in (*told, *_driver(known, driver_cuda)):
        yield Finding("packages", environment, "WARN", text, remedy)


def _misfits(built: BuiltFor, known: Mapping[str, Version]) -> Iterator[tuple[str, str]]:
    version = known.get(canonicalize_name(built.distribution))
    if version is None or version not in SpecifierSet(built.versions, prereleases=True):
        return
    there = _cuda_majors(known)
    if built.cuda is not None and there and built.cuda not in there:
        text = f"{built.distribution} {version} was built for CUDA {built.cuda}"
        yield f"{text}, and there are libraries of CUDA {_listed(there)}", built.cuda_remedy.format(version=version)
    for other in built.wants:
        found = next((known[name] for name in map(canonicalize_name, other.distributions) if name in known), None)
        if found is not None and Version(found.base_version) not in SpecifierSet(other.versions):
            given = {"version": version, "found": found}
            yield other.text.format_map(given), other.remedy.format_map(given)


def _driver(known: Mapping[str, Version], driver_cuda: str | None) -> Iterator[tuple[str, str]]:
    """Yield the packages whose versions say, as `2.11.0+cu130`, that they want a newer CUDA than the driver's."""
    driver = _version(driver_cuda or "")
    for name, version in known.items():
        built = _LOCAL.search(str(version))
        if built is not None and driver is not None and int(built[1]) > driver.major:
            made = f"{name} {version} was built for CUDA {built[1]}.{built[2]}"
            text = f"{made}, and the driver serves CUDA up to {driver_cuda}"
            yield text, f"a newer driver, or a {name} that was built for CUDA {driver.major}"


def _cuda_majors(known: Mapping[str, Version]) -> set[int]:
    """Return the major versions of CUDA whose libraries are installed as packages."""
    suffixes = (_CUDA_SUFFIX.search(name) for name in known if name.startswith("nvidia-"))
    found = {int(match[1]) for match in suffixes if match}
    return found | {known[name].major for name in ("nvidia-cuda-runtime", "nvidia-cublas") if name in known}


def _listed(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
