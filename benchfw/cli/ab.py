"""`benchfw ab`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.scenario import Loaded

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
@options.verbosity
@options.json_output
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
    verbosity: str | None,
    as_json: bool,
) -> int:
    """Compare two scenarios, or two variants of one, in turns: is B slower than A?

    Both arms are measured in interleaved rounds, in as many fresh processes as it takes, with A against itself beside
    them: how much that differs is the noise floor. The exit code is 0 if B is not slower, 1 if it is, 4 if that cannot
    be told.
    """
    from benchfw.cli import session
    from benchfw.errors import UsageError
    from benchfw.spec.executor import Job

    if b is None and not changes_a and not changes_b:
        raise UsageError(
            "both arms are the same", hint="benchfw ab A.toml B.toml, or benchfw ab S.toml --a backend=X --b backend=Y"
        )
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
        thresholds={"p50": 0.01},
        sweeps=sweep,
        request={"ab": {"a": str(a), "b": str(b or a), "changes_a": changes_a, "changes_b": changes_b}},
        wait=not no_wait,
        shared=allow_shared,
    )
    outcome = session.run(job, verbosity=verbosity or ("quiet" if as_json else None))
    session.report(outcome, as_json=as_json)
    return session.exit_code(outcome, strict=False)


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
