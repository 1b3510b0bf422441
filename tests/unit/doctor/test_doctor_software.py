"""What is said of interpreters, plugins, packages and backends."""

from __future__ import annotations

import base64
import functools
import hashlib
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from benchfw.doctor import software
from benchfw.doctor.findings import Finding, examine
from benchfw.doctor.packages import Files, installed, overwritten, recorded
from benchfw.doctor.software import Interpreter
from benchfw.environments import Python
from benchfw.environments.check import CheckedBackend, CheckedEnvironment
from benchfw.environments.environment import Environment
from benchfw.environments.install import Installer
from benchfw.plugins import BrokenPlugin, Registry
from benchfw.spec.backend import BackendInfo
from benchfw.spec.packages import Bundle


def registry(*names: str, broken: list[BrokenPlugin] | None = None) -> Registry:
    infos = {name: BackendInfo(name=name, summary="", factory="a:B", accepts=("*",)) for name in names}
    owners = {f"backend {name}": "benchfw" if name == "null" else "some-plugin 1.0" for name in names}
    return Registry(backends=infos, owners=owners, broken=broken or [])


def look(
    found: Registry, *checked: CheckedEnvironment, area: str = "backends", files: Files | None = None
) -> list[tuple[str, str, str, str]]:
    looks = {one.name: functools.partial(lambda one: one, one) for one in checked}
    findings = examine(software.environment_checks(found, looks, lambda python: files or {}))
    return [(item.what, item.level, item.text, item.remedy) for item in findings if item.area == area]


def environment(name: str = "default", *backends: CheckedBackend) -> CheckedEnvironment:
    return CheckedEnvironment(
        name=name,
        python="/p/python",
        works=True,
        implementation="cpython",
        version="3.11.7",
        packages={"numpy": "2.4.6"},
        backends=backends,
    )


def backend(name: str, **more: Any) -> CheckedBackend:
    return CheckedBackend(**{"name": name, "loads": True, "install": f"pip install {name}", **more})


def missing(name: str) -> CheckedBackend:
    return backend(name, loads=False, missing=True, reason="it needs x")


# --- interpreters and plugins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "debug", "level"), [(0, 0, "OK"), (1, 0, "WARN"), (0, 1, "WARN"), (1, 1, "WARN")])
def test_builds_of_python(free: int, debug: int, level: str) -> None:
    build = Interpreter("3.14.0", "cpython", free_threaded=bool(free), debug=bool(debug))
    first, *others = examine(software.python_checks(build, lambda: [Python("/usr/bin/python3.12", "3.12.1")]))
    assert first.level == level
    assert ("free-threaded" in first.text, "debug" in first.text) == (bool(free), bool(debug))
    assert [(other.what, other.text) for other in others] == [("3.12.1", "/usr/bin/python3.12")]


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
    found = look(registry("a", "b", "null"), environment("default", missing("a"), backend("b"), backend("null")))
    assert [item[:2] for item in found] == [("a", "WARN"), ("b", "OK"), ("null", "OK")]
    assert found[0][2:] == ("it needs x", "pip install a")
    found = look(registry("a", "null"), environment("default", missing("a"), backend("null")))
    assert [item[:2] for item in found] == [("a", "WARN"), ("null", "OK"), ("all", "FAIL")]


def test_what_is_met_but_does_not_import_fails() -> None:
    broken = backend("a", loads=False, reason="libx.so: cannot open", remedy="look", packages={"x": "1.0"})
    working = backend("b", seconds=1.23, packages={"y": "2.0"})
    assert look(registry("a", "b"), environment("default", broken, working)) == [
        (
            "a",
            "FAIL",
            "does not import: libx.so: cannot open",
            "look; if that does not help, install it anew: pip install a",
        ),
        ("b", "OK", "imports in 1.2 s, y 2.0", ""),
    ]


def test_a_backend_that_loads_and_lacks_libraries_warns_with_the_command() -> None:
    """benchfw works, and the cases say FALLBACK: nothing is wrong with the numbers."""
    lacks = backend("a", lacking="it does not find libX.so.1", packages={"x": "1.0"})
    assert look(registry("a"), environment("old", lacks)) == [
        ("a", "WARN", "imports in old, x 1.0, but it does not find libX.so.1", "pip install a")
    ]


@pytest.mark.parametrize(
    ("hint", "install", "remedy"),
    [
        (
            "pip install 'a[gpu]', which brings it",
            "/p -m pip install a",
            "install it anew: /p -m pip install a, which brings it",
        ),
        (
            'pip install a[gpu,b] "c>=1,<2"; then reboot',
            "/p -m pip install a",
            "install it anew: /p -m pip install a; then reboot",
        ),
        ("pip install -U a", "/p -m pip install a", "install it anew: /p -m pip install a"),
        ("pip install a, which brings it", "a newer driver: a wants CUDA 13", "a newer driver: a wants CUDA 13"),
        ("pip install a, which brings it", "", "ask the author of its plugin"),
        (
            "reboot; pip install a",
            "uv pip install a",
            "reboot; pip install a; if that does not help, install it anew: uv pip install a",
        ),
    ],
)
def test_of_a_plugins_hint_the_command_is_that_of_the_interpreter_and_the_rest_stays(
    hint: str, install: str, remedy: str
) -> None:
    """What is there and broken is not told to be installed as if it were not."""
    broken = backend("a", loads=False, reason="libx.so: no", remedy=hint, install=install)
    ((*_, told),) = look(registry("a", "b"), environment("default", broken, backend("b")))[:1]
    assert told == remedy


@pytest.mark.parametrize(
    ("python", "cuda", "words"),
    [
        ("3.12.1", 13, "install it anew: /p/python -m pip install --force-reinstall x==2"),
        ("3.12.1", 12, "a newer driver: a wants one that serves CUDA 13, this one serves CUDA 12"),
        ("3.10.1", 13, "an environment of Python >=3.11: benchfw env create --help"),
    ],
)
@pytest.mark.parametrize("told", ["", "look; if that does not help, "])
def test_only_a_command_is_told_to_install_it_anew(python: str, cuda: int, words: str, told: str) -> None:
    bundles = (Bundle(packages=("x==2",), python=">=3.11", cuda=13),)
    info = BackendInfo(name="a", summary="", factory="a:B", accepts=("*",), bundles=bundles)
    there = Installer(
        environment=Environment(name="old", python="/p/python"),
        python=python,
        packages={"x": "2"},
        modules=frozenset({"pip"}),
        cuda=cuda,
    )
    broken = backend("a", loads=False, remedy=told.partition(";")[0], install=there.command(info, anew=True))
    ((*_, remedy),) = look(registry("a", "b"), environment("default", broken, backend("b")))[:1]
    assert remedy == told + words


def test_a_backend_that_nothing_is_known_of_is_its_authors() -> None:
    broken = backend("a", loads=False, install="")
    ((*_, remedy),) = look(registry("a", "b"), environment("default", broken, backend("b")))[:1]
    assert remedy == "ask the author of its plugin"


def test_a_backend_that_another_environment_has_is_not_missing() -> None:
    here, there = environment("default", missing("a")), environment("old", backend("a", seconds=2))
    assert look(registry("a"), here, there) == [("a", "OK", "imports in old in 2.0 s", "")]


def test_environments_that_cannot_be_used() -> None:
    dead = CheckedEnvironment(name="old", python="/x", works=False, reason="/x has no numpy", remedy="install numpy")
    begun = CheckedEnvironment(
        name="new",
        python="/y",
        works=False,
        made=False,
        state="unfinished",
        reason="is unfinished",
        remedy="benchfw env create new",
    )
    busy = replace(begun, name="busy", state="being made or removed", reason="is being made", remedy="wait")
    lacks = replace(environment("lacks"), reason="needs x>=2, x 1 is installed", remedy="benchfw env create …")
    assert look(registry("a"), dead, begun, busy, lacks, area="environments") == [
        ("old", "FAIL", "no worker starts: /x has no numpy", "install numpy"),
        (
            "new",
            "WARN",
            "is unfinished",
            "make it again: benchfw env create new --with …; or remove it: benchfw env rm new",
        ),
        ("busy", "WARN", "is being made", "wait"),
        ("lacks", "WARN", "needs x>=2, x 1 is installed", "benchfw env create …"),
    ]
    assert [item[:2] for item in look(registry("a"), dead, begun)] == [("all", "FAIL")]
    assert look(registry("a"), dead, begun, area="packages", files={"x": {}}) == []


def test_an_environment_whose_check_raises_fails_and_costs_the_others_nothing() -> None:
    def raises() -> CheckedEnvironment:
        raise RuntimeError("on purpose")

    looks = {"odd": raises, "default": lambda: environment("default", backend("a"), missing("b"))}
    found = list(examine(software.environment_checks(registry("a", "b"), looks, lambda python: {"x": {}})))
    assert [(item.area, item.what, item.level) for item in found] == [
        ("environments", "odd", "FAIL"),
        ("environments", "default", "OK"),
        ("packages", "default", "OK"),
        ("backends", "a", "OK"),
        ("backends", "b", "WARN"),
    ]
    only = list(examine(software.environment_checks(registry("a"), {"odd": raises})))
    assert [item.what for item in only] == ["odd"], "nothing is said of what was not looked at"


def test_nothing_is_imported_beside_a_run_that_measures() -> None:
    def never() -> CheckedEnvironment:
        raise AssertionError

    (found,) = examine(software.environment_checks(registry("a"), {"default": never}, measuring="a run of ann (pid 7)"))
    assert found.level == "WARN"
    assert "a run of ann (pid 7)" in found.text
    assert found.remedy == "when it is over, once more: benchfw doctor"


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
    files = recorded(metadata.distributions(path=[str(tmp_path)]))
    assert overwritten(files) == {
        ("fast", "fast-gpu"): "fast/core.so",
        ("libs-12", "libs-13"): "nv/lib.so.10",
        ("monitor", "old-monitor"): "monitor/__init__.py",
    }
    first, *_ = look(registry("a"), environment(), area="packages", files=files)
    assert first == (
        "default",
        "FAIL",
        "fast and fast-gpu overwrite each other, as in fast/core.so: what is imported is a mixture",
        "pip uninstall -y fast fast-gpu; then the one that you want: pip install fast",
    )


def test_the_same_file_in_two_folders_is_not_overwritten(tmp_path: Path) -> None:
    install(tmp_path / "a", "fast", fast____init__="1")
    install(tmp_path / "b", "fast-gpu", fast____init__="2")
    found = metadata.distributions(path=[str(tmp_path / "a"), str(tmp_path / "b")])
    assert overwritten(recorded(found)) == {}


def test_what_a_killed_installer_left_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty-1.0.dist-info").mkdir()
    install(tmp_path, "torn", torn____init__="1")
    (tmp_path / "torn-1.0.dist-info/RECORD").write_bytes(b"a\0b,x,1\n")
    install(tmp_path, "whole", whole____init__="1")
    assert "whole" in recorded(metadata.distributions(path=[str(tmp_path)]))


def test_own_packages_are_read() -> None:
    files = installed()
    assert any(path.startswith("numpy/") for _, path in files["numpy"])


def test_packages_of_another_interpreter(tmp_path: Path) -> None:
    """An environment that benchfw has made need not have pip."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    assert "numpy" in installed(str(python))
    assert installed(str(tmp_path / "none")) == {}
    mixed: Files = {"a": {("/f", "x.py"): "1"}, "b": {("/f", "x.py"): "2"}}
    ((_, level, _, remedy),) = look(registry("x"), environment("old"), area="packages", files=mixed)
    assert level == "FAIL"
    assert remedy == "benchfw env rm old; then with the one that you want: benchfw env create old --with a …"
