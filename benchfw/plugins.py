"""Discovery of plugins: those of benchfw itself, entry points of the group `benchfw`, modules in `BENCHFW_PLUGINS`.

A plugin that fails to import or to register is kept in `Registry.broken` with its reason; everything else works. One
that `BENCHFW_BLOCK_PLUGINS` names is not even imported.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from benchfw.errors import DuplicateName, PluginError, UnknownName
from benchfw.spec import hooks
from benchfw.spec.artifact import ModelSourceInfo, StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.spec.command import CommandInfo
from benchfw.spec.events import Event, Stage
from benchfw.spec.executor import ExecutorInfo
from benchfw.spec.info import SPEC_VERSION, Info
from benchfw.spec.plan import PlanEdit, PlannedCase
from benchfw.spec.sampler import SamplerInfo

GROUP = "benchfw"
_EXTRA, _BLOCKED = "BENCHFW_PLUGINS", "BENCHFW_BLOCK_PLUGINS"
OWN = {
    "builtin": "benchfw.builtin.plugin",
    "local": "benchfw.executors.plugin",
    "commands": "benchfw.cli.plugin",
}
"""benchfw's own plugins: they enter by the same hooks as any other, and can be blocked like them."""

KINDS: dict[str, type[Info]] = {
    "backend": BackendInfo,
    "model source": ModelSourceInfo,
    "step": StepInfo,
    "executor": ExecutorInfo,
    "sampler": SamplerInfo,
    "command": CommandInfo,
}
"""What plugins register. The hook of each is `benchfw_register_<kind>s`, with underscores."""

AnyInfo = TypeVar("AnyInfo", bound=Info)
_RAISED = (Exception, SystemExit)
"""What a plugin may raise without ending this process; a KeyboardInterrupt is the user's."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin that works.

    Attributes:
        name: Its name as an entry point, or its module.
        owner: Name and version of its distribution.
        module: The module that carries its hooks.
        keys: What it registers: `backend NAME`, `step NAME`, …
        hook: Its hooks.
        seconds: What importing and registering it took.
    """

    name: str
    owner: str
    module: str
    keys: frozenset[str]
    hook: Any
    seconds: float


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used, and why."""

    name: str
    reason: str


@dataclass(kw_only=True)
class Registry:
    """What all plugins registered, by name.

    Attributes:
        owners: `backend NAME`, `model source SCHEME`, … → name and version of the distribution.
        plugins: Those that work, in the order in which they were found.
        broken: Those that do not.
        blocked: Names of those that `BENCHFW_BLOCK_PLUGINS` keeps away.
    """

    backends: dict[str, BackendInfo] = field(default_factory=dict)
    model_sources: dict[str, ModelSourceInfo] = field(default_factory=dict)
    steps: dict[str, StepInfo] = field(default_factory=dict)
    executors: dict[str, ExecutorInfo] = field(default_factory=dict)
    samplers: dict[str, SamplerInfo] = field(default_factory=dict)
    commands: dict[str, CommandInfo] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)
    broken: list[BrokenPlugin] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)

    def backend(self, name: str) -> BackendInfo:
        """Return a backend.

        Raises:
            UnknownName: No plugin registers it; the message has the nearest names.
        """
        return _lookup("backend", name, self.backends)

    def model_source(self, scheme: str) -> ModelSourceInfo:
        """Return a model source, or raise `UnknownName`."""
        return _lookup("model source", scheme, self.model_sources)

    def executor(self, name: str) -> ExecutorInfo:
        """Return an executor, or raise `UnknownName`."""
        return _lookup("executor", name, self.executors)

    def provider(self, kind: str, name: str) -> Plugin:
        """Return the plugin that registers something; `kind` is a key of `KINDS`."""
        return next(plugin for plugin in self.plugins if f"{kind} {name}" in plugin.keys)

    def sampler(self, name: str) -> SamplerInfo:
        """Return a sampler, or raise `UnknownName`."""
        return _lookup("sampler", name, self.samplers)

    def known(self, kind: str) -> dict[str, Any]:
        """Return everything of one kind by name; `kind` is a key of `KINDS`."""
        known: dict[str, Any] = getattr(self, f"{kind.replace(' ', '_')}s")
        return known

    # --- hooks that are called during a run -------------------------------------------------------------------------

    def plan_edits(self, scenario: Mapping[str, Any], cases: Sequence[PlannedCase]) -> Iterator[tuple[str, PlanEdit]]:
        """Yield what plugins want to change of a plan, with their names.

        Raises:
            PluginError: A plugin raises, or returns something else.
        """
        for plugin in self.plugins:
            try:
                with _printing_to_stderr():
                    edits = plugin.hook.benchfw_edit_plan(scenario=copy.deepcopy(scenario), cases=cases)
            except _RAISED as error:
                raise PluginError(f"the plugin {plugin.name} raised in benchfw_edit_plan: {_words(error)}") from error
            for edit in edits:
                if not isinstance(edit, PlanEdit):
                    kind = type(edit).__name__
                    raise PluginError(f"the plugin {plugin.name} returned {kind} from benchfw_edit_plan, not PlanEdit")
                yield plugin.name, edit

    def metadata(self, scenario: Mapping[str, Any], root: Path) -> dict[str, Any]:
        """Return what plugins add to the manifest, by their names."""
        found: dict[str, Any] = {}
        for plugin in self.plugins:
            try:
                with _printing_to_stderr():
                    answers = plugin.hook.benchfw_add_metadata(scenario=copy.deepcopy(scenario), root=root)
                for facts in answers:
                    found[plugin.name] = json.loads(json.dumps(dict(facts), allow_nan=False))
            except _RAISED as error:
                found[plugin.name] = {"error": _words(error)}
        return found

    def teller(self, notify: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return a function that tells plugins of an event, and `notify`; a plugin that raises is told nothing more."""
        listening = list(self.plugins)

        def tell(event: Event) -> None:
            notify(event)
            for plugin in list(listening):
                try:
                    with _printing_to_stderr():
                        plugin.hook.benchfw_on_event(event=event)
                except _RAISED as error:
                    listening.remove(plugin)
                    text = f"the plugin {plugin.name} raised in benchfw_on_event and is told nothing more"
                    notify(Stage(f"warning: {text}: {_words(error)}"))

        return tell


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
    away = set(map(_normalized, _listed(_BLOCKED) if blocked is None else blocked))
    for name, owner, aliases, load in _found(_listed(_EXTRA) if extra is None else extra):
        if away.isdisjoint(map(_normalized, (name, *aliases))):
            _register(here, name, owner, load, trace)
        else:
            here.blocked.append(name)
            if trace:
                trace(f"{name} ({owner}): blocked")
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
    return _imported(info.factory, f"{info.key!r}")


def options_model(info: BackendInfo | StepInfo) -> Any:
    """Import the pydantic model of the options of a backend or step; None where it has none.

    Raises:
        PluginError: The model cannot be imported.
    """
    return _imported(info.options, f"options of {info.name!r}") if info.options else None


def _imported(path: str, what: str) -> Any:
    module, _, name = path.partition(":")
    try:
        with _printing_to_stderr():
            return getattr(importlib.import_module(module), name)
    except _RAISED as error:
        raise PluginError(f"{what} cannot be imported: {_words(error)}") from error


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
        with _printing_to_stderr():
            module = load()
            manager.register(module, name)
            manager.check_pending()
            found = {kind: _infos(manager.hook, kind) for kind in KINDS}
        for kind, infos in found.items():
            _check(registry, owner, kind, infos)
    except _RAISED as error:  # whatever a plugin does, the others work
        registry.broken.append(BrokenPlugin(f"{name} ({owner})", _words(error)))
        if trace:
            trace(f"{name} ({owner}): broken, {_words(error)}")
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
    keys = [info.key for info in infos]
    for info in infos:
        if keys.count(info.key) > 1:
            raise DuplicateName(f"{kind} {info.key!r} is registered twice by {owner}")
        if info.spec > SPEC_VERSION:
            raise PluginError(
                f"{kind} {info.key!r} was written for contract {info.spec}, this benchfw has {SPEC_VERSION}"
            )
        if info.key in registry.known(kind):
            other = registry.owners[f"{kind} {info.key}"]
            raise DuplicateName(f"{kind} {info.key!r} is registered by {other} and by {owner}")


def _lookup(kind: str, name: str, known: Mapping[str, AnyInfo]) -> AnyInfo:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    raise UnknownName(
        f"no plugin provides the {kind} {name!r}",
        hint=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}",
    )


def _printing_to_stderr() -> contextlib.AbstractContextManager[object]:
    """What a plugin prints must not get among the data of a command."""
    return contextlib.redirect_stdout(sys.stderr)


def _normalized(name: str) -> str:
    return name.replace("_", "-").lower()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
