"""What commands that run something share: loading, running with progress, exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw.cli.progress import progress
from benchfw.errors import UnknownName, UsageError
from benchfw.executors.local import Outcome, backend_options, run_scenario, step_options
from benchfw.plugins import Registry, discover
from benchfw.scenario import Loaded, load

NOT_HERE = frozenset({"SKIPPED", "UNSUPPORTED"})
"""Statuses that say that a case was not tried; they are no failure unless the user wants them to be."""


def load_scenario(path: Path, overrides: Sequence[str], backends: Sequence[str]) -> tuple[Registry, Loaded]:
    """Discover plugins and load a scenario file.

    Raises:
        ScenarioError: The file has faults.
        UnknownName: `--backend` names none of its backends.
    """
    registry = discover()
    options = backend_options(registry, set(registry.backends))
    loaded = load(path, overrides=overrides, backends=registry.backends, options=options, steps=step_options(registry))
    names = [entry.label for entry in loaded.scenario.backend]
    for name in backends:
        if name not in names:
            raise UnknownName(f"--backend {name}: the scenario has no such backend", hint=f"it has: {', '.join(names)}")
    return registry, loaded


def run(
    loaded: Loaded,
    registry: Registry,
    *,
    out: Path,
    effort: str | None,
    backends: Iterable[str] = (),
    sweeps: Iterable[str] = (),
    quiet: bool = False,
) -> Outcome:
    """Run a scenario and show its progress on stderr."""
    kinds = {sweep.kind for sweep in loaded.scenario.sweep}
    wanted = frozenset(sweeps)
    if wanted and not wanted & kinds:
        raise UsageError(f"--sweep {', '.join(sorted(wanted))}: the scenario has only {', '.join(sorted(kinds))}")
    with progress(quiet=quiet) as notify:
        return run_scenario(
            loaded,
            registry,
            out=out,
            effort=effort,
            only_backends=frozenset(backends),
            only_sweeps=wanted,
            notify=notify,
        )


def exit_code(rows: Sequence[Mapping[str, Any]], *, strict: bool) -> int:
    """Return 5 for a failed accuracy check, 3 for a failed case (strict: also a skipped one), else 0."""
    statuses = {row["status"] for row in rows}
    if "ACCURACY_FAIL" in statuses:
        return 5
    failed = statuses - {"OK"} - (frozenset() if strict else NOT_HERE)
    return 3 if failed else 0
