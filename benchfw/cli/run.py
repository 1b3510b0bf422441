"""`benchfw run`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import options


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@options.backend
@options.sweep
@options.effort
@options.overrides
@options.out
@click.option("--strict", is_flag=True, help="Exit with 3 if a case was skipped or is unsupported.")
@options.json_output
def command(
    scenario: Path,
    backend: tuple[str, ...],
    sweep: tuple[str, ...],
    effort: str | None,
    overrides: tuple[str, ...],
    out: Path,
    strict: bool,
    as_json: bool,
) -> int:
    """Run the scenario file SCENARIO and store its results."""
    from benchfw.cli import session
    from benchfw.cli.console import report

    registry, loaded = session.load_scenario(scenario, overrides, backend)
    outcome = session.run(loaded, registry, out=out, effort=effort, backends=backend, sweeps=sweep, quiet=as_json)
    report(outcome.rows, outcome.run_id, outcome.folder, as_json=as_json)
    return session.exit_code(outcome.rows, strict=strict)
