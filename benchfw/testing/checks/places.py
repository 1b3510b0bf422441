"""Checks of where a backend runs: the imports of its code, other interpreters, and a whole run."""

from __future__ import annotations

import ast
import contextlib
import subprocess
import sys
from typing import Any

import pytest

from benchfw.environments import Environment, pythons
from benchfw.environments.interpreters import OLDEST
from benchfw.errors import MissingDependency
from benchfw.executors.local import run_scenario
from benchfw.spec.tensors import Profile
from benchfw.supervisor import log_tail
from benchfw.testing.bench import Bench
from benchfw.testing.host import Host
from benchfw.testing.imports import unknown_imports


class PlaceChecks:
    """Workers of every kind."""

    def test_its_imports_are_what_workers_have(self, live: Bench) -> None:
        """This interpreter has the parent's packages too; that of another environment has not."""
        info = live.info
        unknown = unknown_imports(live.host.code, info.factory, info.requires, info.imports)
        assert not unknown, (
            f"{'; '.join(unknown)}: a worker has the standard library, numpy, benchfw.spec, benchfw.errors and what "
            "BackendInfo.requires installs, and the packages of BackendInfo.imports"
        )

    def test_its_code_is_code_on_every_python_found(self, bench: Bench) -> None:
        """CPython 3.10 can read it; the interpreters that have its packages run it, the others compile it."""
        failed = []
        for path in sorted((bench.folder / "host" / "code").rglob("*.py")):
            try:
                ast.parse(path.read_bytes(), feature_version=OLDEST)
            except SyntaxError as error:
                failed.append(f"{path.name}:{error.lineno}: workers run on CPython 3.10 too: {error.msg}")
        others = {".".join(found.version.split(".")[:2]): found.path for found in pythons()}
        if bench.case.environment is None:
            others.pop(f"{sys.version_info[0]}.{sys.version_info[1]}", None)  # all other checks run on this one
        for version, python in others.items():
            target = bench.folder / f"on{version}"
            target.mkdir()
            there = Environment(name=version, python=python)
            host = Host(bench.registry, bench.info.name, target, there, device=bench.device, root=bench.case.root)
            code = subprocess.run(
                [python, "-m", "compileall", "-q", str(target / "code")], capture_output=True, text=True, timeout=120
            )
            if code.returncode:
                failed.append(f"{python}: {code.stdout.strip()}")
                continue
            with contextlib.closing(host):
                try:
                    host.worker()
                except MissingDependency:
                    continue
                how: dict[str, Any] = {"root": bench.case.root, "options": bench.case.options}
                instance = host.open(bench.case.inputs, precision=bench.precision, **how)
                profile = Profile.fixed(bench.points[0])
                how = {"precision": bench.precision, "steps": bench.case.steps}
                instance.load(host.artifact(bench.model, bench.case.inputs, profile, **how), profile)
                inputs = bench.case.arrays(bench.points[0])
                bench.check(instance.infer(inputs), inputs, f"on {python}")
        assert not failed, "\n".join(failed)

    def test_a_whole_run(self, live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCHFW_CACHE", str(live.host.cache.root))
        outcome = run_scenario(live.scenario(), live.registry, out=live.folder / "results")
        failed = [
            f"{row['case_id']}: {row['status']}: {row['status_reason']}"
            for row in outcome.rows
            if row["status"] != "OK"
        ]
        if failed:
            failed += [f"{log.name}:\n{log_tail(log)}" for log in sorted(outcome.folder.glob("logs/*.log"))]
            pytest.fail("\n".join(failed))
        assert outcome.rows, "the run has no case"
