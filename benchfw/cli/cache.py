"""`benchfw cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchfw.artifacts.entries import Entry

_SHORT = 16
"""Letters of a hash that are shown, and that are enough of a key."""


@click.group()
def command() -> None:
    """List, explain, verify and remove what is kept between runs.

    KEY is the name of an entry as `benchfw cache ls` prints it, the hash at its end, or the beginning of either.
    """


@command.command()
@options.json_output
def ls(as_json: bool) -> int:
    """List artifacts and weights, those used last first."""
    from benchfw.artifacts import Cache
    from benchfw.artifacts.entries import entries
    from benchfw.cli.console import print_json
    from benchfw.store.files import bytes_below

    cache = Cache.default()
    found = entries(cache)
    listing = {
        "folder": str(cache.root),
        "limit_bytes": cache.limit,
        "bytes": sum(entry.bytes for entry in found),
        "frameworks_bytes": bytes_below(cache.root / "frameworks"),
        "entries": [_described(entry, found) for entry in found],
    }
    if as_json:
        print_json(listing)
    else:
        _show(listing)
    return 0


@command.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1, shell_complete=completers.cache_keys)
@click.option("--all", "every", is_flag=True, help="Remove all artifacts and weights.")
@click.option("--older-than", metavar="AGE", help="Remove what was last used longer ago, as in 30d or 12h.")
@click.option("--larger", metavar="SIZE", help="Remove what is larger, as in 500MB; with --older-than, both must hold.")
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@options.json_output
def rm(
    keys: tuple[str, ...], every: bool, older_than: str | None, larger: str | None, dry_run: bool, as_json: bool
) -> int:
    """Remove each KEY, and what killed builds have left. It asks nothing, and tells what it removed.

    What a run makes or uses is not removed; if it was named, the exit code is 3.
    """
    from benchfw.artifacts import Cache
    from benchfw.artifacts.entries import entries, find_entry, remove, sweep
    from benchfw.cli.console import print_json
    from benchfw.cli.text import printable, say
    from benchfw.errors import UsageError

    by_rule = every or older_than is not None or larger is not None
    if bool(keys) == by_rule or (every and (older_than or larger)):
        raise UsageError("give keys, or --all, or --older-than and --larger", hint="benchfw cache ls lists keys")
    cache = Cache.default()
    found = entries(cache)
    chosen = _matching(found, older_than, larger) if by_rule else [find_entry(found, key) for key in keys]
    removed, kept = [], []
    for entry in {entry.key: entry for entry in chosen}.values():
        if dry_run or remove(cache, entry):
            removed.append(entry.key)
            if not as_json:
                print(printable(f"{'would remove' if dry_run else 'removed'} {entry.key}"))
        else:
            kept.append(entry.key)
            say(f"kept {entry.key}: a run makes or uses it")
    if not dry_run:
        sweep(cache)
    if as_json:
        print_json({"removed": removed, "kept": kept, "dry_run": dry_run})
    return 3 if kept and keys else 0


@command.command(short_help="Say what KEY was made from, and why it is not used.")
@click.argument("key", shell_complete=completers.cache_keys)
@options.json_output
def explain(key: str, as_json: bool) -> int:
    """Say what KEY was made from, and why it would not be used today if that is so."""
    from benchfw import plugins
    from benchfw.artifacts import Cache
    from benchfw.artifacts.entries import damage_of, entries, find_entry
    from benchfw.artifacts.today import differences
    from benchfw.cli.console import print_json
    from benchfw.executors.making import making
    from benchfw.executors.options import filler, step_options

    registry, cache = plugins.registry(), Cache.default()
    found = entries(cache)
    entry = find_entry(found, key)
    damage = damage_of(entry)
    changes: list[str] = []
    if entry.sidecar:
        with making(registry) as builder:
            packages = builder.worker.hello["packages"]
        fill = filler(step_options(registry))
        changes = list(differences(entry, steps=registry.steps, options=fill, packages=packages))
    if as_json:
        told = {**_described(entry, found), "sidecar": entry.sidecar, "damage": damage, "changes": changes}
        print_json(told)
    else:
        _explain(entry, found, damage, changes)
    return 0


@command.command(short_help="Hash files, and say what is damaged.")
@click.argument("keys", metavar="[KEY]...", nargs=-1, shell_complete=completers.cache_keys)
@options.json_output
def verify(keys: tuple[str, ...], as_json: bool) -> int:
    """Hash the files of each KEY, or of all, and say what is damaged; then the exit code is 3.

    Also told, and no damage: what killed builds have left, and locks of what is not there. Both go when the next
    artifact is made, or with `benchfw cache rm`.
    """
    from benchfw.artifacts import Cache
    from benchfw.artifacts.entries import damage_of, entries, find_entry, leftovers, stale_locks
    from benchfw.cli.console import print_json
    from benchfw.cli.text import printable, say

    cache = Cache.default()
    found = entries(cache)
    chosen = [find_entry(found, key) for key in keys] or found
    damaged = {entry.key: text for entry in chosen if (text := damage_of(entry))}
    told: dict[str, Any] = {
        "verified": len(chosen),
        "damaged": damaged,
        "leftovers": [str(path) for path in leftovers(cache)],
        "stale_locks": [str(path) for path in stale_locks(cache)],
    }
    if as_json:
        print_json(told)
        return 3 if damaged else 0
    for name, text in damaged.items():
        print(printable(f"damaged {name}: {text}"))
    for path in told["leftovers"]:
        print(printable(f"left by a killed build: {path}"))
    for path in told["stale_locks"]:
        print(printable(f"lock of what is not there: {path}"))
    print(f"{len(chosen) - len(damaged)} of {len(chosen)} are whole")
    if damaged:
        say("hint: a run makes damaged artifacts anew; `benchfw cache rm KEY` removes one")
    return 3 if damaged else 0


def _matching(found: Iterable[Entry], older_than: str | None, larger: str | None) -> list[Entry]:
    import time

    from benchfw.artifacts.limits import parse_age, parse_size

    before = time.time() - (parse_age(older_than, "--older-than") if older_than is not None else 0.0)
    least = parse_size(larger, "--larger") if larger is not None else -1
    return [entry for entry in found if entry.used <= before and entry.bytes > least]


def _described(entry: Entry, found: list[Entry]) -> dict[str, Any]:
    from benchfw.artifacts.today import origin

    artifact, recipe = entry.sidecar.get("artifact", {}), entry.recipe
    return {
        "key": entry.key,
        "step": "weights" if entry.is_weights else recipe.get("step"),
        "model": origin(entry, found) or None,
        "profile": recipe.get("profile"),
        "precision": artifact.get("precision"),
        "bytes": entry.bytes,
        "made": entry.sidecar.get("made"),
        "last_used": entry.used_at,
        "path": str(entry.path),
        "fault": entry.fault or None,
    }


def _profile(profile: Any) -> str:
    """Return the sizes of an artifact as the commands take them: `batch=1:8:16`."""
    if not isinstance(profile, dict):
        return ""
    ranges = {axis: list(map(str, sizes)) for axis, sizes in profile.items()}
    return " ".join(f"{axis}={':'.join(sizes if len(set(sizes)) > 1 else sizes[:1])}" for axis, sizes in ranges.items())


def _minutes(text: str | None) -> str:
    return (text or "")[:16].replace("T", " ")


def _show(listing: dict[str, Any]) -> None:
    from benchfw.cli.console import literal, make_console, print_table, simple_table
    from benchfw.store.files import size_text

    console = make_console()
    if listing["entries"]:
        table = simple_table(
            "key", "step", "model", "profile", "precision", "size", "made", "last used", right=("size",)
        )
        for item in listing["entries"]:
            cells = (
                item["key"].rpartition("-")[2][:_SHORT],
                item["fault"] or item["step"],
                (item["model"] or "").rpartition("/")[2],
                _profile(item["profile"]),
                item["precision"] or "",
                size_text(item["bytes"]),
                _minutes(item["made"]),
                _minutes(item["last_used"]),
            )
            table.add_row(*map(literal, cells))
        for column in (table.columns[0], *table.columns[4:]):
            column.no_wrap = True
        print_table(console, table)
        console.print()
    text = f"{size_text(listing['bytes'])} in {listing['folder']}, limit {listing['limit_bytes'] / 1e9:g} GB"
    console.print(literal(text), soft_wrap=True)
    if listing["frameworks_bytes"]:
        console.print(f"besides, {size_text(listing['frameworks_bytes'])} that frameworks keep", soft_wrap=True)


def _explain(entry: Entry, found: list[Entry], damage: str, changes: list[str]) -> None:
    from benchfw.cli.console import literal, make_console

    console = make_console()
    for line in _sentences(entry, found, damage, changes):
        console.print(literal(line, lines=True), soft_wrap=True)


def _sentences(entry: Entry, found: list[Entry], damage: str, changes: list[str]) -> Iterable[str]:
    from benchfw.artifacts.today import origin
    from benchfw.store.files import size_text

    yield f"{entry.key}: {size_text(entry.bytes)}, last used {entry.used_at}."
    if entry.is_weights:
        yield "Weights of a builtin: or python: model, named after their hash; a run writes them when it begins."
    elif entry.sidecar:
        yield from _making(entry, origin(entry, found))
    if damage:
        yield f"It is damaged and will be made anew: {damage}."
    elif changes:
        yield "A run of today would not use it, but make another one:"
        yield from (f"  {change}" for change in changes)
    elif entry.sidecar:
        yield "A run of today that asks for the same uses it."


def _making(entry: Entry, model: str) -> Iterable[str]:
    sidecar, recipe, artifact = entry.sidecar, entry.recipe, entry.sidecar["artifact"]
    yield (
        f"The step {recipe.get('step')} made it of {model} in {sidecar.get('seconds', '?')} s, {sidecar.get('made')}, "
        f"on CPython {sidecar.get('python', '?')}: {artifact.get('format')} in {artifact.get('precision')}, "
        f"profile {_profile(recipe.get('profile')) or 'fixed'}."
    )
    source = sidecar.get("source")
    if isinstance(source, dict) and source.get("key"):
        yield f"Its source is {source['key']} of this cache."
    yield f"Hash of the source: {recipe.get('source_sha256')}."
    for name, shown in (("options", "Options"), ("versions", "Versions")):
        items = recipe.get(name)
        if isinstance(items, dict) and items:
            yield f"{shown}: {', '.join(f'{key} {value}' for key, value in items.items())}."
    for item in recipe.get("inputs") or ():
        yield f"Input: {' '.join(map(str, item)) if isinstance(item, list) else item}."
    for text in artifact.get("meta", {}).get("warnings", ()):
        yield f"The builder warned: {text}"
