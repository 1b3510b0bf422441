"""`benchfw results`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


@click.group()
def command() -> None:
    """List, remove and export the runs in a folder of results."""


@command.command()
@options.results
@options.json_output
def ls(results: Path, as_json: bool) -> int:
    """List all runs, newest first: state, cases, size."""
    from benchfw.cli.runs import show_list

    show_list(results, as_json=as_json)
    return 0


@command.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=completers.runs)
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Remove all runs but the newest N.")
@click.option("--dry-run", is_flag=True, help="Tell what would be removed, and remove nothing.")
@options.results
@options.json_output
def rm(runs: tuple[str, ...], keep: int | None, dry_run: bool, results: Path, as_json: bool) -> int:
    """Remove each RUN: a run's id, its beginning with all of the date, or its folder. It asks nothing, and tells what
    it removed.

    A run that is being written is not removed: where it was named nothing is, and --keep passes over it.
    """
    from benchfw.cli.console import print_json
    from benchfw.cli.runs import distinct, find_run, no_runs
    from benchfw.cli.text import printable, say
    from benchfw.errors import UsageError
    from benchfw.store.reader import find_runs
    from benchfw.store.removal import check_removable, remove_run, sweep

    if bool(runs) == (keep is not None):
        raise UsageError("give runs, or --keep N", hint="benchfw results ls lists runs")
    if keep is None:
        folders = distinct(find_run(run, results, with_date=True) for run in runs)
        for folder in folders:
            check_removable(folder)
    else:
        found = find_runs(results)
        if not found and not as_json:
            print(no_runs(results))
        folders = list(_all_but(keep, found))
    removed = []
    try:
        for folder in folders:
            if not dry_run and not remove_run(folder):
                say(f"{folder} has gone meanwhile")
                continue
            removed.append(str(folder))
            if not as_json:
                print(printable(f"{'would remove' if dry_run else 'removed'} {folder}"))
    finally:
        if as_json:
            print_json({"removed": removed, "dry_run": dry_run})
    if not dry_run:
        for place in dict.fromkeys([results, *(folder.parent for folder in folders)]):
            sweep(place)
    return 0


@command.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=completers.runs_or_latest)
@click.option(
    "--table",
    metavar="TABLE",
    shell_complete=completers.tables,
    help="The table: cases, iterations or any other of docs/reference/results.md.  [required]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "md", "json", "parquet"]),
    default="csv",
    show_default=True,
    help="What to write.",
)
@click.option("-o", "--output", type=click.Path(allow_dash=True), help="File to write; else, or with -, stdout.")
@click.option(
    "--columns",
    metavar="NAME,NAME",
    shell_complete=completers.columns,
    help="These columns only, in this order.",
)
@options.results
def export(
    runs: tuple[str, ...], table: str | None, kind: str, output: str | None, columns: str | None, results: Path
) -> int:
    """Write a table of each RUN as CSV, Markdown, JSON or Parquet.

    RUN is a run's id, the beginning of one, its folder, `latest`, or `all`; the rows of several stand in one table.
    """
    from benchfw.cli.runs import check_table, distinct, find_run, read_table
    from benchfw.store.export import FORMATS, select
    from benchfw.store.reader import find_runs

    name = check_table(table)
    every = find_runs(results) if "all" in runs else []
    named = [run for run in runs if run != "all"] if every else ["latest" if run == "all" else run for run in runs]
    rows = read_table(distinct([*every, *(find_run(run, results) for run in named)]), name)
    if columns is not None:
        rows = select(rows, [column.strip() for column in columns.split(",")])
    path = None if output in (None, "-") else Path(str(output))
    if kind == "parquet":
        _write_parquet(rows, path)
    elif path is None:
        _print(FORMATS[kind](rows), as_json=kind == "json")
    else:
        _write(path, (text.encode("utf-8", "backslashreplace") for text in FORMATS[kind](rows)))
    return 0


def _all_but(keep: int, folders: list[Path]) -> Iterator[Path]:
    """Yield all runs but the newest, and say which cannot be removed."""
    from benchfw.cli.text import say
    from benchfw.errors import ResultError
    from benchfw.store.removal import check_removable

    for folder in folders[: len(folders) - keep] if keep < len(folders) else []:
        try:
            check_removable(folder)
        except ResultError as error:
            say(f"warning: {error}; it stays")
        else:
            yield folder


def _print(parts: Iterator[str], *, as_json: bool) -> None:
    """Print text; on a terminal without what would act on it."""
    import codecs
    import sys

    from benchfw.cli.text import json_printable, printable

    ascii_only = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    for part in parts:
        if as_json:
            part = json_printable(part, ascii_only=ascii_only)
        elif sys.stdout.isatty():
            part = "\n".join(map(printable, part.split("\n")))
        sys.stdout.write(part)


def _write_parquet(rows: pa.Table, output: Path | None) -> None:
    import sys

    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchfw.errors import UsageError

    if output is None and sys.stdout.isatty():
        raise UsageError("Parquet is nothing for a terminal", hint="-o FILE")
    content = pa.BufferOutputStream()
    pq.write_table(rows, content, compression="zstd")
    data = content.getvalue().to_pybytes()
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        _write(output, iter([data]))


def _write(path: Path, parts: Iterator[bytes]) -> None:
    from benchfw.cli.files import write_whole

    write_whole(path, parts, hint="-o FILE names another file")
