"""What is said of interpreters, plugins, packages and backends."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import pytest

from benchfw.doctor import software
from benchfw.doctor.findings import Finding, examine
from benchfw.doctor.probe import Attempt, Files, Probe, installed, probe
from benchfw.doctor.software import Interpreter, overwritten
from benchfw.environments import Environment
from benchfw.plugins import BrokenPlugin, Registry
from benchfw.spec.backend import BackendInfo

HELLO = {"implementation": "cpython", "python": "3.11.7", "numpy": "2.4.6", "executable": "/p/python"}


def backend(name: str, factory: str = "benchfw.testing.fakes:FakeBackend", requires: str = "") -> BackendInfo:
    return BackendInfo(
        name=name,
        summary="",
        factory=factory,
        accepts=("*",),
        requires=(requires,) if requires else (),
        install=f"pip install {name}",
    )


def registry(*names: str, broken: list[BrokenPlugin] | None = None) -> Registry:
    infos = {name: backend(name) for name in names}
    owners = {f"backend {name}": "benchfw" if name == "null" else "some-plugin 1.0" for name in names}
    return Registry(backends=infos, owners=owners, broken=broken or [])


def look(found: Registry, *probes: Probe, area: str = "backends") -> list[tuple[str, str, str, str]]:
    findings = examine([software.environments_check(found, lambda: probes)])
    return [(item.what, item.level, item.text, item.remedy) for item in findings if item.area == area]


def environment(name: str = "default", files: Files | None = None, **attempts: Attempt) -> Probe:
    return Probe(Environment(name=name), hello=HELLO, attempts=attempts, files=files or {})


# --- interpreters and plugins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "debug", "level"), [(0, 0, "OK"), (1, 0, "WARN"), (0, 1, "WARN"), (1, 1, "WARN")])
def test_builds_of_python(free: int, debug: int, level: str) -> None:
    build = Interpreter("3.14.0", "cpython", free_threaded=bool(free), debug=bool(debug))
    first, *others = examine(software.python_checks(build, {"3.12": "/usr/bin/python3.12"}.get))
    assert first.level == level
    assert ("free-threaded" in first.text, "debug" in first.text) == (bool(free), bool(debug))
    assert [(other.what, other.text) for other in others] == [("3.12", "/usr/bin/python3.12")]


def test_this_interpreter() -> None:
    this = Interpreter.this()
    assert this.version == ".".join(map(str, sys.version_info[:3]))
    assert this.free_threaded == (not getattr(sys, "_is_gil_enabled", lambda: True)())


def test_broken_plugins_fail_with_their_reason() -> None:
    whole = registry("a", broken=[BrokenPlugin("odd (odd 0.1)", "SyntaxError: on purpose")])
    plugins, odd = examine([software.plugin_check(whole)])
    assert plugins == Finding("plugins", "plugins", "OK", "some-plugin 1.0")
    assert (odd.what, odd.level, odd.text) == ("odd (odd 0.1)", "FAIL", "SyntaxError: on purpose")


# --- backends ---------------------------------------------------------------------------------------------------


def test_backends_are_optional_but_one_must_work() -> None:
    found = look(registry("a", "b", "null"), environment(a=Attempt(missing="needs x"), b=Attempt(), null=Attempt()))
    assert [item[:2] for item in found] == [("a", "WARN"), ("b", "OK"), ("null", "OK")]
    assert found[0][2:] == ("needs x", "pip install a")
    found = look(registry("a", "null"), environment(a=Attempt(missing="needs x"), null=Attempt()))
    assert [item[:2] for item in found] == [("a", "WARN"), ("null", "OK"), ("all", "FAIL")]


def test_what_is_met_but_does_not_import_fails() -> None:
    broken = Attempt(error="libx.so: cannot open shared object file", versions={"x": "1.0"})
    found = look(registry("a", "b"), environment(a=broken, b=Attempt(seconds=1.23, versions={"y": "2.0"})))
    assert found == [
        (
            "a",
            "FAIL",
            "does not import: libx.so: cannot open shared object file",
            "if that does not help you, install it anew: pip install a",
        ),
        ("b", "OK", "imports in 1.2 s, y 2.0", ""),
    ]


def test_a_backend_that_another_environment_has_is_not_missing() -> None:
    here, there = environment(a=Attempt(missing="needs x")), environment("old", a=Attempt(seconds=2))
    assert look(registry("a"), here, there) == [("a", "OK", "imports in old in 2.0 s", "")]


def test_an_environment_without_a_worker() -> None:
    dead = Probe(Environment(name="old"), error="the interpreter /x has no numpy", remedy="install numpy there")
    assert look(registry("a"), dead, area="environments") == [
        ("old", "FAIL", "no worker starts: the interpreter /x has no numpy", "install numpy there")
    ]
    assert [item[1] for item in look(registry("a"), dead)] == ["FAIL"]
    assert look(registry("a"), dead, area="packages") == []


# --- packages that overwrite each other -------------------------------------------------------------------------


def install(folder: Path, name: str, **files: str) -> None:
    """Install a distribution as pip does: files, hashes of them, and a record."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{info.name}/METADATA,,", f"{info.name}/RECORD,,"]
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path.replace('__', '/', 1)},sha256={digest},{len(text)}")
    (info / "RECORD").write_text("\n".join(lines) + "\n")


def test_packages_that_overwrite_each_other(tmp_path: Path) -> None:
    install(tmp_path, "fast", **{"fast____init__.py": "same", "fast__core.so": "cpu"})
    install(tmp_path, "fast-gpu", **{"fast____init__.py": "same", "fast__core.so": "gpu"})
    install(tmp_path, "nv-one", **{"nv____init__.py": "", "nv__one.so": "1", "tests____init__.py": "1"})
    install(tmp_path, "nv-two", **{"nv____init__.py": "", "nv__two.so": "2", "tests____init__.py": "2"})
    install(tmp_path, "libs-12", **{"nv__lib.so.10": "12"})
    install(tmp_path, "libs-13", **{"nv__lib.so.10": "13"})
    install(tmp_path, "monitor", **{"monitor.py": "module"})
    install(tmp_path, "old-monitor", **{"monitor____init__.py": "package"})
    install(tmp_path, "fine", **{"fine____init__.py": "", "../../bin/x.py": "1", "readme.txt": "1"})
    files = installed([str(tmp_path)])
    assert overwritten(files) == {
        ("fast", "fast-gpu"): "fast/core.so",
        ("libs-12", "libs-13"): "nv/lib.so.10",
        ("monitor", "old-monitor"): "monitor/__init__.py",
    }
    first, *_ = look(registry("a"), environment(files=files), area="packages")
    assert first == (
        "default",
        "FAIL",
        "fast and fast-gpu overwrite each other, as in fast/core.so: what is imported is a mixture",
        "pip uninstall -y fast fast-gpu; then the one that you want: pip install fast",
    )


def test_the_same_file_in_two_folders_is_not_overwritten(tmp_path: Path) -> None:
    install(tmp_path / "a", "fast", fast____init__="1")
    install(tmp_path / "b", "fast-gpu", fast____init__="2")
    assert overwritten(installed([str(tmp_path / "a"), str(tmp_path / "b")])) == {}


def test_what_a_killed_installer_left_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty-1.0.dist-info").mkdir()
    install(tmp_path, "torn", torn____init__="1")
    (tmp_path / "torn-1.0.dist-info/RECORD").write_bytes(b"a\0b,x,1\n")
    install(tmp_path, "whole", whole____init__="1")
    assert "whole" in installed([str(tmp_path)])


def test_own_packages_are_read() -> None:
    files = installed()
    assert any(path.startswith("numpy/") for _, path in files["numpy"])


# --- asking workers ---------------------------------------------------------------------------------------------


def test_importing_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker per module; whatever a backend does costs itself alone."""
    modules = {
        "doctor_dies": "import os; os._exit(7)\n",
        "doctor_lacks": "import no_such_package\n",
        "doctor_raises": "raise RuntimeError('on purpose')\n",
        "doctor_two": "import tempfile; tempfile.mkdtemp()\nclass First: pass\n",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    infos = [
        backend("dies", "doctor_dies:Backend"),
        backend("lacks", "doctor_lacks:Backend"),
        backend("raises", "doctor_raises:Backend", "numpy>=1"),
        backend("first", "doctor_two:First"),
        backend("second", "doctor_two:Second"),
        backend("unmet", "doctor_two:First", "no-such-distribution>=3"),
        backend("newer", "doctor_two:First", "numpy>=1000"),
        backend("nonsense", "doctor_two:First", "not a requirement"),
        backend("nowhere", "doctor_nowhere:Backend"),
    ]
    found = probe(Environment(), infos, tmp_path / "work")
    assert found.hello["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {name for name, attempt in found.attempts.items() if attempt.ready} == {"first"}
    missing = {name: attempt.missing for name, attempt in found.attempts.items() if attempt.missing}
    assert set(missing) == {"unmet", "newer"}
    assert missing["unmet"] == "needs no-such-distribution>=3, which is not installed"
    errors = {name: attempt.error for name, attempt in found.attempts.items() if attempt.error}
    assert "exited with 7 in 'import'" in errors["dies"]
    assert "needs the package 'no_such_package'" in errors["lacks"]
    assert "RuntimeError: on purpose" in errors["raises"]
    assert "Second" in errors["second"]
    assert "requirement" in errors["nonsense"]
    assert "not to be found" in errors["nowhere"]
    assert found.attempts["raises"].versions.keys() == {"numpy"}
    assert len(list((tmp_path / "work").glob("tmp*"))) == 1  # goes when the folder goes


def test_another_interpreter(tmp_path: Path) -> None:
    """It has packages of its own, and pip is told where."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    found = probe(Environment(name="old", python=str(python)), [backend("a")], tmp_path / "work")
    assert found.attempts["a"].ready
    assert "numpy" in found.files
    mixed = Probe(found.environment, hello=HELLO, files={"a": {("/f", "x.py"): "1"}, "b": {("/f", "x.py"): "2"}})
    ((_, _, _, remedy),) = look(registry("a"), mixed, area="packages")
    assert remedy.startswith(f"{python} -m pip uninstall -y a b; ")


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    found = probe(Environment(name="old", python=str(tmp_path / "python")), [backend("a")], tmp_path)
    assert "does not start" in found.error
    assert found.remedy
    assert not found.attempts
    (tmp_path / "file").write_text("")
    assert "Not a directory" in probe(Environment(), [backend("a")], tmp_path / "file").error
