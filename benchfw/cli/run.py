"""`benchfw run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchfw.cli import completers, options


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path), required=False, shell_complete=completers.scenarios)
@options.backend
@options.sweep
@options.effort
@options.overrides
@options.results
@click.option(
    "--resume",
    metavar="RUN",
    shell_complete=completers.runs_or_latest,
    help="Go on with a run: its id, the beginning of one, or `latest`.",
)
@click.option("--retry-failed", is_flag=True, help="With --resume: measure the cohorts of failed cases again.")
@click.option("--force", is_flag=True, help="With --resume: go on although something has changed; rows say what.")
@options.no_wait
@options.allow_shared
@options.rebuild
@options.lock_clocks
@click.option("--strict", is_flag=True, help="Exit with 3 if a case was skipped or is unsupported.")
@options.verbosity
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="NAME",
    shell_complete=completers.executors,
    help="Where to run it.",
)
@options.json_output
def command(
    scenario: Path | None,
    backend: tuple[str, ...],
    sweep: tuple[str, ...],
    effort: str | None,
    overrides: tuple[str, ...],
    results: Path,
    resume: str | None,
    retry_failed: bool,
    force: bool,
    no_wait: bool,
    allow_shared: bool,
    rebuild: bool,
    lock_clocks: int | None,
    strict: bool,
    verbosity: str | None,
    executor: str,
    as_json: bool,
) -> int:
    """Run the scenario file SCENARIO and store its results.

    With --resume, what a run was asked for is taken from its folder: no other option that chooses what is measured may
    be given.
    """
    from benchfw.cli import session
    from benchfw.errors import UsageError
    from benchfw.spec.executor import Job

    if resume is None:
        if scenario is None:
            raise UsageError(
                "no scenario was given",
                hint="benchfw run FILE.toml, which `benchfw init MODEL` writes, or --resume latest",
            )
        if retry_failed or force:
            raise UsageError("--retry-failed and --force go with --resume", hint="--resume latest")
        request: dict[str, Any] = {
            "file": str(scenario.absolute()),
            "overrides": list(overrides),
            "backends": list(backend),
            "sweeps": list(sweep),
            "effort": effort,
            "lock_clocks": lock_clocks,
        }
        _, loaded = session.load_scenario(scenario, overrides, backend)
        folder = None
    else:
        if scenario or backend or sweep or effort or overrides or lock_clocks:
            raise UsageError(
                "--resume takes the scenario and its options from the run",
                hint=f"benchfw run --resume {resume}; for something else, start a new run",
            )
        folder, request = session.again(resume, results)
        loaded = session.load_again(request)
    job = Job(
        document=loaded.document,
        source=loaded.source,
        root=str(loaded.root),
        out=str(results),
        effort=request.get("effort"),
        backends=tuple(request.get("backends", ())),
        sweeps=tuple(request.get("sweeps", ())),
        request=request,
        resume=str(folder) if folder else None,
        retry_failed=retry_failed,
        force=force,
        wait=not no_wait,
        shared=allow_shared,
        rebuild=rebuild,
        lock_clocks=request.get("lock_clocks"),
    )
    outcome = session.run(job, executor=executor, verbosity=verbosity or ("quiet" if as_json else None))
    session.report(outcome, as_json=as_json)
    return session.exit_code(outcome, strict=strict)
