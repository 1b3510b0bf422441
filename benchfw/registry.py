"""What plugins registered, by name, and the hooks of theirs that are called during a run."""

from __future__ import annotations

import contextlib
import copy
import difflib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchfw.errors import PluginError, ScenarioError, UnknownName
from benchfw.spec.artifact import FormatInfo, ModelSourceInfo, StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.spec.command import CommandInfo
from benchfw.spec.events import Event, Notice
from benchfw.spec.executor import ExecutorInfo
from benchfw.spec.info import Info
from benchfw.spec.plan import PlanEdit, PlannedCase
from benchfw.spec.sampler import SamplerInfo

KINDS: dict[str, type[Info]] = {
    "backend": BackendInfo,
    "model source": ModelSourceInfo,
    "step": StepInfo,
    "format": FormatInfo,
    "executor": ExecutorInfo,
    "sampler": SamplerInfo,
    "command": CommandInfo,
}
"""What plugins register. The hook of each is `benchfw_register_<kind>s`, with underscores."""

AnyInfo = TypeVar("AnyInfo", bound=Info)
RAISED = (Exception, SystemExit)
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
        unmatched: What stands in `BENCHFW_BLOCK_PLUGINS` and names no plugin.
    """

    backends: dict[str, BackendInfo] = field(default_factory=dict)
    model_sources: dict[str, ModelSourceInfo] = field(default_factory=dict)
    steps: dict[str, StepInfo] = field(default_factory=dict)
    formats: dict[str, FormatInfo] = field(default_factory=dict)
    executors: dict[str, ExecutorInfo] = field(default_factory=dict)
    samplers: dict[str, SamplerInfo] = field(default_factory=dict)
    commands: dict[str, CommandInfo] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    plugins: list[Plugin] = field(default_factory=list)
    broken: list[BrokenPlugin] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)

    def backend(self, name: str) -> BackendInfo:
        """Return a backend.

        Raises:
            UnknownName: No plugin registers it; the hint has the nearest name, and the plugins that cannot be used.
        """
        return self._lookup("backend", name, self.backends)

    def model_source(self, scheme: str) -> ModelSourceInfo:
        """Return a model source, or raise `UnknownName`."""
        return self._lookup("model source", scheme, self.model_sources)

    def executor(self, name: str) -> ExecutorInfo:
        """Return an executor, or raise `UnknownName`."""
        return self._lookup("executor", name, self.executors)

    def step(self, name: str) -> StepInfo:
        """Return an artifact step, or raise `UnknownName`."""
        return self._lookup("step", name, self.steps)

    def provider(self, kind: str, name: str) -> Plugin:
        """Return the plugin that registers something; `kind` is a key of `KINDS`."""
        return next(plugin for plugin in self.plugins if f"{kind} {name}" in plugin.keys)

    def sampler(self, name: str) -> SamplerInfo:
        """Return a sampler, or raise `UnknownName`."""
        return self._lookup("sampler", name, self.samplers)

    def known(self, kind: str) -> dict[str, Any]:
        """Return everything of one kind by name; `kind` is a key of `KINDS`."""
        known: dict[str, Any] = getattr(self, f"{kind.replace(' ', '_')}s")
        return known

    def unusable(self) -> list[str]:
        """Say which plugins cannot be used, and why, a line each: one of them may have what somebody looks for."""
        broken = [f"broken: {plugin.name}: {plugin.reason}" for plugin in self.broken]
        return broken + [f"blocked: {name} (BENCHFW_BLOCK_PLUGINS)" for name in self.blocked]

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Let a `ScenarioError` over something that no plugin provides say which plugins cannot be used."""
        try:
            yield
        except ScenarioError as error:
            if error.hint is None and any(fault.unprovided for fault in error.faults):
                error.hint = "\n".join(self.unusable()) or None
            raise

    def _lookup(self, kind: str, name: str, known: Mapping[str, AnyInfo]) -> AnyInfo:
        if name in known:
            return known[name]
        near = difflib.get_close_matches(name, known, n=1)
        first = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
        raise UnknownName(f"no plugin provides the {kind} {name!r}", hint="\n".join([first, *self.unusable()]))

    # --- hooks that are called during a run -------------------------------------------------------------------------

    def plan_edits(self, scenario: Mapping[str, Any], cases: Sequence[PlannedCase]) -> Iterator[tuple[str, PlanEdit]]:
        """Yield what plugins want to change of a plan, with their names.

        Raises:
            PluginError: A plugin raises, or returns something else.
        """
        for plugin in self.plugins:
            try:
                with printing_to_stderr():
                    edits = plugin.hook.benchfw_edit_plan(scenario=copy.deepcopy(scenario), cases=cases)
            except RAISED as error:
                raise PluginError(f"the plugin {plugin.name} raised in benchfw_edit_plan: {words(error)}") from error
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
                with printing_to_stderr():
                    answers = plugin.hook.benchfw_add_metadata(scenario=copy.deepcopy(scenario), root=root)
                for facts in answers:
                    found[plugin.name] = json.loads(json.dumps(dict(facts), allow_nan=False))
            except RAISED as error:
                found[plugin.name] = {"error": words(error)}
        return found

    def teller(self, notify: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return a function that tells plugins of an event, and `notify`; a plugin that raises is told nothing more."""
        listening = list(self.plugins)

        def tell(event: Event) -> None:
            notify(event)
            for plugin in list(listening):
                try:
                    with printing_to_stderr():
                        plugin.hook.benchfw_on_event(event=event)
                except RAISED as error:
                    listening.remove(plugin)
                    text = f"the plugin {plugin.name} raised in benchfw_on_event and is told nothing more"
                    notify(Notice(f"warning: {text}: {words(error)}"))

        return tell


def printing_to_stderr() -> contextlib.AbstractContextManager[object]:
    """What a plugin prints must not get among the data of a command."""
    return contextlib.redirect_stdout(sys.stderr)


def words(error: BaseException) -> str:
    """Say what a plugin raised; an exception may fail to print."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
