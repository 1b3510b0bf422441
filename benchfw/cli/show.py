"""`benchfw show`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import options


@click.command()
@click.argument("run", required=False)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of results.",
)
@click.option("--list", "as_list", is_flag=True, help="List all runs, newest first.")
@options.json_output
def command(run: str | None, results: Path, as_list: bool, as_json: bool) -> int:
    """Show the results of RUN: a run's id, the beginning of one, its folder, or `latest` (the default)."""
    from benchfw.store.reader import Results, read_manifest

    if as_list:
        _show_list(results, as_json)
        return 0
    from benchfw.cli.console import report

    folder = _find(run or "latest", results)
    rows = Results([folder]).table("cases").to_pylist()
    if not rows and not as_json:
        manifest = read_manifest(folder)
        click.echo(f"{folder}: no case was stored, the run is {manifest.get('state')}; {manifest.get('error', '')}")
        return 0
    report(rows, folder.name.removeprefix("run="), folder, as_json=as_json)
    return 0


def _find(run: str, results: Path) -> Path:
    from benchfw.errors import ResultError
    from benchfw.store.reader import PREFIX, find_runs

    if Path(run).name.startswith(PREFIX) and Path(run).is_dir():
        return Path(run)
    runs = find_runs(results)
    if run == "latest":
        return runs[-1]
    found = [folder for folder in runs if folder.name.removeprefix(PREFIX).startswith(run)]
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise ResultError(f"{what} in {results} begin with {run!r}", hint="`benchfw show --list` lists them")
    return found[0]


def _show_list(results: Path, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from benchfw.cli.console import make_console, print_json, print_table
    from benchfw.store.reader import PREFIX, Results, find_runs, read_manifest

    rows = []
    for folder in reversed(find_runs(results)):
        manifest = read_manifest(folder)
        statuses = Results([folder]).table("cases").column("status").to_pylist()
        rows.append(
            {
                "run_id": folder.name.removeprefix(PREFIX),
                "scenario": str(manifest.get("scenario", {}).get("name")),
                "state": str(manifest.get("state")),
                "cases": len(statuses),
                "ok": statuses.count("OK"),
            }
        )
    if as_json:
        print_json(rows)
        return
    table = Table(show_edge=False, pad_edge=False, box=None)
    for name in ("run", "scenario", "state", "cases", "OK"):
        table.add_column(name, header_style="underline")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    print_table(make_console(), table)
