"""`benchfw compare`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import completers, options


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=completers.runs_or_latest)
@click.option(
    "--by",
    metavar="LABEL",
    shell_complete=completers.labels,
    help="Compare the cases of each RUN by a label: name, backend, precision, profile, environment, threads, …",
)
@click.option(
    "--baseline",
    metavar="VALUE",
    help="What is compared with: a value of the label of --by, else one of the runs; by default the first.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(["p50", "p99", "throughput"]),
    help="Compare this metric only; repeatable.  [default: all]",
)
@click.option("--geomean", is_flag=True, help="Add the geometric mean of the speed-ups, and of how many cases.")
@options.force
@options.results
@options.json_output
def command(
    runs: tuple[str, ...],
    by: str | None,
    baseline: str | None,
    metrics: tuple[str, ...],
    geomean: bool,
    force: bool,
    results: Path,
    as_json: bool,
) -> int:
    """Compare runs with the first one, or the cases of a run with each other: speed-ups, above 1 is faster.

    RUN is a run's id, the beginning of one, its folder, or `latest`. Exits with 4 if nothing could be compared.
    """
    from benchfw.analysis.compare import compare
    from benchfw.analysis.evidence import METRICS
    from benchfw.cli.comparison import report_comparison
    from benchfw.cli.runs import find_run, opened
    from benchfw.store.reader import PREFIX

    folders = [find_run(run, results) for run in runs]
    if by is None and baseline is not None:
        chosen = find_run(baseline, results)
        baseline = chosen.name.removeprefix(PREFIX)
        folders = [*folders, chosen] if chosen.resolve() not in [each.resolve() for each in folders] else folders
    with opened(*folders) as found:
        frame = compare(found, by=by, baseline=baseline, metric=metrics or tuple(METRICS), force=force)
    return report_comparison(frame, by=by, geomean=geomean, as_json=as_json)
