"""`benchfw ab`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchfw.scenario import Loaded
    from benchfw.spec.executor import Outcome

_INVOCATIONS = 5
_DEFAULT = "p50:1%"


@click.command()
@click.argument("a", type=click.Path(path_type=Path), metavar="A.toml", shell_complete=completers.scenarios)
@click.argument(
    "b", type=click.Path(path_type=Path), metavar="[B.toml]", required=False, shell_complete=completers.scenarios
)
@click.option(
    "--a",
    "changes_a",
    multiple=True,
    metavar="KEY=VALUE",
    help="What is special of arm a: `backend=NAME` keeps a backend, `root=FOLDER` is where the model is found from, "
    "any other key is one of the scenario, as for --set; repeatable.",
)
@click.option("--b", "changes_b", multiple=True, metavar="KEY=VALUE", help="The same for arm b.")
@options.sweep
@options.effort
@options.overrides
@options.results
@options.no_wait
@options.allow_shared
@options.rebuild
@options.lock_clocks
@options.verbosity
@options.verdicts
def command(
    a: Path,
    b: Path | None,
    changes_a: tuple[str, ...],
    changes_b: tuple[str, ...],
    sweep: tuple[str, ...],
    effort: str | None,
    overrides: tuple[str, ...],
    results: Path,
    no_wait: bool,
    allow_shared: bool,
    rebuild: bool,
    lock_clocks: int | None,
    verbosity: str | None,
    fail_on: str | None,
    min_delta: str | None,
    junit_file: str | None,
    markdown_file: str | None,
    as_json: bool,
) -> int:
    """Compare two scenarios, or two variants of one, in turns: is B slower than A?

    Both arms are measured in interleaved rounds, in as many fresh processes as it takes, with A against itself beside
    them: how much that differs is the noise floor. Exits with 1 if B is slower by more than --fail-on says (1 % of the
    median by default), else with 3 or 5 if a case failed, else with 4 if it cannot be told, else with 0.
    """
    from benchfw.analysis.thresholds import parse_duration_ns, parse_fail_on
    from benchfw.cli import session
    from benchfw.errors import UsageError
    from benchfw.spec.executor import Job

    if b is None and not changes_a and not changes_b:
        raise UsageError(
            "both arms are the same", hint="benchfw ab A.toml B.toml, or benchfw ab S.toml --a backend=X --b backend=Y"
        )
    limits = parse_fail_on(fail_on or _DEFAULT)
    first, kept_a = _arm(a, (*overrides, *changes_a), "--a")
    second, kept_b = _arm(b or a, (*overrides, *changes_b), "--b")
    document = dict(first.document)
    document["measure"] = {"invocations": _INVOCATIONS, "depths": [1], **document.get("measure", {})}
    job = Job(
        document=document,
        source=first.source,
        root=str(first.root),
        out=str(results),
        effort=effort,
        backends=kept_a,
        against={"document": second.document, "source": second.source, "root": str(second.root)},
        backends_against=kept_b,
        thresholds=limits,
        min_delta_ns=parse_duration_ns(min_delta) if min_delta else 0.0,
        sweeps=sweep,
        request={"ab": {"a": str(a), "b": str(b or a), "changes_a": changes_a, "changes_b": changes_b}},
        wait=not no_wait,
        shared=allow_shared,
        rebuild=rebuild,
        lock_clocks=lock_clocks,
    )
    outcome = session.run(job, verbosity=verbosity or ("quiet" if as_json else None))
    files = {"junit_file": junit_file, "markdown_file": markdown_file}
    return _report(outcome, limits, job.min_delta_ns, as_json=as_json, **files)


def _report(
    outcome: Outcome,
    limits: Mapping[str, float],
    least_ns: float,
    *,
    as_json: bool,
    junit_file: str | None,
    markdown_file: str | None,
) -> int:
    """Print the verdicts of a comparison and return the exit code: a regression outranks cases that failed."""
    from benchfw.analysis.gate import gate
    from benchfw.cli import session
    from benchfw.cli.runs import opened
    from benchfw.cli.text import say
    from benchfw.cli.verdicts import report_verdicts

    failed = session.exit_code(outcome, strict=False)
    if outcome.interrupted:
        say(f"{outcome.interrupted}; start the comparison anew: half of one says nothing")
        return failed
    with opened(outcome.folder) as (run,):
        frame = gate(run, fail_on=limits, min_delta_ns=least_ns)
    code = report_verdicts(
        frame, title="benchfw ab", junit_file=junit_file, markdown_file=markdown_file, as_json=as_json
    )
    if not as_json:
        say(f"results: {outcome.folder}")
    return code if code == 1 else failed or code


def _arm(path: Path, changes: tuple[str, ...], option: str) -> tuple[Loaded, tuple[str, ...]]:
    """Return the scenario of an arm, and the backends that it keeps."""
    from dataclasses import replace

    from benchfw.cli import session
    from benchfw.errors import UsageError

    special: dict[str, list[str]] = {"backend": [], "root": []}
    rest: list[str] = []
    for change in changes:
        key, equals, value = change.partition("=")
        if key in special and equals:
            special[key].append(value)
        else:
            rest.append(change)
    _, loaded = session.load_scenario(path, rest, special["backend"])
    for folder in special["root"]:
        if not Path(folder).is_dir():
            raise UsageError(f"{option} root={folder}: there is no such folder")
        loaded = replace(loaded, root=Path(folder).absolute())
    return loaded, tuple(special["backend"])
