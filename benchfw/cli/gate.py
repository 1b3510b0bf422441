"""`benchfw gate`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import completers, options


@click.command()
@click.argument("run", required=False, shell_complete=completers.runs_or_latest)
@click.option(
    "--baseline",
    metavar="RUN",
    shell_complete=completers.runs,
    help="The run to compare with; without it the arms of a run of `benchfw ab` are compared.",
)
@options.verdicts
@options.force
@options.results
def command(
    run: str | None,
    baseline: str | None,
    fail_on: str | None,
    min_delta: str | None,
    junit_file: str | None,
    markdown_file: str | None,
    as_json: bool,
    force: bool,
    results: Path,
) -> int:
    """Say whether RUN is slower than a baseline may be. RUN is a run's id, the beginning of one, its folder, or
    `latest` (the default).

    Each case of the baseline and each metric gets a verdict: PASS, REGRESSION, IMPROVED, INCONCLUSIVE or
    NOT_COMPARABLE. Exits with 1 if one is a REGRESSION, else with 4 if one is undecided, else with 0.
    """
    from benchfw.analysis.gate import gate
    from benchfw.analysis.thresholds import parse_duration_ns, parse_fail_on
    from benchfw.cli.runs import find_run, opened
    from benchfw.cli.verdicts import report_verdicts
    from benchfw.errors import UsageError

    if fail_on is None:
        raise UsageError("nothing to fail on: --fail-on METRIC:PERCENT%", hint="as in --fail-on p50:3%,p99:8%")
    limits, least = parse_fail_on(fail_on), parse_duration_ns(min_delta) if min_delta else 0.0
    with opened(find_run("latest" if run is None else run, results)) as (current,):
        if baseline is None:
            frame = gate(current, fail_on=limits, min_delta_ns=least, force=force)
        else:
            with opened(find_run(baseline, results)) as (base,):
                frame = gate(current, base, fail_on=limits, min_delta_ns=least, force=force)
    return report_verdicts(
        frame, title="benchfw gate", junit_file=junit_file, markdown_file=markdown_file, as_json=as_json
    )
