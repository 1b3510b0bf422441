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
    from benchfw.cli.runs import find_run, read_cases, state_of
    from benchfw.cli.text import printable
    from benchfw.store.reader import read_manifest

    if as_list:
        _show_list(results, as_json)
        return 0
    from benchfw.cli.console import report

    folder = find_run(run or "latest", results)
    rows = read_cases(folder)
    if not rows and not as_json:
        manifest = read_manifest(folder)
        text = f"{folder}: no case was stored, the run is {state_of(folder, manifest)}; {manifest.get('error') or ''}"
        print(printable(text, lines=True))
        return 0
    report(rows, folder.name.removeprefix("run="), folder, as_json=as_json)
    return 0


def _show_list(results: Path, as_json: bool) -> None:
    from rich.table import Table

    from benchfw.cli.console import literal, make_console, print_json, print_table
    from benchfw.cli.runs import read_cases, state_of
    from benchfw.errors import ResultError
    from benchfw.store.reader import PREFIX, find_runs, read_manifest

    rows = []
    for folder in reversed(find_runs(results)):
        try:
            manifest = read_manifest(folder)
        except ResultError as error:  # one run that cannot be read shall not hide the others
            manifest = {"state": error.message}
        statuses = [row["status"] for row in read_cases(folder)] if "schema_version" in manifest else []
        scenario = manifest.get("scenario")
        rows.append(
            {
                "run_id": folder.name.removeprefix(PREFIX),
                "scenario": str(scenario.get("name") if isinstance(scenario, dict) else None),
                "state": state_of(folder, manifest),
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
        table.add_row(*map(literal, row.values()))
    print_table(make_console(), table)
