"""`benchfw profile`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import completers, options

_BUDGET_S = 10.0
"""Time for the latency that the layers are compared with; `--set measure.budget=…` replaces it."""


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "--backend",
    required=True,
    metavar="NAME",
    shell_complete=completers.installed_backends,
    help="Backend, as in `benchfw backends`; not every one profiles.",
)
@options.batch
@options.precision
@options.sizes
@options.inputs
@options.environment
@options.threads
@click.option(
    "--iterations", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Inferences to profile."
)
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="Layers to show.")
@options.overrides
@options.results
@options.no_wait
@options.allow_shared
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
    iterations: int,
    top: int,
    overrides: tuple[str, ...],
    results: Path,
    no_wait: bool,
    allow_shared: bool,
    verbosity: str | None,
    as_json: bool,
) -> int:
    """Show where MODEL (an ONNX file, builtin:NAME, python:MODULE:CALLABLE) spends its time on one backend.

    Its latency is timed first; layers are profiled afterwards, in another process.
    """
    from benchfw import plugins
    from benchfw.cli import session
    from benchfw.cli.environments import given_environment
    from benchfw.cli.layers import print_profile_report
    from benchfw.cli.single import load_single
    from benchfw.errors import UsageError
    from benchfw.spec.executor import Job

    registry = plugins.registry()
    if not registry.backend(backend).capabilities.profiles:
        able = sorted(name for name, info in registry.backends.items() if info.capabilities.profiles)
        raise UsageError(
            f"--backend {backend}: it does not profile", hint=f"those that do: {', '.join(able) or 'none'}"
        )
    loaded = load_single(
        "profile",
        model,
        backend,
        precision=precision,
        batch=batch,
        sizes=sizes,
        inputs=inputs,
        threads=threads,
        measure={"effort": "quick", "budget": _BUDGET_S, "profile": iterations},
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
    )
    outcome = session.run(job, verbosity=verbosity or ("quiet" if as_json else None))
    profiled = print_profile_report(outcome, top, as_json=as_json)
    return session.exit_code(outcome, strict=True) or (0 if profiled else 3)
