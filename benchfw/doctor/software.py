"""Interpreters, plugins, environments and backends."""

from __future__ import annotations

import functools
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchfw.doctor import packages
from benchfw.doctor.findings import Check, Finding
from benchfw.environments import DEFAULT, Python
from benchfw.environments.check import CheckedBackend, CheckedEnvironment
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


def environments_check(
    registry: Registry,
    look: Callable[[], Iterable[CheckedEnvironment]],
    installed: Callable[[str], packages.Files] = packages.installed,
) -> Check:
    """Return the check of environments, of the packages in them and of backends.

    Args:
        registry: The plugins.
        look: Checks benchfw's own interpreter and what benchfw has made; workers have deadlines of their own.
        installed: Returns the files of the packages that an interpreter sees.
    """

    def find() -> Iterator[Finding]:
        found = list(look())
        for environment in found:
            yield _environment(environment)
        for environment in found:
            if environment.works:
                yield from packages.findings(environment.name, installed(environment.python))
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


def _environment(found: CheckedEnvironment) -> Finding:
    name = found.name
    if not found.made:
        remedy = f"make it again: {found.remedy} --with …; or remove it: benchfw env rm {name}"
        return Finding("environments", name, "WARN", found.reason, remedy)
    if not found.works:
        remedy = found.remedy or f"repair or remove {found.python}"
        return Finding("environments", name, "FAIL", f"no worker starts: {found.reason}", remedy)
    text = f"{found.implementation} {found.version}, numpy {found.packages['numpy']}, {found.python}"
    return Finding("environments", name, "OK", text)


def _backends(registry: Registry, environments: Sequence[CheckedEnvironment]) -> Iterator[Finding]:
    """Yield every backend where it can be used or fails, and one warning for a backend that is ready nowhere."""
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
    if not useful:
        text = "no framework can be used, so there is nothing to measure"
        yield Finding(
            "backends", "all", "FAIL", text, "install a framework and its plugin: benchfw backends lists them"
        )


def _backend(found: CheckedBackend, where: str) -> Finding:
    if not found.loads:
        hint = f" ({found.remedy})" if found.remedy else ""
        remedy = f"if that does not help you, install it anew: {_install(found)}"
        return Finding("backends", found.name, "FAIL", f"does not import{where}: {found.reason}{hint}", remedy)
    seconds = f" in {found.seconds:.1f} s" if found.seconds >= _QUICK_S else ""
    versions = "".join(f", {package} {version}" for package, version in found.packages.items())
    return Finding("backends", found.name, "OK", f"imports{where}{seconds}{versions}")


def _install(found: CheckedBackend) -> str:
    return found.install or "ask the author of its plugin"
