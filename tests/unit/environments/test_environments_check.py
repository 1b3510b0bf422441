"""What loads in an environment, and what is told of what does not."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchfw.environments import Environment, managed
from benchfw.environments import check as looking
from benchfw.environments.check import check
from benchfw.spec import Bundle, Capabilities
from benchfw.spec.backend import BackendInfo

CUDA = Capabilities(devices=("cuda",))
HERE = ".".join(map(str, sys.version_info[:3]))


def backend(name: str, factory: str = "benchfw.testing.fakes:FakeBackend", *requires: str) -> BackendInfo:
    return BackendInfo(
        name=name, summary="", factory=factory, accepts=("*",), requires=requires, install=f"pip install {name}"
    )


def interpreter(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "environments"))
    return tmp_path / "environments"


def test_whatever_a_backend_does_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "check_dies": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
        "check_lacks": "import no_such_package\n",
        "check_library": "raise ImportError('libX.so.1: cannot open shared object file')\n",
        "check_raises": "raise RuntimeError('on purpose')\n",
        "check_reads": "b'\\xff'.decode('ascii')\n",
        "check_two": (
            "import os, tempfile; tempfile.mkdtemp()\n"
            "class First: pass\n"
            "def __getattr__(name):\n"
            "    if name == 'Deadly': os._exit(7)\n"
            "    raise AttributeError(name)\n"
        ),
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    infos = [
        backend("lacks", "check_lacks:Backend"),
        backend("dies", "check_dies:Backend"),
        backend("library", "check_library:Backend"),
        backend("raises", "check_raises:Backend", "numpy>=1"),
        backend("reads", "check_reads:Backend"),
        backend("deadly", "check_two:Deadly"),
        backend("first", "check_two:First"),
        backend("second", "check_two:Second"),
        backend("unmet", "check_two:First", "no-such-distribution>=3"),
        backend("newer", "check_two:First", "numpy>=1000"),
        backend("nonsense", "check_two:First", "not a requirement"),
        backend("nowhere", "check_nowhere:Backend"),
    ]
    found = check(Environment(), infos, tmp_path / "work")
    assert found.works and found.made and found.version == HERE
    assert found.packages["no-such-distribution"] is None and found.packages["numpy"]
    assert [one.name for one in found.backends] == [info.name for info in infos]
    assert [one.name for one in found.backends if one.loads] == ["first"]
    backends = {one.name: one for one in found.backends}
    assert backends["first"].reason == "" and backends["first"].seconds > 0
    missing = {one.name: (one.reason, one.remedy) for one in found.backends if one.missing}
    assert missing.keys() == {"unmet", "newer"}
    assert missing["unmet"] == ("it needs no-such-distribution>=3, which is not installed", "pip install unmet")
    reasons = {
        "dies": "the worker was ended by SIGSEGV in 'import'",
        "lacks": "check_lacks needs the package 'no_such_package', which is not installed",
        "library": "check_library cannot be imported: libX.so.1: cannot open shared object file",
        "raises": "RuntimeError: on purpose",
        "reads": "UnicodeDecodeError: ",
        "deadly": "exited with 7 in 'import'",
        "second": "Second",
        "nonsense": "its plugin states a requirement that is none: ",
        "nowhere": "the package 'check_nowhere' of a plugin is not to be found",
    }
    for name, reason in reasons.items():
        assert reason in backends[name].reason
    assert "PYTHONUTF8=1" in backends["reads"].remedy
    assert backends["raises"].packages.keys() == {"numpy"}
    left = list((tmp_path / "work").glob("tmp*"))
    assert len(left) == 2, "one worker served a module until a backend ended it; what it left goes with the folder"


def test_what_installs_a_backend_fits_the_environment(root: Path, tmp_path: Path) -> None:
    wanted = [backend("unmet", "benchfw.testing.fakes:FakeBackend", "absent>=2"), backend("fine")]
    minor = HERE.rpartition(".")[0]
    theirs = Environment(name="theirs", python=interpreter(tmp_path / "python"))
    ours = Environment(name="ours", python=interpreter(managed.python_of("ours")))
    managed.Managed(name="ours", python="3.10.13", requirements=("some==1",), tool="pip 1", created="now").write()
    remedies = {
        "theirs": f"{theirs.python} -m pip install 'absent>=2'",
        "ours": f"benchfw env create ours-2 --python {minor} --with some==1 --with 'absent>=2'",
    }
    for environment in (theirs, ours):
        found = check(environment, wanted, tmp_path / "work")
        unmet, fine = found.backends
        assert unmet.missing and unmet.remedy == unmet.install == remedies[environment.name]
        assert fine.loads


def test_what_keeps_a_backend_from_its_device_is_told_though_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looking for libraries does costs this backend alone, and never its import."""
    (tmp_path / "check_device.py").write_text(
        "import os\n"
        "class Whole:\n"
        "    missing_libraries = staticmethod(lambda: ())\n"
        "class Lacks:\n"
        "    missing_libraries = staticmethod(lambda: ['libA.so.1', 'libB.so.2'])\n"
        "class Raises:\n"
        "    missing_libraries = staticmethod(lambda: 1 / 0)\n"
        "class Deadly:\n"
        "    missing_libraries = staticmethod(lambda: os._exit(7))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["Deadly", "Whole", "Lacks", "Raises"]
    infos = [replace(backend(name, f"check_device:{name}", "numpy"), capabilities=CUDA) for name in names]
    without = {one.name: one for one in check(Environment(), infos, tmp_path / "work").backends}
    assert all(one.loads for one in without.values())
    assert (without["Whole"].lacking, without["Lacks"].lacking) == ("", "it does not find libA.so.1, libB.so.2")
    assert without["Raises"].lacking == ("its libraries could not be looked for: ZeroDivisionError: division by zero")
    assert "exited with 7" in without["Deadly"].lacking

    on_cpus = backend("CPU", "check_device:Whole", "numpy")
    infos = [*infos[1:3], on_cpus]
    monkeypatch.setattr(looking, "_BINDINGS", "no-such-bindings")
    found = {one.name: one for one in check(Environment(), infos, tmp_path / "more", "13.0").backends}
    assert found["Whole"].lacking == "on a GPU it needs no-such-bindings, which is not installed"
    assert found["Whole"].install.endswith(" -m pip install 'no-such-bindings<14'")
    assert found["Lacks"].lacking == without["Lacks"].lacking and found["CPU"].lacking == ""
    both = replace(backend("Both", "check_device:Lacks", "numpy"), capabilities=Capabilities(devices=("cpu", "cuda")))
    (here,) = check(Environment(), [both], tmp_path / "cpu").backends
    assert here.lacking == "", "without a GPU it lacks nothing"


def test_a_framework_that_is_not_installed_is_missing_whichever_package_would_bring_it(tmp_path: Path) -> None:
    """It would be imported, and fail, as no requirement can name it."""
    bundle = Bundle(packages=("no-such-a>=1", "numpy>=1"))
    info = replace(backend("x", "check_nowhere:Backend", "numpy>=1"), modules={"no_such_module": ("no-such-a",)})
    (found,) = check(Environment(), [replace(info, bundles=(bundle,))], tmp_path / "work").backends
    assert found.missing and not found.loads
    assert found.reason == "it needs the module 'no_such_module', which is not installed"
    assert found.remedy == found.install and found.install.endswith(" -m pip install 'no-such-a>=1' 'numpy>=1'")


def test_of_alternatives_the_one_that_was_asked_for_stays_and_else_the_first_is_named(
    root: Path, tmp_path: Path
) -> None:
    either = backend("either", "benchfw.testing.fakes:FakeBackend", "absent>=2 | numpy>=1", "other")
    neither = backend("neither", "benchfw.testing.fakes:FakeBackend", "absent>=2 | some>=1")
    ours = Environment(name="ours", python=interpreter(managed.python_of("ours")))
    managed.Managed(name="ours", python="3.10.13", requirements=("numpy<3", "some==0"), tool="", created="").write()
    first, second = check(ours, [either, neither], tmp_path / "work").backends
    assert first.reason == "it needs other, which is not installed" and set(first.packages) == {"numpy", "other"}
    assert first.install.endswith("--with 'numpy<3' --with some==0 --with other")
    assert second.reason == "it needs absent>=2 or some>=1, none of which is installed"
    assert second.install.endswith("--with 'numpy<3' --with 'absent>=2'")
    theirs = Environment(name="theirs", python=interpreter(tmp_path / "python"))
    (second,) = check(theirs, [neither], tmp_path / "more").backends
    assert second.install.endswith("-m pip install 'absent>=2'")


def test_of_alternatives_the_one_that_is_there_is_named(root: Path, tmp_path: Path) -> None:
    """Also in the wrong version: the other one would overwrite its module."""
    infos = [
        backend("met", "x:Y", "absent>=2 | numpy>=1", "other"),
        backend("newer", "x:Y", "absent>=2 | numpy>=1000"),
        backend("both", "x:Y", "numpy>=1000 | hypothesis>=1", "other"),
        backend("all", "x:Y", "hypothesis>=1 | numpy>=1", "other"),
    ]
    remedies = {
        "met": ["numpy>=1", "other"],
        "newer": ["numpy>=1000"],
        "both": ["hypothesis>=1", "other"],
        "all": ["hypothesis>=1", "other"],
    }
    theirs = Environment(name="theirs", python=interpreter(tmp_path / "python"))
    ours = Environment(name="ours", python=interpreter(managed.python_of("ours")))
    managed.Managed(name="ours", python="3.10.13", requirements=("numpy<2",), tool="", created="").write()
    for found in check(theirs, infos, tmp_path / "theirs").backends:
        assert shlex.split(found.install)[4:] == remedies[found.name]
    again = {
        "met": ["numpy<2", "other"],
        "newer": ["numpy>=1000"],
        "both": ["numpy<2", "hypothesis>=1", "other"],
        "all": ["numpy<2", "other"],
    }
    for found in check(ours, infos, tmp_path / "ours").backends:
        assert [word for word in shlex.split(found.install)[6:] if word != "--with"] == again[found.name]


def test_a_pin_that_a_backend_refuses_gives_way(root: Path, tmp_path: Path) -> None:
    """What is there is not removed for it: it may serve others, and could not be had back."""
    ours = Environment(name="ours", python=interpreter(managed.python_of("ours")))
    asked = ("NumPy<9", "Hypothesis[cli]<5", "other==1", "not one")
    managed.Managed(name="ours", python=HERE, requirements=asked, tool="pip 1", created="now").write()
    (root / "ours-2").mkdir()
    found = check(ours, [backend("a", "x:Y", "numpy>=1", "hypothesis>=1000")], tmp_path / "work")
    assert found.backends[0].install == (
        f"benchfw env create ours-3 --python {HERE.rpartition('.')[0]} --with 'NumPy<9' --with other==1 "
        "--with 'not one' --with 'hypothesis>=1000'"
    )


def test_environments_in_which_no_worker_starts(root: Path, tmp_path: Path) -> None:
    wanted = [backend("a")]
    absent = check(Environment(name="theirs", python=str(tmp_path / "python")), wanted, tmp_path / "work")
    assert (absent.works, absent.made, absent.remedy) == (False, True, "")
    assert "does not start" in absent.reason
    assert absent.backends == ()

    ours = Environment(name="ours", python=str(managed.python_of("ours")))
    (root / "ours").mkdir(parents=True)
    (root / ".ours.unfinished").touch()
    begun = check(ours, wanted, tmp_path / "work")
    assert (begun.works, begun.made) == (False, False)
    assert (begun.reason, begun.remedy) == ("the environment 'ours' is unfinished", "benchfw env create ours")
    assert begun.state == "unfinished"
    with managed.changing("ours"):
        busy = check(ours, wanted, tmp_path / "work")
    assert (busy.made, busy.state, busy.remedy) == (False, "being made or removed", "again when that is over")
    (root / "ours" / managed.SIDE_CAR).write_text("{")
    damaged = check(ours, wanted, tmp_path / "work")
    assert (damaged.made, damaged.state, damaged.remedy) == (False, "damaged", "benchfw env create ours")
    assert damaged.reason == f"the environment 'ours' is damaged: its {managed.SIDE_CAR} cannot be read"
    managed.Managed(name="ours", python="3.10.13", requirements=("some==1",), tool="pip 1", created="now").write()
    gone = check(ours, wanted, tmp_path / "work")
    assert (gone.works, gone.made) == (False, True)
    assert "does not start" in gone.reason
    assert gone.remedy == "benchfw env rm ours && benchfw env create ours --python 3.10 --with some==1"

    (tmp_path / "file").touch()
    full = check(Environment(), wanted, tmp_path / "file")
    assert "Not a directory" in full.reason and full.remedy.startswith("TMPDIR")
