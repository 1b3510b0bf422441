"""Commands that bring a backend into an environment, as they can be copied and work there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchfw.environments import managed
from benchfw.environments.environment import Environment
from benchfw.environments.managed import create_command
from benchfw.errors import MissingDependency
from benchfw.requirements import alternatives, check_requirements, distributions
from benchfw.spec.backend import BackendInfo
from benchfw.spec.packages import BuiltFor, Bundle

_NEWER_DRIVER, _OTHER_PYTHON = "a newer driver: ", "an environment of Python "
"""What is said where no command brings a backend begins so."""

_OF_PIP = re.compile(r"""pip install(?: (?:'[^']*'|"[^"]*"|(?:[^\s,;'"]|[,;](?=\S))+))+""")
"""A command at the beginning of a sentence, which goes on with a comma, if it does."""


@dataclass(frozen=True, kw_only=True)
class Installer:
    """What is known of an environment that something is to be installed into.

    Attributes:
        environment: Which one.
        python: Version of its interpreter.
        packages: Versions of the distributions that are asked after; None for those that are not there.
        modules: Those that were looked for and found.
        cuda: Major version of CUDA that the driver serves; None where that is not known, as without a GPU.
        built_for: What plugins tell of packages that fit each other.
        which: Finds a command on PATH.
    """

    environment: Environment
    python: str
    packages: Mapping[str, str | None]
    modules: frozenset[str] = frozenset()
    cuda: int | None = None
    built_for: tuple[BuiltFor, ...] = ()
    which: Callable[[str], str | None] = field(default=shutil.which)

    def command(self, info: BackendInfo, *, anew: bool = False) -> str:
        """Return the command that brings a backend, or what to do where none does; empty where nothing is known.

        What plugins call `install` brings the plugin too and is for benchfw's own interpreter: it is told there for
        backends that register nothing better.

        Args:
            info: The backend.
            anew: What it needs seems to be there, and does not work.
        """
        bundle = self._bundle(info) if info.bundles else Bundle(packages=info.requires)
        if bundle is None:
            return self._refusal(info)
        if not info.bundles and not self.environment.foreign:
            return info.install
        try:
            wanted = [
                self._fitting(each) for text in bundle.packages for each in self._unless_brought(text, info, anew)
            ]
            gone = [*bundle.instead_of, *self._without_cuda(bundle)]
            return self.line(wanted, gone, info.requires, anew=anew) if wanted else ""
        except ValueError:  # a requirement that is none
            return ""

    def mending(self, info: BackendInfo) -> str:
        """Return the command for a backend that is imported and lacks libraries.

        Where the framework has no extras that could bring them, it is another build of it that has them.
        """
        bundle = self._bundle(info)
        if bundle is None or self._without_cuda(bundle):
            return self.command(info)
        first = bundle.packages[0]
        return self.command(info, anew="[" not in first and is_met(first, self.packages))

    def line(
        self, wanted: Sequence[str], instead_of: Iterable[str] = (), requires: Sequence[str] = (), *, anew: bool = False
    ) -> str:
        """Return the command that installs packages.

        Args:
            wanted: What is to be there afterwards.
            instead_of: What has to go for it.
            requires: What pins of an environment that benchfw has made must not refuse either.
            anew: Also what seems to be there.
        """
        gone = [name for name in instead_of if self.packages.get(name) is not None]
        environment = self.environment
        if environment.managed:
            made = managed.find(environment.name)
            packages = self._merged(made.requirements if made else (), wanted, gone, requires)
            # Under another name: what is there may be pinned for good reason, serve other scenarios, and could not be
            # had back if the new one cannot be installed. The user removes it when nobody needs it any more.
            return create_command(managed.free_name(environment.name), self.python.rpartition(".")[0], packages)
        again = ("--reinstall", "--force-reinstall") if anew else ()
        steps = [[*self._words("uninstall", "", "-y"), *gone]] if gone else []
        steps.append([*self._words("install", *again), *(choice_of(text, self.packages) for text in wanted)])
        return " && ".join(map(shlex.join, steps))

    # --- what to install ---------------------------------------------------------------------------------------------

    def _bundle(self, info: BackendInfo) -> Bundle | None:
        """Return the first bundle that refuses fewest of the packages that are there, of those that work here."""
        python = Version(self.python)
        fits = [
            bundle
            for bundle in info.bundles
            if SpecifierSet(bundle.python).contains(python, prereleases=True) and self._serves(bundle.cuda)
        ]
        return min(fits, key=lambda bundle: (self._refused(bundle), self._is_for_others(bundle)), default=None)

    def _serves(self, cuda: int | None) -> bool:
        return cuda is None or self.cuda is None or cuda <= self.cuda

    def _is_for_others(self, bundle: Bundle) -> bool:
        """Say whether a bundle is for machines with a GPU, and this one is not known to have one, or the other way."""
        return (bundle.cuda is None) != (self.cuda is None)

    def _refused(self, bundle: Bundle) -> int:
        there = [text for text in bundle.packages if any(map(self.packages.get, distributions([text])))]
        return sum(not is_met(text, self.packages) for text in there)

    def _without_cuda(self, bundle: Bundle) -> list[str]:
        """Return what a bundle for CUDA needs and is there in a build for CPUs: pip takes `2.13.0+cpu` for 2.13.0."""
        if bundle.cuda is None:
            return []
        return [name for name in distributions(bundle.packages) if (self.packages.get(name) or "").endswith("+cpu")]

    def _refusal(self, info: BackendInfo) -> str:
        oldest = min((bundle.cuda for bundle in info.bundles if bundle.cuda is not None), default=None)
        if oldest is not None and self.cuda is not None and self.cuda < oldest:
            return f"{_NEWER_DRIVER}{info.name} wants one that serves CUDA {oldest}, this one serves CUDA {self.cuda}"
        pythons = " or ".join(dict.fromkeys(bundle.python for bundle in info.bundles if bundle.python))
        return f"{_OTHER_PYTHON}{pythons}: benchfw env create --help" if pythons else ""

    def _unless_brought(self, text: str, info: BackendInfo, anew: bool) -> list[str]:
        """Return what to install for a package: nothing where its module is there, but anew what has brought that."""
        names = set(map(name_of, alternatives(text)))
        for module, brings in info.modules.items():
            if module in self.modules and not names.isdisjoint(map(canonicalize_name, brings)):
                there = [f"{name}=={version}" for name in brings if (version := self.packages.get(name))]
                return there if anew else []
        return [text]

    def _fitting(self, text: str) -> str:
        """Return a requirement with what is known of packages that are there: what they want, and what suits them."""
        return " | ".join(f"{choice}{self._wish(Requirement(choice))}" for choice in alternatives(text))

    def _wish(self, asked: Requirement) -> str:
        if any(each.operator in ("==", "<", "<=", "~=") for each in asked.specifier):
            return ""  # whoever registered it knew what it has to suit
        name = canonicalize_name(asked.name)
        wishes = [
            other.versions
            for built in self.built_for
            if is_met(f"{built.distribution}{built.versions}", self.packages)
            for other in built.wants
            if name in map(canonicalize_name, other.distributions)
        ]
        if self.packages.get(asked.name) is None:
            wishes += [built.versions for built in reversed(self.built_for) if self._suits(name, built)]
        wish = next((wish for wish in wishes if _overlap(asked.specifier, SpecifierSet(wish))), "")
        return f"{',' if wish and asked.specifier else ''}{wish}"

    def _suits(self, name: str, built: BuiltFor) -> bool:
        """Say whether some versions of a package were built for what is there, and something of it is."""
        if name != canonicalize_name(built.distribution):
            return False
        there = [
            f"{found}{other.versions}"
            for other in built.wants
            if (found := next((each for each in other.distributions if self.packages.get(each)), None))
        ]
        return bool(there) and all(is_met(text, self.packages) for text in there)

    # --- how ---------------------------------------------------------------------------------------------------------

    def _words(self, verb: str, uv: str = "", pip: str = "") -> list[str]:
        """Return the command of pip, or of uv in an environment without pip, as uv makes them."""
        if "pip" not in self.modules and self.which("uv"):
            words = ["uv", "pip", verb, "--python", self.environment.python, uv]
        else:
            words = [self.environment.python, "-m", "pip", verb, pip]
        return list(filter(None, words))

    def _merged(
        self, asked: Iterable[str], wanted: Sequence[str], replaced: Iterable[str], requires: Sequence[str]
    ) -> list[str]:
        """Return what an environment was asked for, with what is wanted in place of the pins that this refuses."""
        texts = [*wanted, *requires]
        gone = {name for text in texts if not is_met(text, self.packages) for name in map(name_of, alternatives(text))}
        gone |= set(map(canonicalize_name, replaced))
        kept = [text for text in asked if name_of(text) not in gone]
        names = set(map(name_of, kept))
        return [*kept, *(choice_of(text, self.packages) for text in wanted if not self._is_kept(text, names))]

    def _is_kept(self, text: str, names: set[str]) -> bool:
        """Say whether a pin that stays is what is wanted; extras are not known to be there."""
        fits = [choice for choice in alternatives(text) if is_met(choice, self.packages)]
        return not names.isdisjoint(map(name_of, fits)) and not any(Requirement(choice).extras for choice in fits)


def is_command(text: str) -> bool:
    """Say whether what `Installer.command` has returned is a command; else it is what to do where none helps."""
    return bool(text) and not text.startswith((_NEWER_DRIVER, _OTHER_PYTHON))


def split_hint(hint: str) -> tuple[str, str]:
    """Return the `pip install` that a hint begins with, empty if it does not, and the rest of it.

    It was written for whichever interpreter its reader has: one that is known has a command of its own, but what the
    hint goes on to say is true there too.
    """
    found = _OF_PIP.match(hint)
    return (hint[: found.end()], hint[found.end() :]) if found else ("", hint)


def asked_after(infos: Iterable[BackendInfo]) -> set[str]:
    """Return the names of the distributions whose versions the commands depend on."""
    found = set()
    for info in infos:
        found |= {name for bundle in info.bundles for name in distributions(bundle.packages)}
        found |= {name for brings in info.modules.values() for name in brings}
        for built in info.built_for:
            found |= {built.distribution, *(name for other in built.wants for name in other.distributions)}
    return found


def _overlap(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Say whether two ranges have a version in common: if so, the lowest of one of them, for ranges without holes."""
    return one.contains(_lowest(other), prereleases=True) or other.contains(_lowest(one), prereleases=True)


def _lowest(versions: SpecifierSet) -> str:
    """Return the oldest version of `>=1.31,<1.32` or `==2.11.*`; `0` where nothing is said of it."""
    bounds = (each.version.removesuffix(".*") for each in versions if each.operator in (">=", "==", "~="))
    return max(bounds, key=Version, default="0")


def choice_of(requirement: str, packages: Mapping[str, str | None]) -> str:
    """Return which of some alternatives to install: one that is met, else one that is there in another version.

    Alternatives install the same module, so that a second one would overwrite what is there.
    """

    def distance(choice: str) -> tuple[bool, bool]:
        return not is_met(choice, packages), packages.get(distributions([choice])[0]) is None

    return min(alternatives(requirement), key=distance)


def is_met(requirement: str, packages: Mapping[str, str | None]) -> bool:
    """Say whether a requirement is met; its extras are not looked at."""
    try:
        check_requirements("it", [requirement], packages, "")
    except MissingDependency:
        return False
    return True


def name_of(requirement: str) -> str:
    """Return the name of what a requirement asks for; of one that somebody has written by hand, what it says."""
    try:
        return canonicalize_name(distributions([requirement])[0])
    except ValueError:
        return requirement
