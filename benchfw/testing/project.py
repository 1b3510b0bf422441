"""A folder with scenarios and their results, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import benchfw
from benchfw.executors.local import run_scenario
from benchfw.executors.options import backend_options
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, parse
from benchfw.spec.events import Event
from benchfw.spec.executor import Outcome

FAKES = "benchfw.testing.plugin"


class Project:
    """A folder with scenarios and their results.

    Attributes:
        folder: Where scenarios and models lie.
        registry: What plugins provide, the fake backends of the kit included.
        results: Folder of results.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.registry = registry
        self.results = folder / "results"

    def load(self, text: str, *overrides: str) -> Loaded:
        """Load the text of a scenario.

        Args:
            text: TOML.
            *overrides: `KEY=VALUE`, as of `--set`.

        Raises:
            ScenarioError: It has faults.
        """
        options = backend_options(self.registry, set(self.registry.backends))
        return parse(
            text,
            source="test.toml",
            root=self.folder,
            overrides=overrides,
            backends=self.registry.backends,
            options=options,
            samplers=self.registry.samplers,
        )

    def run(
        self,
        text: str,
        *overrides: str,
        effort: str | None = None,
        notify: Callable[[Event], None] = lambda event: None,
        **more: Any,
    ) -> tuple[Outcome, benchfw.Results]:
        """Run the text of a scenario in this process, its workers in theirs; return the outcome and all tables.

        Args:
            text: TOML.
            *overrides: `KEY=VALUE`, as of `--set`.
            effort: Replaces the scenario's.
            notify: Told what happens.
            **more: Other arguments of `run_scenario`.
        """
        outcome = run_scenario(
            self.load(text, *overrides), self.registry, out=self.results, effort=effort, notify=notify, **more
        )
        return outcome, benchfw.load(outcome.folder)

    def cli(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `benchfw` with these arguments in the folder, as a process of its own, the fake backends installed."""
        plugins = ",".join([*listed(), FAKES])
        return subprocess.run(
            [sys.executable, "-c", "from benchfw.cli import main; main()", *arguments],
            cwd=self.folder,
            env={**os.environ, "BENCHFW_PLUGINS": plugins, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
        )


def listed() -> list[str]:
    """Return the modules that `BENCHFW_PLUGINS` names."""
    return [name for name in map(str.strip, os.environ.get("BENCHFW_PLUGINS", "").split(",")) if name]


def virtual_backend(name: str = "virtual", latency_us: float = 1000.0, *, use: str = "fake", **options: Any) -> str:
    """Return a `[[backend]]` table of the fake backend whose clock jumps instead of spinning.

    A whole run of it takes a second or two, whatever its latency and the effort are.

    Args:
        name: Its name in the results.
        latency_us: Time of one launch, in microseconds.
        use: Which of the fake backends.
        **options: Other options of `benchfw.testing.options.FakeOptions`.
    """
    given = {"latency_us": latency_us, "clock": "virtual", **options}
    values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    return f"[[backend]]\nuse = {json.dumps(use)}\nname = {json.dumps(name)}\noptions = {{ {values} }}\n"
