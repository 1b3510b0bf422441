"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchfw.cli import completers
from benchfw.store.files import RESULTS

backend = click.option(
    "--backend",
    multiple=True,
    metavar="NAME",
    shell_complete=completers.scenario_backends,
    help="Keep this backend (and the reference); repeatable.",
)
sweep = click.option(
    "--sweep",
    multiple=True,
    type=click.Choice(["fixed", "min-opt-max", "random-batch"]),
    help="Keep sweeps of this kind; repeatable.",
)
effort = click.option(
    "--effort", type=click.Choice(["quick", "standard", "report"]), help="How precise; replaces the scenario's."
)
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the scenario, as in --set measure.budget=30s or --set backend.NAME.options.threads=1.",
)
batch = click.option("--batch", type=click.IntRange(min=1), default=None, help="Size of the batch axis.  [default: 1]")
precision = click.option("--precision", default="fp32", show_default=True, help="Precision to compute in.")
sizes = click.option("--size", "sizes", multiple=True, metavar="AXIS=N", help="Size of another named axis; repeatable.")
threads = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads.  [default: what affinity and quota allow]"
)
inputs = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DIMxDIM[:DTYPE]",
    help="An input, for models that do not say what theirs are, as in --input x=batchx3x224x224.",
)
results = click.option(
    "--results",
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of results; --out is another name of it.",
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else.")
fail_on = click.option(
    "--fail-on",
    metavar="METRIC:PERCENT%,…",
    help="What fails: a change of p50, p99 or throughput for the worse beyond so many percent, as in p50:3%,p99:8%.",
)
min_delta = click.option(
    "--min-delta",
    metavar="TIME",
    help="Latencies may change by this much in any case: a number and ns, us, ms or s, as in 20us.",
)
junit = click.option(
    "--junit",
    "junit_file",
    type=click.Path(allow_dash=True, dir_okay=False),
    metavar="FILE",
    help="Write the verdicts as JUnit XML; - for stdout in place of the table.",
)
markdown = click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(allow_dash=True, dir_okay=False),
    metavar="FILE",
    help="Write them as Markdown for a pull request; - for stdout in place of the table.",
)
force = click.option(
    "--force",
    is_flag=True,
    help="Compare in spite of unlike labels, machines and disturbed measurements; the table says so.",
)
no_wait = click.option("--no-wait", is_flag=True, help="Fail if another run measures on the same CPUs or GPU.")
allow_shared = click.option(
    "--allow-shared", is_flag=True, help="Measure beside another run; the rows of both say CONTENDED."
)
rebuild = click.option("--rebuild", is_flag=True, help="Make every artifact anew, though the cache has it.")
lock_clocks = click.option(
    "--lock-clocks",
    type=click.IntRange(min=1),
    metavar="MHZ",
    help="Hold the SM clock of the GPUs at so many MHz while the run lasts; needs CAP_SYS_ADMIN, as root has outside "
    "of containers.",
)


def environment(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--environment` and `--scenario`, which name where a backend runs, or where its engine is built."""
    name = click.option(
        "--environment",
        metavar="NAME",
        shell_complete=completers.environments_or_default,
        help="Environment to do it in, as in `benchfw env ls`.  [default: benchfw's own interpreter]",
    )
    scenario = click.option(
        "--scenario",
        type=click.Path(path_type=Path),
        shell_complete=completers.scenarios,
        help="Look for the environment among those of this scenario file.",
    )
    return name(scenario(command))


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--quiet` and `--verbose`, of which the last one counts: `verbosity` is `quiet`, `verbose` or None."""
    quiet = click.option(
        "-q", "--quiet", "verbosity", flag_value="quiet", help="Nothing on stderr but errors and warnings."
    )
    verbose = click.option(
        "-v", "--verbose", "verbosity", flag_value="verbose", help="The lines of the log on stderr, with their times."
    )
    return verbose(quiet(command))


def verdicts(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what commands with verdicts share: `--fail-on`, `--min-delta`, `--junit`, `--markdown`, `--json`."""
    for option in (json_output, markdown, junit, min_delta, fail_on):
        command = option(command)
    return command
