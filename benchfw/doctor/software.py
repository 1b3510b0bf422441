"""Interpreters, plugins, backends, and packages that overwrite each other."""

from __future__ import annotations

import functools
import platform
import re
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchfw.doctor.findings import Check, Finding
from benchfw.doctor.probe import Files, Probe
from benchfw.environments import DEFAULT
from benchfw.plugins import Registry
from benchfw.spec.backend import BackendInfo

_VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
_CODE = re.compile(r"\.(py|pyd|so(\.\d+)*)$")
_QUICK_S = 0.1
"""Not worth telling; also what it takes if another backend has loaded the framework already."""

_SLOPPY = {"test", "tests", "doc", "docs", "example", "examples", "scripts"}
"""Folders that packages install by mistake, and that nobody imports."""


@dataclass(frozen=True)
class Interpreter:
    """The interpreter that benchfw itself runs on."""

    version: str
    implementation: str
    free_threaded: bool = False
    debug: bool = False

    @classmethod
    def this(cls) -> Interpreter:
        return cls(
            version=platform.python_version(),
            implementation=sys.implementation.name,
            free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            debug=bool(sysconfig.get_config_var("Py_DEBUG")),
        )


def python_checks(interpreter: Interpreter, find: Callable[[str], str | None]) -> list[Check]:
    """Return the checks of interpreters.

    Args:
        interpreter: The one that benchfw runs on.
        find: Tells where a version is, as `find_python` does.
    """
    return [
        Check("Python", "benchfw's", functools.partial(_interpreter, interpreter)),
        Check("Python", "others", functools.partial(_pythons, find), deadline_s=60.0),
    ]


def plugin_check(registry: Registry) -> Check:
    """Return the check of plugins."""
    return Check("plugins", "plugins", functools.partial(_plugins, registry))


def environments_check(registry: Registry, probes: Callable[[], Iterable[Probe]]) -> Check:
    """Return the check of environments, of the packages in them and of backends.

    Args:
        registry: The plugins.
        probes: Looks at every environment; workers have deadlines of their own.
    """

    def find() -> Iterator[Finding]:
        found = list(probes())
        for probe in found:
            yield _environment(probe)
        for probe in found:
            yield from _overwritten(probe)
        yield from _backends(registry, found)

    return Check("environments", "workers", find, deadline_s=None)


def _interpreter(interpreter: Interpreter) -> Iterator[Finding]:
    odd = [
        text
        for text, is_so in (("a free-threaded build", interpreter.free_threaded), ("a debug build", interpreter.debug))
        if is_so
    ]
    text = f"{interpreter.implementation} {interpreter.version}"
    if odd:
        remedy = "make the environment anew with the ordinary build of CPython"
        yield Finding("Python", "benchfw's", "WARN", f"{text}, {' and '.join(odd)}: calls cost more there", remedy)
    else:
        yield Finding("Python", "benchfw's", "OK", text)


def _pythons(find: Callable[[str], str | None]) -> Iterator[Finding]:
    found = {version: place for version in _VERSIONS if (place := find(version))}
    for version, place in found.items():
        yield Finding("Python", version, "OK", place)
    if not found:
        yield Finding("Python", "others", "OK", "none on PATH, nor in the places of pyenv and uv")


def _plugins(registry: Registry) -> Iterator[Finding]:
    owners = sorted(set(registry.owners.values()))
    yield Finding("plugins", "plugins", "OK", ", ".join(owners) or "none")
    for plugin in registry.broken:
        remedy = "install a version that works here, or uninstall it"
        yield Finding("plugins", plugin.name, "FAIL", plugin.reason, remedy)


def _environment(probe: Probe) -> Finding:
    name, hello = probe.environment.name, probe.hello
    if probe.error:
        return Finding("environments", name, "FAIL", f"no worker starts: {probe.error}", probe.remedy)
    text = f"{hello['implementation']} {hello['python']}, numpy {hello['numpy']}, {hello['executable']}"
    return Finding("environments", name, "OK", text)


def _overwritten(probe: Probe) -> Iterator[Finding]:
    """Yield the groups of packages that have installed the same files with different content."""
    name = probe.environment.name
    groups = overwritten(probe.files)
    for names, path in groups.items():
        pip = "pip" if name == DEFAULT else f"{probe.environment.python} -m pip"
        remedy = f"{pip} uninstall -y {' '.join(names)}; then the one that you want: {pip} install {names[0]}"
        text = f"{' and '.join(names)} overwrite each other, as in {path}: what is imported is a mixture"
        yield Finding("packages", name, "FAIL", text, remedy)
    if not groups and probe.files:
        text = f"{len(probe.files)} packages, none overwrites another"
        yield Finding("packages", name, "OK", text)


def overwritten(files: Files) -> dict[tuple[str, ...], str]:
    """Return the sets of distributions that have installed one file each in its own way, and the first such file.

    The same content twice, such as an empty `__init__.py`, harms nobody. A module `x.py` and a package `x` count as
    one file.
    """
    owners: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, content in files.items():
        for (folder, path), digest in content.items():
            top, slash, _ = path.partition("/")
            module = top.partition(".")[0]
            if digest and module and _CODE.search(path) and module not in _SLOPPY:
                owners[folder, path if slash else f"{module}/__init__.py"][name] = digest
    found: dict[tuple[str, ...], str] = {}
    for (_, path), digests in sorted(owners.items()):
        if len(set(digests.values())) > 1:
            found.setdefault(tuple(sorted(digests)), path)
    return found


def _backends(registry: Registry, probes: Sequence[Probe]) -> Iterator[Finding]:
    """Yield every backend where it can be used or fails, and one warning for a backend that is ready nowhere."""
    useful = False
    for name, info in sorted(registry.backends.items()):
        told = False
        for probe in probes:
            attempt = probe.attempts.get(name)
            if attempt is None or attempt.missing:
                continue
            told = True
            where = "" if probe.environment.name == DEFAULT else f" in {probe.environment.name}"
            if attempt.error:
                yield Finding("backends", name, "FAIL", f"does not import{where}: {attempt.error}", _again(info))
                continue
            useful = useful or registry.owners[f"backend {name}"] != "benchfw"
            seconds = f" in {attempt.seconds:.1f} s" if attempt.seconds >= _QUICK_S else ""
            versions = "".join(f", {package} {version}" for package, version in attempt.versions.items())
            yield Finding("backends", name, "OK", f"imports{where}{seconds}{versions}")
        missing = [attempt.missing for probe in probes if (attempt := probe.attempts.get(name)) and attempt.missing]
        if not told and missing:
            yield Finding("backends", name, "WARN", missing[0], _install(info))
    if not useful:
        text = "no framework can be used, so there is nothing to measure"
        yield Finding(
            "backends", "all", "FAIL", text, "install a framework and its plugin: benchfw backends lists them"
        )


def _again(info: BackendInfo) -> str:
    return f"if that does not help you, install it anew: {_install(info)}"


def _install(info: BackendInfo) -> str:
    return info.install or "ask the author of its plugin"
