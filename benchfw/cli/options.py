"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

backend = click.option(
    "--backend", multiple=True, metavar="NAME", help="Keep this backend (and the reference); repeatable."
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
    help="Change a value of the scenario, as in --set measure.budget=30s or --set backend.ort-cpu.options.threads=1.",
)
out = click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of results."
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else.")
no_wait = click.option("--no-wait", is_flag=True, help="Fail if another run measures on the same CPUs.")
allow_shared = click.option(
    "--allow-shared", is_flag=True, help="Measure beside another run; the rows of both say CONTENDED."
)
