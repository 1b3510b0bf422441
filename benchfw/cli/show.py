"""`benchfw show`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import completers, options


@click.command()
@click.argument("run", required=False, shell_complete=completers.runs_or_latest)
@options.results
@click.option("--list", "as_list", is_flag=True, help="List all runs, newest first, as `benchfw results ls` does.")
@click.option(
    "--layers", "top", type=click.IntRange(min=1), metavar="N", help="Also the N longest layers of every profiled case."
)
@options.json_output
def command(run: str | None, results: Path, as_list: bool, top: int | None, as_json: bool) -> int:
    """Show the results of RUN: a run's id, the beginning of one, its folder, or `latest` (the default)."""
    from benchfw.cli.runs import find_run, read_rows, show_list, state_of
    from benchfw.cli.text import printable
    from benchfw.store.reader import read_manifest

    if as_list:
        show_list(results, as_json=as_json)
        return 0
    from benchfw.cli.report import report

    folder = find_run("latest" if run is None else run, results)
    rows, warnings = read_rows(folder, "cases", "warnings")
    if not rows and not as_json:
        manifest = read_manifest(folder)
        text = f"{folder}: no case was stored, the run is {state_of(folder, manifest)}; {manifest.get('error') or ''}"
        print(printable(text, lines=True))
        return 0
    report(rows, folder.name.removeprefix("run="), folder, warnings=warnings, as_json=as_json)
    if top is not None and not as_json:
        from benchfw.cli.layers import print_profiles

        print_profiles(rows, read_rows(folder, "layers")[0], top)
    return 0
