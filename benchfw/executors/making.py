"""Models and artifacts for commands that need no scenario."""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw.artifacts import Builder, Cache
from benchfw.environments import DEFAULT, Environment, start_worker, thread_variables, usable_cpus
from benchfw.executors.options import filler, step_options
from benchfw.executors.scratch import scratch
from benchfw.handover import hand_over
from benchfw.plugins import options_model
from benchfw.registry import Registry
from benchfw.requirements import distributions
from benchfw.spec.artifact import StepInfo
from benchfw.spec.stop import Stop
from benchfw.spec.tensors import IoSpec
from benchfw.supervisor import Worker

TIMEOUT_S = 1200.0


@contextlib.contextmanager
def making(
    registry: Registry,
    *,
    environments: Mapping[str, Environment] | None = None,
    rebuild: bool = False,
    timeout: float = TIMEOUT_S,
    log: Path | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Iterator[Builder]:
    """Hold a builder for the length of a `with` block.

    Args:
        registry: What plugins provide.
        environments: By their names, for engines of other interpreters; default: this one alone.
        rebuild: Make every artifact anew.
        timeout: Deadline of a resolution or step, in seconds.
        log: File that keeps what the worker prints that builds: that of an environment, if there is one.
        notify: Told when a step begins, and every few seconds that it still runs.
    """
    infos = (*registry.steps.values(), *registry.model_sources.values(), *registry.formats.values())
    with scratch(Path.cwd()) as folder:
        code = hand_over(folder / "code", {factory for info in infos for factory in info.code})
        builder = make_builder(
            registry,
            code,
            folder,
            environments=environments,
            rebuild=rebuild,
            timeout=timeout,
            log=log,
            notify=notify,
        )
        try:
            yield builder
        finally:
            builder.close()


def make_builder(
    registry: Registry,
    code: Path,
    folder: Path,
    *,
    extra: Sequence[StepInfo] = (),
    environments: Mapping[str, Environment] | None = None,
    cache: Cache | None = None,
    rebuild: bool = False,
    timeout: float = TIMEOUT_S,
    log: Path | None = None,
    stop: Stop | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Builder:
    """Return a builder whose workers start when they are first needed; close it.

    Args:
        registry: What plugins provide.
        code: What its worker may import, made by `hand_over`.
        folder: Of a scratch: takes the log if there is no other, and its name begins the worker's mark.
        extra: Steps beside those of plugins.
        environments: By their names, for engines of backends that run elsewhere; default: this interpreter alone.
        cache: Default: the user's.
        log: As for `making`; by default logs lie in `folder`.
        rebuild, timeout, stop, notify: As for `Builder`.
    """
    steps = {**registry.steps, **{step.name: step for step in extra}}
    infos = (*steps.values(), *registry.model_sources.values(), *registry.formats.values())
    names = {name for info in infos for name in distributions(info.requires)}
    names |= {name for info in steps.values() for name in info.uses}
    models = ChainMap({step.name: options_model(step) for step in extra}, step_options(registry))  # type: ignore[arg-type]
    known = {DEFAULT: Environment(), **(environments or {})}
    building = next((name for name in known if name != DEFAULT), DEFAULT)

    def start(environment: str) -> Worker:
        own = folder / ("log" if environment == DEFAULT else f"log-{environment}")
        return start_worker(
            known[environment],
            code=code,
            log=log if log is not None and environment == building else own,
            env=thread_variables(usable_cpus()),
            distributions=names,
            stop=stop,
            mark=folder.name,
        )

    return Builder(
        start=start,
        cache=cache or Cache.default(),
        steps=steps,
        options=filler(models),
        rebuild=rebuild,
        timeout=timeout,
        stop=stop,
        notify=notify,
    )


def describe_model(registry: Registry, ref: str, root: Path) -> IoSpec | None:
    """Resolve a model for its inputs and outputs alone; None where its source does not know them.

    Raises:
        UnknownName: No plugin provides the scheme.
        CaseError: The model cannot be resolved.
    """
    scheme, _, target = ref.partition(":")
    source = registry.model_source(scheme)
    with making(registry) as builder:
        return builder.resolve(source, target, root=root, seed=0, weights=None).io


def describe_file(registry: Registry, format_: str, path: Path) -> Mapping[str, Any]:
    """Return what a format tells of a file; nothing where no plugin knows the format.

    Raises:
        CaseError: The file is none of that format, or not a whole one.
    """
    info = registry.formats.get(format_)
    if info is None:
        return {}
    with making(registry) as builder:
        return builder.ask_format("describe", info, path=str(path.absolute()))
