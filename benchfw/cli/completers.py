"""What a shell proposes for values: files, backends, runs. Quick, light, and silent about whatever goes wrong.

A name that a shell would take apart, or a terminal act on, is not proposed.
"""

from __future__ import annotations

import functools
import glob
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from benchfw.store.files import PREFIX, RESULTS

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_PLAIN = re.compile(r"[\w./+@%=:,-]+")


def _completer(find: Callable[[click.Context, str], Iterable[str]]) -> Completer:
    """Make a completer for click of a function that finds candidates."""

    @functools.wraps(find)
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return [
                CompletionItem(text)
                for text in dict.fromkeys(find(ctx, incomplete))
                if text.startswith(incomplete) and _PLAIN.fullmatch(text)
            ]
        except Exception:  # a message would land in the line that is being typed
            return []

    return complete


@_completer
def _scenario_files(ctx: click.Context, incomplete: str) -> Iterable[str]:
    start = glob.escape(incomplete)
    return sorted([*glob.glob(f"{start}*.toml"), *glob.glob(f"{start}*/*.toml")])


def scenarios(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose TOML files, here and one folder further; where there are none, any file."""
    return _scenario_files(ctx, param, incomplete) or [CompletionItem(incomplete, type="file")]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose files."""
    return [CompletionItem(incomplete, type="file")]


@_completer
def installed_backends(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the backends that plugins register."""
    from benchfw import plugins

    return plugins.registry().backends


@_completer
def runtimes(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the runtimes that plugins build engines for."""
    from benchfw import plugins

    return filter(None, (step.runtime for step in plugins.registry().steps.values()))


@_completer
def scenario_backends(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the backends of the scenario that the command line names."""
    import tomllib

    scenario = ctx.params["scenario"] or ctx.args[0]  # an option that waits for its value leaves arguments there
    document = tomllib.loads(Path(scenario).read_text(encoding="utf-8"))
    return [entry.get("name") or entry["use"] for entry in document["backend"]]


@_completer
def runs(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the ids of runs, newest first."""
    return _run_ids(ctx)


@_completer
def runs_or_latest(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose `latest` too."""
    return ["latest", *_run_ids(ctx)]


@_completer
def tables(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the tables of results."""
    from benchfw.store.schema import TABLES

    return TABLES


@_completer
def labels(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the labels that cases can be compared by."""
    from benchfw.analysis.labels import BY

    return BY


@_completer
def columns(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose one more column of the table that the command line names; of all tables if it names none yet."""
    from benchfw.store.schema import TABLES

    table = ctx.params.get("table")
    names = TABLES[table].names if table in TABLES else [name for each in TABLES.values() for name in each.names]
    before, comma, _ = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name not in before.split(",")]


@_completer
def executors(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the executors that plugins register."""
    from benchfw import plugins

    return plugins.registry().executors


@_completer
def cache_keys(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the keys of the cache, those used last first."""
    from benchfw.artifacts import Cache
    from benchfw.artifacts.entries import entries

    return [entry.key for entry in entries(Cache.default())]


def files_or_cache_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Propose files, and keys of the cache that begin so."""
    return [*cache_keys(ctx, param, incomplete or "-"), *models(ctx, param, incomplete)]


@_completer
def environments(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose the environments that benchfw has made."""
    from benchfw.environments import managed

    return managed.names()


@_completer
def environments_or_default(ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Propose benchfw's own interpreter too."""
    from benchfw.environments import DEFAULT, managed

    return [DEFAULT, *managed.names()]


def _run_ids(ctx: click.Context) -> list[str]:
    folder = ctx.params.get("results") or RESULTS
    found = [entry for entry in os.scandir(folder) if entry.name.startswith(PREFIX) and _is_run(entry)]
    return [entry.name.removeprefix(PREFIX) for entry in sorted(found, key=lambda entry: entry.name, reverse=True)]


def _is_run(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and os.path.isfile(os.path.join(entry.path, "manifest.json"))
