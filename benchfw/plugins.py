"""Discovery of plugins: entry points of the group `benchfw`, and the modules that `BENCHFW_PLUGINS` names.

A plugin that fails to import or to register is kept in `Registry.broken` with its reason; everything else works.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from benchfw.errors import DuplicateName, PluginError, UnknownName
from benchfw.spec import hooks
from benchfw.spec.artifact import ModelSourceInfo, StepInfo
from benchfw.spec.backend import SPEC_VERSION, BackendInfo

GROUP = "benchfw"
BUILTIN = "benchfw.builtin.plugin"
Info = TypeVar("Info", BackendInfo, ModelSourceInfo, StepInfo)


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used, and why."""

    name: str
    reason: str


@dataclass(kw_only=True)
class Registry:
    """What all plugins registered, by name.

    Attributes:
        owners: `backend NAME`, `model source SCHEME`, `step NAME` → name and version of the distribution.
    """

    backends: dict[str, BackendInfo] = field(default_factory=dict)
    model_sources: dict[str, ModelSourceInfo] = field(default_factory=dict)
    steps: dict[str, StepInfo] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    broken: list[BrokenPlugin] = field(default_factory=list)

    def backend(self, name: str) -> BackendInfo:
        """Return a backend.

        Raises:
            UnknownName: No plugin registers it; the message has the nearest names.
        """
        return _lookup("backend", name, self.backends)

    def model_source(self, scheme: str) -> ModelSourceInfo:
        """Return a model source, or raise `UnknownName`."""
        return _lookup("model source", scheme, self.model_sources)


def discover(extra: Iterable[str] | None = None) -> Registry:
    """Find and register every plugin.

    Args:
        extra: Modules to register beside the entry points; default: those of `BENCHFW_PLUGINS`, comma-separated.
    """
    registry = Registry()
    if extra is None:
        extra = filter(None, map(str.strip, os.environ.get("BENCHFW_PLUGINS", "").split(",")))
    _register(registry, BUILTIN, "benchfw", lambda: importlib.import_module(BUILTIN))
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name):
        owner = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        _register(registry, point.name, owner, point.load)
    for name in extra:
        _register(registry, name, name, lambda name=name: importlib.import_module(name))  # type: ignore[misc]
    return registry


def options_model(info: BackendInfo | StepInfo) -> Any:
    """Import the pydantic model of the options of a backend or step; None where it has none.

    Raises:
        PluginError: The model cannot be imported.
    """
    if not info.options:
        return None
    module, _, name = info.options.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"options of {info.name!r} cannot be imported: {error}") from error


def _register(registry: Registry, name: str, owner: str, load: Callable[[], ModuleType]) -> None:
    """Register one plugin wholly or not at all."""
    try:
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        manager.register(load(), name)
        manager.check_pending()
        found: list[tuple[str, dict[str, Any], list[Any]]] = [
            ("backend", registry.backends, _flat(manager.hook.benchfw_register_backends())),
            ("model source", registry.model_sources, _flat(manager.hook.benchfw_register_model_sources())),
            ("step", registry.steps, _flat(manager.hook.benchfw_register_steps())),
        ]
        for kind, known, infos in found:
            _check(registry, owner, kind, known, infos)
    except (Exception, SystemExit) as error:  # whatever a plugin does, the others work
        registry.broken.append(BrokenPlugin(f"{name} ({owner})", f"{type(error).__name__}: {error}"))
        return
    for kind, known, infos in found:
        for info in infos:
            key = _key(info)
            known[key] = info
            registry.owners[f"{kind} {key}"] = owner


def _check(registry: Registry, owner: str, kind: str, known: Mapping[str, Any], infos: list[Any]) -> None:
    keys = [_key(info) for info in infos]
    for key in keys:
        if keys.count(key) > 1:
            raise DuplicateName(f"{kind} {key!r} is registered twice by {owner}")
    for info in infos:
        if isinstance(info, BackendInfo) and info.spec > SPEC_VERSION:
            raise PluginError(
                f"backend {info.name!r} was written for contract {info.spec}, this benchfw has {SPEC_VERSION}"
            )
        if _key(info) in known:
            other = registry.owners[f"{kind} {_key(info)}"]
            raise DuplicateName(f"{kind} {_key(info)!r} is registered by {other} and by {owner}")


def _flat(lists: Iterable[list[Any]]) -> list[Any]:
    return [item for items in lists for item in items]


def _key(info: BackendInfo | ModelSourceInfo | StepInfo) -> str:
    return info.scheme if isinstance(info, ModelSourceInfo) else info.name


def _lookup(kind: str, name: str, known: Mapping[str, Info]) -> Info:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    raise UnknownName(
        f"no plugin provides the {kind} {name!r}",
        hint=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}",
    )
