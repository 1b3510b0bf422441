"""`benchfw time`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import completers, options


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "--backend",
    required=True,
    metavar="NAME",
    shell_complete=completers.installed_backends,
    help="Backend, as in `benchfw backends`.",
)
@options.batch
@options.precision
@options.sizes
@options.inputs
@options.environment
@options.threads
@options.effort
@options.overrides
@options.results
@options.no_wait
@options.allow_shared
@options.rebuild
@options.verbosity
@options.json_output
def command(
    model: str,
    backend: str,
    batch: int | None,
    precision: str,
    sizes: tuple[str, ...],
    inputs: tuple[str, ...],
    environment: str | None,
    scenario: Path | None,
    threads: int | None,
    effort: str | None,
    overrides: tuple[str, ...],
    results: Path,
    no_wait: bool,
    allow_shared: bool,
    rebuild: bool,
    verbosity: str | None,
    as_json: bool,
) -> int:
    """Time MODEL (an ONNX file, builtin:NAME, python:MODULE:CALLABLE) on one backend, at one shape.

    Inputs are read from the model where it says what they are; the leading named axis of the first one is the batch.
    """
    from benchfw.cli import session
    from benchfw.cli.environments import given_environment
    from benchfw.cli.single import load_single
    from benchfw.spec.executor import Job

    loaded = load_single(
        "time",
        model,
        backend,
        precision=precision,
        batch=batch,
        sizes=sizes,
        inputs=inputs,
        threads=threads,
        measure={"effort": effort or "quick"},
        overrides=overrides,
        environment=given_environment(environment, scenario),
    )
    job = Job(
        document=loaded.document,
        source=loaded.source,
        root=str(loaded.root),
        out=str(results),
        request={"file": None},
        wait=not no_wait,
        shared=allow_shared,
        rebuild=rebuild,
    )
    outcome = session.run(job, verbosity=verbosity or ("quiet" if as_json else None))
    session.report(outcome, as_json=as_json)
    return session.exit_code(outcome, strict=True)
