"""Where the code of a plugin allocates, as the probe sees it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchfw.testing.probe import allocations

OURS = """
import functools
import zlib

import numpy as np
from probed_theirs import call, fill, fresh

OUTPUT = np.empty(4096)
INPUT = np.ones(4096)
KEPT = []


def nothing():
    fill(OUTPUT)


def frees():
    fill(OUTPUT)
    np.zeros(4096)


def keeps():
    KEPT.append(bytes(9000))


def expression():
    OUTPUT[...] = INPUT * 2 + 1


def in_place():
    np.multiply(INPUT, 2, out=OUTPUT)


def theirs():
    return fresh()


def called_back():
    call(frees)


def helper():
    frees()


def c_function():
    np.zeros(4096)


def c_method():
    OUTPUT.copy()


def c_called_back():
    functools.reduce(lambda x, y: frees(), (1, 2))


def raising():
    try:
        zlib.decompress(b"no such stream")
    except zlib.error:
        pass
    bytes(9000)


direct = functools.partial(np.multiply, INPUT, 2, out=OUTPUT)
"""

THEIRS = """
import numpy as np


def fill(output):
    output[...] = np.arange(4096.0)


def fresh():
    return np.zeros(4096)


def call(back):
    np.zeros(4096)
    back()
    np.zeros(4096)
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A package of a plugin, and beside it one of a framework whose path begins alike."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probed").mkdir()
    (folder / "probed" / "__init__.py").write_text(OURS)
    (folder / "probed_theirs.py").write_text(THEIRS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("probed")
    sys.path.remove(str(folder))
    for name in ("probed", "probed_theirs"):
        del sys.modules[name]


def _found(ours: ModuleType, name: str, *framework: str) -> dict[str, Any]:
    return allocations(getattr(ours, name), f"{Path(str(ours.__file__)).parent}/", frozenset(framework))


@pytest.mark.parametrize("name", ["nothing", "in_place", "theirs", "direct"])
def test_what_the_framework_allocates_does_not_count(ours: ModuleType, name: str) -> None:
    assert _found(ours, name) == {}


@pytest.mark.parametrize("name", ["c_function", "c_method", "frees"])
def test_what_c_code_of_the_framework_allocates_does_not_count(ours: ModuleType, name: str) -> None:
    assert _found(ours, name)
    assert _found(ours, name, "numpy") == {}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("frees", "    np.zeros(4096)"),
        ("keeps", "    KEPT.append(bytes(9000))"),
        ("expression", "    OUTPUT[...] = INPUT * 2 + 1"),
        ("called_back", "    np.zeros(4096)"),
        ("helper", "    np.zeros(4096)"),
        ("c_method", "    OUTPUT.copy()"),
        ("c_called_back", "    np.zeros(4096)"),
        ("raising", "    bytes(9000)"),
    ],
)
def test_what_a_line_of_the_plugin_allocates_is_found(ours: ModuleType, name: str, line: str) -> None:
    found = _found(ours, name, "_functools", "zlib")
    number = OURS.splitlines().index(line) + 1
    assert list(found) == [f"__init__.py:{number}"]
    assert 9000 <= found[f"__init__.py:{number}"] < 80_000


def test_a_launch_that_raises_leaves_no_trace(ours: ModuleType) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        allocations(fail, "/nowhere/")
    assert sys.gettrace() is None
    assert sys.getprofile() is None
