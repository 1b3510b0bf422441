"""What commands that run something share: loading, running with progress, exit codes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw import plugins
from benchfw.cli.progress import progress
from benchfw.cli.runs import find_run, read_rows
from benchfw.cli.signals import handled
from benchfw.cli.text import say
from benchfw.errors import BenchfwError, PluginError, ResultError, UnknownName, UsageError
from benchfw.executors.options import backend_options, step_options
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, from_document, load
from benchfw.spec.events import Event, RunStarted
from benchfw.spec.executor import Executor, Job, Outcome
from benchfw.spec.stop import Stop
from benchfw.store.files import resume_command
from benchfw.store.reader import read_manifest

NOT_HERE = frozenset({"SKIPPED", "UNSUPPORTED"})
"""Statuses that say that a case was not tried; they are no failure unless the user wants them to be."""


def load_scenario(path: Path, overrides: Sequence[str], backends: Sequence[str]) -> tuple[Registry, Loaded]:
    """Discover plugins and load a scenario file.

    Raises:
        ScenarioError: The file has faults.
        UnknownName: `--backend` names none of its backends.
    """
    registry = plugins.registry()
    with registry.explaining():
        loaded = load(
            path,
            overrides=overrides,
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )
    names = [entry.label for entry in loaded.scenario.backend]
    for name in backends:
        if name not in names:
            raise UnknownName(f"--backend {name}: the scenario has no such backend", hint=f"it has: {', '.join(names)}")
    return registry, loaded


def again(run: str, out: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run and what it was asked for.

    Raises:
        ResultError: There is no such run, or it does not say.
    """
    folder = find_run(run, out)
    manifest = read_manifest(folder)
    request = manifest.get("request")
    if isinstance(request, dict) and "ab" in request:
        raise UsageError(f"{folder} is a comparison: half of one says nothing", hint="start it anew with benchfw ab")
    if not isinstance(request, dict) or not isinstance(manifest.get("root"), str):
        raise UsageError(f"{folder} does not say what it was asked for", hint="start a new run")
    return folder, {**request, "document": manifest.get("scenario"), "root": manifest["root"]}


def load_again(request: Mapping[str, Any]) -> Loaded:
    """Load the scenario of a run that is resumed: its file as it is now, or what was stored if it had none."""
    if request.get("file"):
        return load_scenario(Path(str(request["file"])), request.get("overrides", ()), ())[1]
    registry = plugins.registry()
    document = request["document"]
    if not isinstance(document, dict):
        raise UsageError("the run does not hold its scenario", hint="start a new run")
    with registry.explaining():
        return from_document(
            document,
            source="the resumed run",
            root=Path(str(request["root"])),
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )


def run(job: Job, *, executor: str = "local", verbosity: str | None = None) -> Outcome:
    """Run a job and show its progress on stderr; Ctrl-C and SIGTERM end it in good order.

    Raises:
        UnknownName: No plugin provides the executor.
        PluginError: It is none, or returns something else than an outcome.
        UsageError: The scenario has no sweep of the kinds that were asked for.
        BenchfwError: The run as a whole failed.
    """
    kinds = {str(sweep.get("kind")) for sweep in job.document["sweep"]}
    if job.sweeps and not set(job.sweeps) & kinds:
        raise UsageError(f"--sweep {', '.join(sorted(job.sweeps))}: the scenario has only {', '.join(sorted(kinds))}")
    kind = plugins.load_class(plugins.registry().executor(executor))
    if not (isinstance(kind, type) and issubclass(kind, Executor)):
        raise PluginError(f"the executor {executor!r} is {kind!r}, not a class derived from Executor")
    made = kind()
    quiet = verbosity == "quiet"
    with (
        stoppable(quiet=quiet) as stop,
        progress(verbosity) as notify,
        _resumable(notify, once=job.against is not None) as show,
    ):
        outcome = made.run(job, stop=stop, notify=show)
    if not isinstance(outcome, Outcome):
        raise PluginError(f"the executor {executor!r} returned {type(outcome).__name__}, not an Outcome")
    return outcome


@contextlib.contextmanager
def stoppable(*, quiet: bool) -> Iterator[Stop]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a wish to stop, and a second one into `KeyboardInterrupt`.

    A signal that is ignored (`nohup`) stays so.
    """
    stop = Stop()

    def handle(number: int) -> None:
        name = signal.Signals(number).name
        if stop.reason is not None:
            stop.at_once = True
            raise KeyboardInterrupt
        stop.reason = f"interrupted by {name}"
        if not quiet:
            say(f"{name}: stopping after the current block; once more stops at once")

    with handled(handle):
        yield stop


@contextlib.contextmanager
def _resumable(notify: Callable[[Event], None], *, once: bool) -> Iterator[Callable[[Event], None]]:
    """Show events as long as there is somebody to show them to, and tell how to go on with a run that failed.

    Args:
        notify: Shows them.
        once: The run cannot be gone on with.
    """
    started: list[Path] = []

    def show(event: Event) -> None:
        if isinstance(event, RunStarted):
            started.append(Path(event.folder))
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone: that is no reason to lose a run
            notify(event)

    try:
        yield show
    except (BenchfwError, KeyboardInterrupt) as error:
        if started and not once and not isinstance(error, UsageError) and started[0].is_dir():
            say(f"what is finished is stored; to go on: {resume_command(started[0])}")
        raise


def report(outcome: Outcome, *, as_json: bool) -> None:
    """Print the results of a run, what warns of them, and how to go on with it if it was interrupted."""
    from benchfw.cli.report import report as show

    try:
        (warnings,) = read_rows(outcome.folder, "warnings")
    except ResultError as error:  # no reason to keep its rows from whoever waited for them
        say(f"warning: {error}")
        warnings = []
    show(outcome.rows, outcome.run_id, outcome.folder, warnings=warnings, as_json=as_json)
    tell_how_to_resume(outcome)


def tell_how_to_resume(outcome: Outcome) -> None:
    """Print the command that goes on with an interrupted run."""
    if outcome.interrupted:
        say(f"{outcome.interrupted}; to go on: {resume_command(outcome.folder)}")


def exit_code(outcome: Outcome, *, strict: bool) -> int:
    """Return 130 if interrupted, 5 for a failed accuracy check, 3 for a failed case (strict: a skipped one), else 0."""
    if outcome.interrupted:
        return 130
    rows = outcome.rows
    statuses = {row["status"] for row in rows}
    if "ACCURACY_FAIL" in statuses:
        return 5
    failed = statuses - {"OK"} - (frozenset() if strict else NOT_HERE)
    return 3 if failed else 0
