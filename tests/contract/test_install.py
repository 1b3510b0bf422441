"""What `make` installs, with and without a driver for NVIDIA GPUs; nothing is installed."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from benchfw.doctor import cuda
from benchfw.plugins import Registry
from tools import driver

ROOT = Path(__file__).resolve().parents[2]
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Wed Oct  1 12:00:00 UTC 2025\nGCC version: 12\n"
LIBRARY = """
int cuInit(unsigned flags) { return FAILS; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
"""

Make = Callable[..., subprocess.CompletedProcess[str]]


class FakeDriver:
    def __init__(self, version: int = 13000, fails: int = 0, mute: int = 0) -> None:
        self.version, self.fails, self.mute = version, fails, mute

    def cuDriverGetVersion(self, place: Any) -> int:  # noqa: N802 (CUDA's name)
        ctypes.cast(place, ctypes.POINTER(ctypes.c_int))[0] = self.version
        return self.mute

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.fails


def missing(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize("version", [13000, 13020, 14000])
def test_a_driver_that_serves_cuda_13_and_shows_a_gpu_is_enough(version: int, tmp_path: Path) -> None:
    assert driver.refusal(lambda name: FakeDriver(version), tmp_path / "none", lambda name: None) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (FakeDriver(12040), "serves CUDA up to 12.4, and 13.0 is needed: driver 580 or later"),
        (FakeDriver(fails=100), "no GPU that it shows: does CUDA_VISIBLE_DEVICES hide it?"),
        (FakeDriver(fails=999), "cuInit: error 999"),
        (FakeDriver(mute=1), "does not tell its version"),
    ],
)
def test_a_driver_that_will_not_do_is_refused_with_the_remedy(found: FakeDriver, words: str, tmp_path: Path) -> None:
    why = driver.refusal(lambda name: found, tmp_path / "none", lambda name: None)
    assert why is not None and words in why


def test_signs_of_a_driver_without_its_library_are_told_and_nothing_where_there_are_none(tmp_path: Path) -> None:
    module = tmp_path / "version"
    assert driver.refusal(missing, module, lambda name: None) == ""
    assert "LD_LIBRARY_PATH" in (driver.refusal(missing, module, lambda name: "/somewhere/nvidia-smi") or "")
    module.write_text(MODULE)
    why = driver.refusal(missing, module, lambda name: None) or ""
    assert why.startswith("the kernel has NVIDIA's driver 580.159.04, but libcuda.so.1: cannot open")
    assert "--gpus all" in why


# --- the Makefile ---------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Tell what make would run, in a folder in which nothing is installed."""
    for name in ("Makefile", "constraints.txt", "constraints-cuda.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        (tmp_path / file.parent.relative_to(ROOT)).mkdir(parents=True)
        shutil.copy(file, tmp_path / file.relative_to(ROOT))
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/driver.py", tmp_path / "tools")
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "CUDA")}

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "-n", "run", *arguments]
        return subprocess.run(command, cwd=tmp_path, env={**environ, **env}, capture_output=True, text=True)

    return run


def library(folder: Path, version: int, fails: int = 0) -> str:
    """Return a folder with a `libcuda.so.1` for `LD_LIBRARY_PATH`."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler makes a libcuda.so.1 here")
    folder.mkdir()
    macros = [f"-DVERSION={version}", f"-DFAILS={fails}"]
    command = [compiler, "-shared", "-fPIC", *macros, "-o", str(folder / "libcuda.so.1"), "-x", "c", "-"]
    subprocess.run(command, input=LIBRARY, text=True, check=True)
    return str(folder)


def test_with_a_driver_the_packages_for_gpus_are_installed_and_run_goes_on(make: Make, tmp_path: Path) -> None:
    lines = make(LD_LIBRARY_PATH=library(tmp_path / "new", 13000)).stdout.splitlines()
    (first,) = (line for line in lines if "'.[dev]'" in line)
    assert "plugins/torch[cuda,models]" in first and "plugins/onnxruntime[cuda,optimize,images]" in first
    assert "[cpu,models]" not in first and "[cpu,optimize" not in first
    later = [line for line in lines if "optional.sh" in line]
    assert "plugins/tensorrt[cu13]" in later[0] and later[1].endswith("torch-tensorrt")
    assert lines.index(first) < lines.index(later[0]) < lines.index(later[1]) < len(lines) - 1
    assert lines[-1].endswith("benchfw run scenarios/res18.toml")


def test_with_an_old_driver_stderr_says_why_the_cpu_is_what_it_is_installed_for(make: Make, tmp_path: Path) -> None:
    old = library(tmp_path / "old", 12080)
    made = make(LD_LIBRARY_PATH=old)
    assert "plugins/torch[cpu,models]" in made.stdout and "cuda" not in made.stdout
    assert "serves CUDA up to 12.8" in made.stderr and "make CUDA=1" in made.stderr
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed-cpu").touch()
    assert make(LD_LIBRARY_PATH=old).stderr == "", "once is enough"


def test_the_user_decides_and_what_was_installed_for_a_gpu_stays_without_one(make: Make, tmp_path: Path) -> None:
    new = library(tmp_path / "new", 13000)
    gone = library(tmp_path / "gone", 13000, fails=100)
    assert "plugins/torch[cuda" in make("CUDA=1", LD_LIBRARY_PATH=gone).stdout
    assert "plugins/torch[cuda" in make(CUDA="1", LD_LIBRARY_PATH=gone).stdout
    assert "plugins/torch[cpu" in make("CUDA=0", LD_LIBRARY_PATH=new).stdout
    assert "plugins/torch[cuda" in make(CUDA="/usr/local/cuda", LD_LIBRARY_PATH=new).stdout, "others use that name"
    assert "CUDA=yes: it is 0 or 1" in make("CUDA=yes").stderr
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed-cuda").touch()
    (tmp_path / ".venv/.for-cuda").touch()
    assert "install" not in make(LD_LIBRARY_PATH=gone).stdout
    assert "venv --clear .venv" in make("CUDA=0").stdout, "onnxruntime would overwrite onnxruntime-gpu"
    assert "--clear" not in make("CUDA=1", "-B").stdout


@pytest.mark.parametrize("mark", [".for-cpu", ".installed-cpu"])
def test_what_was_installed_for_the_cpu_stays_until_the_user_says_otherwise(
    make: Make, tmp_path: Path, mark: str
) -> None:
    new = library(tmp_path / "new", 13000)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / mark).touch()
    assert "cuda" not in make(LD_LIBRARY_PATH=new).stdout, "also an installation that did not come to its end"
    assert "plugins/torch[cuda" in make("CUDA=1", LD_LIBRARY_PATH=new).stdout


def test_what_cannot_be_installed_costs_a_line(tmp_path: Path) -> None:
    pip, log = tmp_path / "pip", tmp_path / "log"
    pip.write_text("#!/bin/sh\necho \"asked: $*\"; echo 'no such index' >&2; exit ${FAILS}\n")
    pip.chmod(0o755)
    command = [str(ROOT / "tools/optional.sh"), str(pip), str(log), "TensorRT 10", "-e", "plugins/tensorrt[cu13]"]
    for fails, lines in (("1", 2), ("0", 1)):
        run = subprocess.run(command, env={**os.environ, "FAILS": fails}, capture_output=True, text=True)
        assert (run.returncode, run.stdout) == (0, "")
        assert len(run.stderr.splitlines()) == lines
        assert log.read_text().splitlines()[1:] == ["no such index"]
        assert log.read_text().startswith("asked: install ") and "plugins/tensorrt[cu13]" in log.read_text()
    assert run.stderr == "Installing TensorRT 10.\n"


# --- versions -------------------------------------------------------------------------------------------------------


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in found}


def test_the_two_sets_of_versions_differ_where_gpus_want_it_and_nowhere_else() -> None:
    cpu, gpu = pins("constraints.txt"), pins("constraints-cuda.txt")
    assert {name for name, version in cpu.items() if gpu.get(name) != version} == {"torch", "onnxruntime"}
    assert "onnxruntime-gpu" in gpu and "onnxruntime" not in gpu, "both would install one package"
    assert gpu["onnxruntime-gpu"] == cpu["onnxruntime"]


def test_the_versions_for_gpus_fit_each_other_and_the_driver_that_is_asked_for(registry: Registry) -> None:
    built_for = [each for info in registry.backends.values() for each in info.built_for]
    assert list(cuda.findings("default", pins("constraints-cuda.txt"), built_for, f"{driver.CUDA}.0")) == []
    wrong = {**pins("constraints-cuda.txt"), "tensorrt": "11.4.0.106"}
    assert list(cuda.findings("default", wrong, built_for, f"{driver.CUDA}.0")), (
        "what fits is judged by the doctor's tables"
    )


@pytest.mark.parametrize(("name", "extra"), [("constraints.txt", "cpu"), ("constraints-cuda.txt", "cuda")])
def test_every_package_that_plugins_ask_for_is_pinned_as_they_want_it(name: str, extra: str) -> None:
    pinned = pins(name)
    extras = {extra, "models", "optimize", "images", "rtx", *(["cu13"] if extra == "cuda" else [])}
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        listed = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
        for requirement in (Requirement(text) for key in extras & listed.keys() for text in listed[key]):
            if requirement.name.startswith("benchfw"):
                continue
            written = canonicalize_name(requirement.name)
            assert requirement.specifier.contains(pinned[written]), requirement


@pytest.mark.parametrize(("python", "cuda"), [("3.10", 12), ("3.11", 13), ("3.14", 13)])
def test_the_extra_tensorrt_fits_the_onnxruntime_that_a_python_gets(registry: Registry, python: str, cuda: int) -> None:
    """The last onnxruntime-gpu for CPython 3.10 is 1.23.2, for CUDA 12."""
    listed = tomllib.loads((ROOT / "plugins/onnxruntime/pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    wanted = [Requirement(text) for text in listed["tensorrt"]]
    got = [each for each in wanted if each.marker is None or each.marker.evaluate({"python_version": python})]
    bundles = [each for each in registry.backends["ort-tensorrt"].bundles if python in SpecifierSet(each.python)]
    assert bundles[0].cuda == cuda
    assert [f"{each.name}{each.specifier}" for each in got] == [f"tensorrt-cu{cuda}<11,>=10.15"]
    assert Requirement(f"tensorrt-cu{cuda}<11,>=10.15") in map(Requirement, bundles[0].packages)
