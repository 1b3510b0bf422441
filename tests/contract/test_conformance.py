"""The kit for backends: whoever breaks one rule fails the checks of that rule and no others, and is told what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchfw.testing import BackendCase
from benchfw.testing.bench import Bench

BACKEND = """
from typing import TYPE_CHECKING

import numpy as np

from benchfw.errors import BuildFailed, Invalid, OutOfMemory
from benchfw.spec import Backend, Bound, IoSpec, LayerProfile, LayerTime, TensorSpec
from benchfw.spec.backend import check_inputs
from benchfw_other import fill

FEATURES, CLASSES = 2048, 96
WEIGHTS = np.random.default_rng(0).standard_normal((FEATURES, CLASSES)).astype(np.float32)
KEPT = []

if TYPE_CHECKING:
    import pydantic
try:
    import pyarrow
except ImportError:
    pyarrow = None


class NumpyBound(Bound):
    def __init__(self, backend, slot, array):
        sin, calls = backend.sin, 0
        self._input = array if sin == "keeps_the_mapped_arrays" else np.array(array)
        rows = len(array)
        if sin == "one_input_buffer":
            self._input = backend.shared.setdefault(("in", rows), self._input)
            self._input[...] = array
        self._output = np.empty((rows, CLASSES), np.float32)
        if sin == "one_output_buffer":
            self._output = backend.shared.setdefault(("out", rows), self._output)
        if sin == "keeps_every_bind":
            KEPT.append(self)
        self._answer = self._output
        if sin == "answers_from_the_first_bind":
            self._answer = backend.shared.setdefault(slot, self._output)
        given, output, wrong = self._input, self._output, backend.is_wrong_for(rows)
        kept, me = [None], self if sin == "cycle" else None

        def launch():
            nonlocal calls
            calls += 1
            if sin == "raises_in_a_run" and calls > 500:
                raise RuntimeError("this is the 501st launch")
            if sin == "allocates_and_frees":
                np.zeros(rows * CLASSES)
            if sin == "allocates_and_keeps":
                kept[0] = np.zeros(rows * CLASSES)
            if me:
                me.calls = calls
            fill(given, WEIGHTS, output)
            if wrong:
                output[...] += 1

        self.launch = launch

    def outputs(self):
        return {"y": self._answer}


class Numpy(Backend):
    sin = ""
    closed = 0
    profile = None
    io = None

    def __init__(self, options, context):
        super().__init__({} if self.sin == "options_not_passed_on" else options, context)
        if self.sin == "ends_in_a_traceback":
            options["dept"]
        self.shared = {}

    def prepare(self, artifact, profile):
        self.made_for = profile
        return artifact

    def load(self, artifact):
        with open(artifact.path, "rb") as stream:
            good = stream.read(10) == b"null model"
        if not good and self.sin == "ends_the_worker_at_a_bad_file":
            import os

            os._exit(3)
        if not good and self.sin != "accepts_any_file":
            self.failed = True
            raise BuildFailed("not what this backend reads")
        x = TensorSpec(name="x", dtype="float32", shape=("batch", FEATURES))
        y = TensorSpec(name="y", dtype="float32", shape=("batch", CLASSES))
        self.io = IoSpec(inputs=(x,), outputs=(y,))
        return self.io

    def is_wrong_for(self, rows):
        axis = self.made_for.axes["batch"]
        return (
            (self.sin == "wrong_at_max" and rows == axis.max > axis.min)
            or (self.sin == "wrong_for_one_shape" and axis.min == axis.max == 8)
            or (self.sin == "wrong_outside" and rows > axis.max)
        )

    def bind(self, slot, inputs):
        if self.io is None:
            if self.sin != "attribute_error_before_load":
                raise Invalid("bind before load")
            self.io.inputs
        if self.sin == "takes_any_input":
            x = next(iter(inputs.values()), np.zeros((1, FEATURES), np.float32))
            x = np.resize(x.astype(np.float32), (len(x), FEATURES))
        else:
            check_inputs(self.io, inputs)
            x = inputs["x"]
        axis = self.made_for.axes["batch"]
        if len(x) > axis.max and self.sin == "ends_the_worker_outside":
            import os

            os._exit(3)
        if len(x) > axis.max and self.sin not in ("wrong_outside", "static_it_says"):
            raise Invalid(f"made for at most {axis.max} rows")
        return NumpyBound(self, slot, x)

    def profile(self, n):
        if self.sin != "layers_in_seconds":
            return super().profile(n)
        layer = LayerTime(name="x @ w", op="MatMul", time_ns=[1e-5] * n)
        return LayerProfile(layers=(layer,), inference_ns=[1e-5] * n)

    def facts(self):
        return {
            "provider_effective": "other" if self.sin == "other_provider" else "numpy",
            "precision_effective": "fp16" if self.sin == "other_precision" else self.context.precision,
            **({} if self.sin == "says_no_threads" else {"threads_effective": self._threads()}),
        }

    def _threads(self):
        return {"ignores_threads": 2, "one_thread": 1}.get(self.sin, self.context.threads)

    def explain(self, error):
        if self.sin == "explain_raises":
            raise RuntimeError("no idea")
        return OutOfMemory(str(error)) if self.sin == "explains_everything" else None

    def close(self):
        self.closed += 1
        if self.sin == "close_raises_once_more" and self.closed > 1:
            raise RuntimeError("closed already")
        if self.sin == "close_raises_after_a_failed_load" and getattr(self, "failed", False):
            raise AttributeError("no session")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Numpy,), {"sin": name})
"""

OTHER = """
import numpy as np
import packaging


def fill(x, weights, y):
    np.zeros(10_000)  # a framework may
    np.matmul(x, weights, out=y)
"""

METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: benchfw-other\nVersion: 2.0\nRequires-Dist: packaging\n",
    "top_level.txt": "benchfw_other\n",
}

MORE = """
def deeper():
    import packaging.version  # of what benchfw_other depends on
    from pydantic import BaseModel
"""

OPTIONS = """
from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = Field(64, ge=60, le=70, description="Changes nothing.")


class bare_option(Options):
    other: int = 1


class required_option(Options):
    other: int = Field(description="It has no default.")


class takes_any_option(Options):
    model_config = ConfigDict(extra="ignore")


class option_not_dumped(Options):
    depth: int = Field(64, exclude=True, description="Changes nothing.")
"""

PLUGIN = """
{first}
from benchfw.spec import BackendInfo, Capabilities
from benchfw.spec.hooks import hookimpl

def info(name, **more):
    capabilities = Capabilities(specializes=False, **more.pop("capabilities", {{}}))
    usual = {{"summary": "x @ w", "provider": "numpy", "options": "{package}.options:Options"}}
    usual |= {{"requires": ("benchfw-other>=2",), "install": "pip install benchfw-other"}}
    return BackendInfo(
        name=name, factory="{package}.backend:" + name, accepts=("null",), capabilities=capabilities, **(usual | more)
    )

@hookimpl
def benchfw_register_backends():
    return [info(name, **more) for name, more in {infos!r}.items()]
"""

TESTS = """
import json
import os

import pytest
from benchfw_sins.backend import CLASSES, FEATURES, WEIGHTS

from benchfw.spec.tensors import TensorSpec
from benchfw.testing import BackendCase, BackendConformance

CASES = json.loads(os.environ["CASES"])


@pytest.fixture(scope="module", params=CASES)
def backend_case(request):
    return BackendCase(
        backend=request.param,
        plugin=CASES[request.param],
        model="null:sins",
        options={"other": 1} if request.param == "required_option" else {},
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", FEATURES)),),
        expected=lambda inputs: {"y": inputs["x"] @ WEIGHTS},
    )


class TestSins(BackendConformance):
    pass
"""

CONFTEST = """
import json
import os

import pytest

from benchfw.testing.warm import WarmWorkers

SLOW = json.loads(os.environ["SLOW"])
CASES = json.loads(os.environ["CASES"])


def pytest_collection_modifyitems(items):
    items[:] = [
        item for item in items
        if item.originalname not in SLOW or item.callspec.params["backend_case"] in SLOW[item.originalname]
    ]


@pytest.fixture(scope="session", autouse=True)
def _workers_start_quickly():  # a hundred of them; what is started for the check of other interpreters is so as always
    workers = WarmWorkers()
    with workers:
        yield
    workers.close()


def pytest_runtest_logreport(report):
    if report.when == "call" or not report.passed:
        words = report.longrepr[2] if report.skipped else report.longreprtext
        with open("reports.jsonl", "a") as stream:
            print(json.dumps([report.nodeid, report.outcome, words]), file=stream)
"""


@dataclass(frozen=True, kw_only=True)
class Sin:
    """What a backend does wrong.

    Attributes:
        checks: The checks that fail, without `test_`, and what each says.
        registration: What differs in its `BackendInfo`.
        first: First lines of its plugin, which is then a package of its own.
        backend: Last lines of its backend, likewise.
    """

    checks: dict[str, str]
    registration: dict[str, object] | None = None
    first: str = ""
    backend: str = ""

    @property
    def alone(self) -> bool:
        return bool(self.first or self.backend)


REGISTRATION, LIGHT, SCHEMA = "registration_is_complete", "import_is_light", "options_have_a_schema_with_descriptions"
UNKNOWN, CASE, REACH = (
    "unknown_options_are_refused",
    "every_option_makes_another_case",
    "options_reach_the_backend",
)
BEFORE, CLOSE, NONE = (
    "bind_before_load_is_refused",
    "close_is_idempotent_and_safe_at_any_time",
    "an_artifact_that_is_none_is_a_failed_build",
)
POINTS, ONE, SLOTS = (
    "outputs_are_right_at_every_point",
    "outputs_of_an_artifact_for_one_shape",
    "slots_do_not_disturb_each_other",
)
COPIES, AGAIN, FIT = (
    "bind_copies_the_inputs",
    "a_slot_can_be_bound_again_to_another_shape",
    "inputs_that_do_not_fit_are_refused",
)
OUTSIDE, THREADS, LEAK = (
    "sizes_outside_of_the_profile_are_refused_or_right",
    "threads_are_those_of_the_context",
    "rebinding_does_not_leak",
)
ALLOCATES, EXPLAINS = "launch_allocates_nothing_of_its_own", "what_means_nothing_is_not_explained"
PYTHONS, RUN = "its_code_is_code_on_every_python_found", "a_whole_run"
LAYERS = "layers_take_the_time_of_an_inference"
IMPORTS = "its_imports_are_what_workers_have"

SINS = {
    "innocent": Sin(checks={}),
    "fp16_alone": Sin(checks={}, registration={"capabilities": {"precisions": ("fp16",)}}),
    "no_summary": Sin(checks={REGISTRATION: "BackendInfo.summary says in one line"}, registration={"summary": ""}),
    "no_install": Sin(checks={REGISTRATION: "BackendInfo.install is the command"}, registration={"install": ""}),
    "imports_numpy": Sin(
        checks={LIGHT: "importing benchfw_imports_numpy.plugin and benchfw_imports_numpy.options imports numpy,"},
        first="import numpy",
    ),
    "imports_framework": Sin(checks={LIGHT: "imports benchfw_other, "}, first="import benchfw_other"),
    "imports_slowly": Sin(
        checks={LIGHT: "ms of CPU, every command pays that"},
        first="import time\nend = time.process_time() + 0.08\nwhile time.process_time() < end: pass",
    ),
    "bare_option": Sin(
        checks={SCHEMA: "options without a description: other"},
        registration={"options": "benchfw_sins.options:bare_option"},
    ),
    "required_option": Sin(
        checks={SCHEMA: "options without a default: other"},
        registration={"options": "benchfw_sins.options:required_option"},
    ),
    "takes_any_option": Sin(
        checks={UNKNOWN: "the options model needs extra='forbid'"},
        registration={"options": "benchfw_sins.options:takes_any_option"},
    ),
    "option_not_dumped": Sin(
        checks={CASE: "the option 'depth' is not part of the case"},
        registration={"options": "benchfw_sins.options:option_not_dumped"},
    ),
    "options_not_passed_on": Sin(checks={REACH: "Backend.__init__ must pass its arguments on"}),
    "attribute_error_before_load": Sin(checks={BEFORE: "not Invalid: look in bind whether load has been called"}),
    "close_raises_once_more": Sin(checks={CLOSE: "close before load, or once more, raised: "}),
    "close_raises_after_a_failed_load": Sin(checks={CLOSE: "close after a load that failed, or once more, raised: "}),
    "accepts_any_file": Sin(checks={NONE: "a file that is no model was accepted: raise BuildFailed"}),
    "ends_the_worker_at_a_bad_file": Sin(
        checks={NONE: "raised WorkerCrashed", CLOSE: "close before load, or once more, raised: "}
    ),
    "wrong_at_max": Sin(checks={POINTS: "fp32 at {'batch': 8}: output 'y': ", AGAIN: "slot 0 bound anew at "}),
    "wrong_for_one_shape": Sin(checks={ONE: "made for {'batch': 8}: output 'y': "}),
    "other_provider": Sin(checks={POINTS: "facts() says provider_effective 'other', 'numpy' was asked for"}),
    "other_precision": Sin(checks={POINTS: "facts() says precision_effective 'fp16', 'fp32' was asked for"}),
    "one_output_buffer": Sin(checks={SLOTS: "slot 0 beside another: each needs its own buffers"}),
    "one_input_buffer": Sin(checks={SLOTS: "slot 0 beside another: each needs its own buffers"}),
    "keeps_the_mapped_arrays": Sin(checks={COPIES: "so it has to copy them"}),
    "answers_from_the_first_bind": Sin(
        checks={
            POINTS: "output 'y' has shape [3, 96], the reference [1, 96]",
            SLOTS: "slot 0 beside another",
            AGAIN: "slot 0 bound anew at {'batch': 1}: output 'y' has shape [3, 96], the reference [1, 96]",
        }
    ),
    "takes_any_input": Sin(checks={FIT: "was accepted: use `check_inputs` of benchfw.spec.backend"}),
    "wrong_outside": Sin(checks={OUTSIDE: "outside of the profile, at {'batch': 9}: output 'y': "}),
    "ends_the_worker_outside": Sin(checks={OUTSIDE: "raise Invalid in bind"}),
    "static_it_says": Sin(
        checks={OUTSIDE: "Capabilities.dynamic_shapes is wrong"},
        registration={"capabilities": {"dynamic_shapes": False}},
    ),
    "claims_layers": Sin(
        checks={LAYERS: "profile() raised: the backend does not profile"},
        registration={"capabilities": {"profiles": True}},
    ),
    "layers_in_seconds": Sin(
        checks={LAYERS: "the layers of an inference took 0 ns, a launch"},
        registration={"capabilities": {"profiles": True}},
    ),
    "one_thread": Sin(checks={}),
    "ignores_threads": Sin(checks={THREADS: "facts() says 2 threads, the context 1"}),
    "says_no_threads": Sin(checks={THREADS: "facts() should say `threads_effective`"}),
    "cycle": Sin(checks={LEAK: "such a cycle is not collected during a run"}),
    "keeps_every_bind": Sin(checks={LEAK: "keep nothing of an earlier bind"}),
    "allocates_and_frees": Sin(checks={ALLOCATES: "allocate in bind instead"}),
    "allocates_and_keeps": Sin(checks={ALLOCATES: "allocate in bind instead"}),
    "explains_everything": Sin(checks={EXPLAINS: "explain() returned OutOfMemory"}),
    "explain_raises": Sin(checks={EXPLAINS: "explain() raised RuntimeError('no idea')"}),
    "newer_syntax": Sin(
        checks={PYTHONS: "workers run on CPython 3.10 too: "},
        backend="def later():\n    try:\n        pass\n    except* ValueError:\n        pass\n",
    ),
    "imports_of_the_parent": Sin(
        checks={IMPORTS: "benchfw_imports_of_the_parent/more.py:4 imports pydantic"},
        backend="def later():\n    from .more import deeper\n",
    ),
    "raises_in_a_run": Sin(checks={RUN: 'raise RuntimeError("this is the 501st launch")'}),
    "ends_in_a_traceback": Sin(checks={}),
    "needs_a_framework": Sin(
        checks={},
        registration={"requires": ("no-such-framework>=2",), "install": "pip install no-such-framework"},
        backend="import no_such_framework\n",
    ),
}
NEEDS_NO_FRAMEWORK = {REGISTRATION, LIGHT, SCHEMA, UNKNOWN, CASE, PYTHONS}
TRACEBACK = "ends_in_a_traceback"
SLOW = {
    LIGHT: ["needs_a_framework", "imports_numpy", "imports_framework", "imports_slowly"],
    LEAK: ["innocent", "cycle", "keeps_every_bind", "needs_a_framework"],
    PYTHONS: ["newer_syntax", "needs_a_framework"],
    RUN: ["raises_in_a_run", "needs_a_framework"],
}
"""Checks that take long, and for whom they are made; the backends of this repository pass them all elsewhere."""

Reports = dict[str, dict[str, tuple[str, str]]]


def _write(folder: Path) -> dict[str, str]:
    """Write the packages of all sins, and return the module of each one's plugin."""
    (folder / "benchfw_other.py").write_text(OTHER)
    (folder / "benchfw_other-2.0.dist-info").mkdir()
    for name, content in METADATA.items():
        (folder / "benchfw_other-2.0.dist-info" / name).write_text(content)
    shared = {name: sin.registration or {} for name, sin in SINS.items() if not sin.alone}
    packages = {"benchfw_sins": ("", "", shared)}
    packages |= {
        f"benchfw_{name}": (sin.first, sin.backend, {name: sin.registration or {}})
        for name, sin in SINS.items()
        if sin.alone
    }
    for package, (first, backend, infos) in packages.items():
        target = folder / package
        target.mkdir()
        (target / "__init__.py").write_text("")
        (target / "options.py").write_text(OPTIONS)
        (target / "more.py").write_text(MORE)
        (target / "backend.py").write_text(BACKEND + backend)
        (target / "plugin.py").write_text(PLUGIN.format(first=first, package=package, infos=infos))
    return {name: f"benchfw_{name if sin.alone else 'sins'}.plugin" for name, sin in SINS.items()}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """What every check says of every sin: outcome and words. One pytest for all: most of the time is its start."""
    folder = tmp_path_factory.mktemp("sins")
    cases = _write(folder)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_sins.py").write_text(TESTS)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    slow = {f"test_{check}": names for check, names in SLOW.items()}
    environ = {"PYTHONPATH": os.pathsep.join(path), "CASES": json.dumps(cases), "SLOW": json.dumps(slow)}
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "--strict-config", "-W", "error", "--tb=short"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
        cwd=folder, env=os.environ | environ, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert run.returncode == 1, run.stdout + run.stderr
    found: Reports = {name: {} for name in SINS}
    for line in (folder / "reports.jsonl").read_text().splitlines():
        node, outcome, words = json.loads(line)
        check, _, name = node.partition("::test_")[2].rstrip("]").partition("[")
        found[name][check] = (outcome, words)
    return found


@pytest.mark.parametrize("name", [name for name in SINS if name != TRACEBACK])
def test_who_breaks_a_rule_fails_its_checks_and_no_others(reports: Reports, name: str) -> None:
    sin = SINS[name]
    failed = {check: words for check, (outcome, words) in reports[name].items() if outcome == "failed"}
    assert set(failed) == set(sin.checks), "\n".join(failed.values())
    for check, words in sin.checks.items():
        assert words in failed[check]


def test_an_error_of_the_plugin_is_shown_with_its_traceback(reports: Reports) -> None:
    failed = [words for outcome, words in reports[TRACEBACK].values() if outcome == "failed"]
    assert failed
    for words in failed:
        assert 'File "benchfw_sins/backend.py", line ' in words
        assert 'options["dept"]' in words
        assert "benchfw/worker" not in words.partition("the worker, in 'open'")[2]


def test_without_the_framework_what_needs_it_is_skipped_and_the_rest_is_checked(reports: Reports) -> None:
    found = reports["needs_a_framework"]
    assert {check for check, (outcome, _) in found.items() if outcome == "passed"} == NEEDS_NO_FRAMEWORK
    skipped = [words for outcome, words in found.values() if outcome == "skipped"]
    assert len(skipped) > 10
    assert {
        "no-such-framework>=2, which is not installed; pip install no-such-framework" in words for words in skipped
    } == {True}


def test_a_backend_that_nobody_registers_is_told_with_the_plugins_that_are_broken(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        Bench(BackendCase(backend="mine", plugin="no_such_module"), tmp_path)
    assert str(caught.value).startswith("no plugin provides the backend 'mine'; ")
    assert "broken: no_such_module (no_such_module): ModuleNotFoundError" in str(caught.value)
