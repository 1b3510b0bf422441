"""Interpreters, plugins, environments and backends."""

from __future__ import annotations

import functools
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchfw.doctor import cuda, packages
from benchfw.doctor.findings import Check, Finding
from benchfw.environments import DEFAULT, Python
from benchfw.environments.check import CheckedBackend, CheckedEnvironment
from benchfw.environments.install import is_command, split_hint
from benchfw.plugins import Registry

_QUICK_S = 0.1
"""Not worth telling; also what it takes if another backend has loaded the framework already."""


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


def python_checks(interpreter: Interpreter, find: Callable[[], Iterable[Python]]) -> list[Check]:
    """Return the checks of interpreters.

    Args:
        interpreter: The one that benchfw runs on.
        find: Returns those that are found, as `pythons` does.
    """
    return [
        Check("Python", "benchfw's", functools.partial(_interpreter, interpreter)),
        Check("Python", "others", functools.partial(_pythons, find), deadline_s=60.0),
    ]


def plugin_check(registry: Registry) -> Check:
    """Return the check of plugins."""
    return Check("plugins", "plugins", functools.partial(_plugins, registry))


def environment_checks(
    registry: Registry,
    looks: Mapping[str, Callable[[], CheckedEnvironment]],
    installed: Callable[[str], packages.Files] = packages.installed,
    measuring: str | None = None,
    versions: Callable[[str], Mapping[str, str]] = packages.versions,
    driver: Mapping[str, str | None] | None = None,
) -> list[Check]:
    """Return the checks of environments, of the packages in them and of backends.

    Args:
        registry: The plugins.
        looks: By the name of an environment, what checks it; workers have deadlines of their own.
        installed: Returns the files of the packages that an interpreter sees.
        measuring: Describes the runs that measure on this machine now: nothing is imported beside them.
        versions: Returns the versions of the packages that an interpreter sees.
        driver: What the checks of the GPU have filled in by then; see `gpu.checks`.
    """
    if measuring:
        return [Check("environments", "workers", functools.partial(_held_back, measuring))]
    found: dict[str, CheckedEnvironment] = {}

    def look(name: str) -> Iterator[Finding]:
        found[name] = looks[name]()
        yield _environment(found[name])

    def overwritten(name: str) -> Iterator[Finding]:
        if name in found and found[name].works:
            yield from packages.findings(name, installed(found[name].python))
            built_for = [each for info in registry.backends.values() for each in info.built_for]
            yield from cuda.findings(name, versions(found[name].python), built_for, (driver or {}).get("cuda"))

    def backends() -> Iterator[Finding]:
        yield from _backends(registry, list(found.values()), complete=len(found) == len(looks))

    return [
        *(Check("environments", name, functools.partial(look, name), deadline_s=None, wrong="FAIL") for name in looks),
        *(Check("packages", name, functools.partial(overwritten, name), deadline_s=None) for name in looks),
        Check("backends", "backends", backends, wrong="FAIL"),
    ]


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


def _pythons(find: Callable[[], Iterable[Python]]) -> Iterator[Finding]:
    found = list(find())
    for python in found:
        yield Finding("Python", python.version, "OK", python.path)
    if not found:
        yield Finding("Python", "others", "OK", "none on PATH, nor in the places of pyenv and uv")


def _plugins(registry: Registry) -> Iterator[Finding]:
    owners = sorted(set(registry.owners.values()))
    yield Finding("plugins", "plugins", "OK", ", ".join(owners) or "none")
    for plugin in registry.broken:
        remedy = "install a version that works here, or uninstall it"
        yield Finding("plugins", plugin.name, "FAIL", plugin.reason, remedy)


def _held_back(measuring: str) -> Iterator[Finding]:
    text = f"not looked at, nor packages and backends: importing them would disturb {measuring}"
    yield Finding("environments", "workers", "WARN", text, "when it is over, once more: benchfw doctor")


def _environment(found: CheckedEnvironment) -> Finding:
    name = found.name
    if not found.made:
        remedy = found.remedy
        if found.state in ("unfinished", "damaged"):
            remedy = f"make it again: {found.remedy} --with …; or remove it: benchfw env rm {name}"
        return Finding("environments", name, "WARN", found.reason, remedy)
    if not found.works:
        remedy = found.remedy or f"repair or remove {found.python}"
        return Finding("environments", name, "FAIL", f"no worker starts: {found.reason}", remedy)
    if found.reason:  # cases that want it are skipped
        return Finding("environments", name, "WARN", found.reason, found.remedy)
    text = f"{found.implementation} {found.version}, numpy {found.packages['numpy']}, {found.python}"
    return Finding("environments", name, "OK", text)


def _backends(registry: Registry, environments: Sequence[CheckedEnvironment], *, complete: bool) -> Iterator[Finding]:
    """Yield every backend where it can be used or fails, and one warning for a backend that is ready nowhere.

    That no framework can be used is known only if the environments are complete.
    """
    useful = False
    for name in sorted(registry.backends):
        found = [(place.name, one) for place in environments for one in place.backends if one.name == name]
        tried = [(place, one) for place, one in found if not one.missing]
        for place, one in tried:
            useful = useful or (one.loads and registry.owners[f"backend {name}"] != "benchfw")
            yield _backend(one, "" if place == DEFAULT else f" in {place}")
        if found and not tried:
            _, first = found[0]
            yield Finding("backends", name, "WARN", first.reason, _install(first))
    if complete and not useful:
        text = "no framework can be used, so there is nothing to measure"
        yield Finding(
            "backends", "all", "FAIL", text, "install a framework and its plugin: benchfw backends lists them"
        )


def _backend(found: CheckedBackend, where: str) -> Finding:
    if not found.loads:
        anew = f"install it anew: {found.install}" if is_command(found.install) else _install(found)
        # a plugin's own "pip install" is not for this interpreter, and would find all that is there in place
        own, told = split_hint(found.remedy)
        if own:
            remedy = f"{anew}{told}" if is_command(found.install) else anew
        else:
            remedy = f"{told}; if that does not help, {anew}" if told else anew
        return Finding("backends", found.name, "FAIL", f"does not import{where}: {found.reason}", remedy)
    seconds = f" in {found.seconds:.1f} s" if found.seconds >= _QUICK_S else ""
    versions = "".join(f", {package} {version}" for package, version in found.packages.items())
    text = f"imports{where}{seconds}{versions}"
    if found.lacking:
        return Finding("backends", found.name, "WARN", f"{text}, but {found.lacking}", _install(found))
    return Finding("backends", found.name, "OK", text)


def _install(found: CheckedBackend) -> str:
    return found.install or "ask the author of its plugin"
