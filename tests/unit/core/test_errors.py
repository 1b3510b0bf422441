"""The tree of errors, its exit codes, and the text of a scenario error."""

from __future__ import annotations

import pytest

from benchfw import errors
from benchfw.errors import BACKEND_ERRORS, BackendError, BenchfwError, Fault, ScenarioError, WorkerError


def _tree(kind: type[BenchfwError]) -> list[type[BenchfwError]]:
    return [kind, *(sub for child in kind.__subclasses__() for sub in _tree(child))]


def test_every_error_of_the_module_is_in_the_tree() -> None:
    defined = {item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)}
    assert defined == {kind for kind in _tree(BenchfwError) if kind.__module__ == errors.__name__}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BenchfwError, 3),
        (errors.UsageError, 2),
        (errors.ScenarioError, 2),
        (errors.PluginError, 2),
        (errors.DuplicateName, 2),
        (errors.UnknownName, 2),
        (errors.BuildFailed, 3),
        (errors.WorkerCrashed, 3),
        (errors.ResultError, 3),
    ],
)
def test_exit_codes(kind: type[BenchfwError], code: int) -> None:
    assert kind.exit_code == code


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.Unsupported, "UNSUPPORTED"),
        (errors.MissingDependency, "SKIPPED"),
        (errors.BuildFailed, "BUILD_FAILED"),
        (errors.OutOfMemory, "OOM"),
        (errors.FellBack, "FALLBACK"),
        (errors.Invalid, "INVALID"),
        (errors.WorkerCrashed, "CRASH"),
        (errors.WorkerTimeout, "TIMEOUT"),
        (errors.ProtocolError, "INVALID"),
    ],
)
def test_statuses(kind: type[BackendError] | type[WorkerError], status: str) -> None:
    assert kind.status == status


def test_backend_errors_cross_the_wire_by_name() -> None:
    public = [kind for kind in BackendError.__subclasses__() if kind.__module__ == errors.__name__]
    assert set(BACKEND_ERRORS) == {kind.__name__ for kind in public}
    assert all(kind.__name__ == name for name, kind in BACKEND_ERRORS.items())


def test_hint_and_message_are_kept() -> None:
    error = errors.BuildFailed("no kernel", hint="use another opset")
    assert (error.message, error.hint, str(error)) == ("no kernel", "use another opset", "no kernel")
    assert errors.BuildFailed("no kernel").hint is None


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), ""),
        (("name",), "name"),
        (("backend", 1, "options", "threads"), "backend[1].options.threads"),
        (("model", "inputs", "x", "shape", 0), "model.inputs.x.shape[0]"),
    ],
)
def test_key_of_a_fault(path: tuple[str | int, ...], key: str) -> None:
    assert Fault(path, "").key == key


def test_scenario_error_lists_all_faults() -> None:
    error = ScenarioError(
        "a.toml",
        [
            Fault(("backend", 0, "use"), "no such backend", 7, "ort-cpu"),
            Fault(("name",), "is missing"),
            Fault((), "not TOML", 3),
        ],
        hint="see the docs",
    )
    assert error.message.splitlines() == [
        "a.toml:7: backend[0].use: no such backend (did you mean 'ort-cpu'?)",
        "a.toml: name: is missing",
        "a.toml:3: not TOML",
    ]
    assert error.hint == "see the docs"
    assert len(error.faults) == 3
