"""Which shared libraries cannot be found, on libraries that a C compiler makes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchfw.spec import libraries
from benchfw.spec.libraries import missing

Compile = Callable[..., Path]


@pytest.fixture
def library(tmp_path: Path) -> Compile:
    """Function that makes a library of some other libraries' functions, each of which is called like its library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler makes libraries here")

    def make(name: str, *needs: str) -> Path:
        path = tmp_path / f"lib{name}.so.1"
        code = f"int {name}(void) {{ return 0; }}\n"
        links = [str(tmp_path / f"lib{need}.so.1") for need in needs]
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed", "-o", str(path)]
        subprocess.run([*command, "-x", "c", "-", "-x", "none", *links], input=code, text=True, check=True)
        return path

    return make


def test_every_library_that_is_not_found_is_named(library: Compile) -> None:
    """Also those that another one needs. The driver's own is left out, as no package brings it."""
    gone = [library("absent_one"), library("absent_two"), library("cuda")]
    between = library("between", "absent_two")
    provider = library("provider", "absent_one", "between", "cuda")
    for path in gone:
        path.unlink()
    assert missing(provider) == ["libabsent_one.so.1", "libbetween.so.1"]
    assert missing(between) == ["libabsent_two.so.1"]
    between.unlink()
    assert missing(library("content")) == []
    assert missing(between) == ["libbetween.so.1"]


def test_what_lies_on_the_path_of_libraries_is_found(
    library: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("deep_absent")
    library("on_path", "deep_absent")
    provider = library("user", "on_path")
    (tmp_path / "libdeep_absent.so.1").unlink()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert missing(provider) == ["libdeep_absent.so.1"]


def test_what_the_process_has_loaded_already_is_found(library: Compile) -> None:
    """As ONNX Runtime loads the libraries that pip has installed, from where no loader looks."""
    needed = library("preloaded")
    provider = library("late", "preloaded")
    assert missing(provider) == ["libpreloaded.so.1"]
    ctypes.CDLL(str(needed))
    assert missing(provider) == []


def test_without_ldd_the_loader_names_the_first_one(library: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = library("absent_third")
    provider = library("third", "absent_third")
    absent.unlink()
    monkeypatch.setenv("PATH", "")
    assert libraries.missing(provider) == ["libabsent_third.so.1"]
    assert libraries.missing(library_of_c()) == []


def test_an_ldd_that_hangs_is_not_waited_for(library: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = library("absent_fourth")
    provider = library("fourth", "absent_fourth")
    absent.unlink()
    ldd = tmp_path / "ldd"
    ldd.write_text("#!/bin/sh\nexec sleep 60\n")
    ldd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(libraries, "_TIMEOUT_S", 0.2)
    assert missing(provider) == ["libabsent_fourth.so.1"]


def library_of_c() -> Path:
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return next(Path(line.split()[-1]) for line in lines if "/libc.so" in line or "/libc-" in line)
