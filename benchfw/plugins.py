"""Discovery of plugins: those of benchfw itself, entry points of the group `benchfw`, modules in `BENCHFW_PLUGINS`.

A plugin that fails to import or to register is kept in `Registry.broken` with its reason; everything else works. One
that `BENCHFW_BLOCK_PLUGINS` names is not even imported.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from benchfw.errors import DuplicateName, PluginError
from benchfw.registrations import check_registration
from benchfw.registry import KINDS, RAISED, BrokenPlugin, Plugin, Registry, printing_to_stderr, words
from benchfw.spec import hooks
from benchfw.spec.artifact import StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.spec.info import Info

__all__ = ["KINDS", "BrokenPlugin", "Plugin", "Registry", "discover", "load_class", "options_model", "registry"]

GROUP = "benchfw"
_EXTRA, _BLOCKED = "BENCHFW_PLUGINS", "BENCHFW_BLOCK_PLUGINS"
OWN = {
    "builtin": "benchfw.builtin.plugin",
    "local": "benchfw.executors.plugin",
    "commands": "benchfw.cli.plugin",
}
"""benchfw's own plugins: they enter by the same hooks as any other, and can be blocked like them."""


def discover(
    extra: Iterable[str] | None = None,
    blocked: Iterable[str] | None = None,
    trace: Callable[[str], None] | None = None,
) -> Registry:
    """Find and register every plugin.

    Args:
        extra: Modules to register beside the entry points; default: those of `BENCHFW_PLUGINS`, comma-separated.
        blocked: Names of plugins, modules or distributions to leave alone; default: those of `BENCHFW_BLOCK_PLUGINS`.
        trace: Told what is imported and called, and how long that took.
    """
    here = Registry()
    away = {_normalized(name): name for name in (_listed(_BLOCKED) if blocked is None else blocked)}
    matched: set[str] = set()
    for name, owner, aliases, load in _found(_listed(_EXTRA) if extra is None else extra):
        if hits := away.keys() & set(map(_normalized, (name, *aliases))):
            matched |= hits
            here.blocked.append(name)
            if trace:
                trace(f"{name} ({owner}): blocked")
        else:
            _register(here, name, owner, load, trace)
    here.unmatched = [name for key, name in away.items() if key not in matched]
    return here


_here: dict[tuple[str | None, ...], Registry] = {}


def registry(trace: Callable[[str], None] | None = None) -> Registry:
    """Return what plugins provide in this process; they are looked for once.

    Args:
        trace: Look for them anew, and tell it what is imported and called.
    """
    key = tuple(map(os.environ.get, (_EXTRA, _BLOCKED)))
    if trace is not None or key not in _here:
        _here[key] = discover(trace=trace)
    return _here[key]


def forget() -> None:
    """Let `registry` look for plugins anew."""
    _here.clear()


def load_class(info: Info) -> Any:
    """Import what `info.factory` names, in this process.

    Raises:
        PluginError: It cannot be imported.
    """
    return _imported(f"factory {info.factory!r} of {info.key!r}", info.factory)


def options_model(info: BackendInfo | StepInfo) -> Any:
    """Import the pydantic model of the options of a backend or step; None where it has none.

    Raises:
        PluginError: The model cannot be imported, or is none.
    """
    if not info.options:
        return None
    from pydantic import BaseModel

    what = f"options {info.options!r} of {info.name!r}"
    model = _imported(what, info.options)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(f"{what} are {model!r:.80}, not a pydantic model")
    return model


def _imported(what: str, path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        with printing_to_stderr():
            return getattr(importlib.import_module(module), name)
    except RAISED as error:
        raise PluginError(f"{what} cannot be imported: {words(error)}") from error


def _listed(variable: str) -> list[str]:
    return [name for name in map(str.strip, os.environ.get(variable, "").split(",")) if name]


def _found(extra: Iterable[str]) -> Iterator[tuple[str, str, tuple[str, ...], Callable[[], ModuleType]]]:
    """Yield name, owner, other names and loader of every plugin."""
    for name, module in OWN.items():
        yield name, "benchfw", (module,), lambda module=module: importlib.import_module(module)  # type: ignore[misc]
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name):
        owner = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        yield point.name, owner, (point.value, point.dist.name if point.dist else point.name), point.load
    for name in extra:
        yield name, name, (), lambda name=name: importlib.import_module(name)  # type: ignore[misc]


def _register(
    registry: Registry, name: str, owner: str, load: Callable[[], ModuleType], trace: Callable[[str], None] | None
) -> None:
    """Register one plugin wholly or not at all."""
    start = time.perf_counter()
    try:
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        with printing_to_stderr():
            module = load()
            if not isinstance(module, ModuleType):
                raise PluginError(f"it is {module!r:.80}, not a module")
            manager.register(module, name)
            manager.check_pending()
            if not manager.get_hookcallers(module):
                raise PluginError("no hooks found: is @hookimpl missing?")
            found = {kind: _infos(manager.hook, kind) for kind in KINDS}
        for kind, infos in found.items():
            _check(registry, owner, kind, infos)
    except RAISED as error:  # whatever a plugin does, the others work
        registry.broken.append(BrokenPlugin(f"{name} ({owner})", words(error)))
        if trace:
            trace(f"{name} ({owner}): broken, {words(error)}")
        return
    for kind, infos in found.items():
        for info in infos:
            registry.known(kind)[info.key] = info
            registry.owners[f"{kind} {info.key}"] = owner
    seconds = time.perf_counter() - start
    keys = frozenset(f"{kind} {info.key}" for kind, infos in found.items() for info in infos)
    registry.plugins.append(
        Plugin(name=name, owner=owner, module=module.__name__, keys=keys, hook=manager.hook, seconds=seconds)
    )
    if trace:
        counts = ", ".join(f"{len(infos)} {kind}{'s' * (len(infos) > 1)}" for kind, infos in found.items() if infos)
        trace(f"{name} ({owner}): {counts or 'no registrations'}, {seconds * 1e3:.1f} ms")
        _trace_calls(manager, name, trace)


def _trace_calls(manager: pluggy.PluginManager, name: str, trace: Callable[[str], None]) -> None:
    def before(hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        if implementations:
            starts.append(time.perf_counter())

    def after(outcome: Any, hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        if implementations:
            what = f"raised {outcome.exception!r}" if outcome.exception else f"returned {outcome.get_result()!r:.200}"
            trace(f"{name}: {hook} {what}, {(time.perf_counter() - starts.pop()) * 1e3:.1f} ms")

    starts: list[float] = []
    manager.add_hookcall_monitoring(before, after)


def _infos(hook: Any, kind: str) -> list[Any]:
    """Ask a plugin for its registrations of one kind.

    Raises:
        PluginError: It gives something else.
    """
    name = f"benchfw_register_{kind.replace(' ', '_')}s"
    infos = [info for given in getattr(hook, name)() for info in given]
    for info in infos:
        if not isinstance(info, KINDS[kind]):
            raise PluginError(f"{name} returned {info!r:.80}, not {KINDS[kind].__name__}")
    return infos


def _check(registry: Registry, owner: str, kind: str, infos: list[Any]) -> None:
    for info in infos:
        check_registration(kind, info)
    keys = [info.key for info in infos]
    for info in infos:
        if keys.count(info.key) > 1:
            raise DuplicateName(f"{kind} {info.key!r} is registered twice by {owner}")
        if info.key in registry.known(kind):
            other = registry.owners[f"{kind} {info.key}"]
            raise DuplicateName(f"{kind} {info.key!r} is registered by {other} and by {owner}")


def _normalized(name: str) -> str:
    return name.replace("_", "-").lower()
