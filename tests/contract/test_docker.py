"""The image: what its Dockerfile says of itself, and its scripts as far as they run without an image of NVIDIA's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from benchfw.executors.devices import Devices, cpus
from docker.constraints import constrained, normal

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "/opt/benchfw/source/"
SCRIPTS = sorted((ROOT / "docker").glob("*.sh"))


class Instruction(NamedTuple):
    name: str
    text: str


@pytest.fixture(scope="module")
def dockerfile() -> list[Instruction]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines()]


def variables(dockerfile: list[Instruction]) -> dict[str, str]:
    words = [word for name, text in dockerfile if name == "ENV" for word in shlex.split(text)]
    return dict(word.split("=", 1) for word in words)


def volumes(dockerfile: list[Instruction]) -> list[Path]:
    return [Path(path) for name, text in dockerfile if name == "VOLUME" for path in json.loads(text)]


def test_the_base_can_be_chosen_and_its_tensorrt_is_the_one_of_the_pins(dockerfile: list[Instruction]) -> None:
    assert dockerfile[0].name == "ARG" and dockerfile[1] == ("FROM", "${BASE}")
    assert dockerfile[0].text == "BASE=nvcr.io/nvidia/tensorrt:26.05-py3"
    assert "\ntensorrt==10.16.1.11\n" in (ROOT / "constraints-cuda.txt").read_text()


def test_the_scripts_are_there_and_can_be_run(dockerfile: list[Instruction]) -> None:
    text = " ".join(text for _, text in dockerfile)
    named = re.findall(rf"{SOURCE}(docker/[\w.]+)", text)
    assert {"docker/install.sh", "docker/environments.sh", "docker/health.py"} == set(named)
    for script in SCRIPTS:
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", str(script)], check=True)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"docker", "plugins", "scenarios", "benchfw", "tools"} & set(ignored)


def test_it_does_not_run_as_root(dockerfile: list[Instruction]) -> None:
    users = [text for name, text in dockerfile if name == "USER"]
    assert users == ["benchfw"] and "useradd" in " ".join(text for _, text in dockerfile)
    after = dockerfile[dockerfile.index(Instruction("USER", "benchfw")) :]
    assert not [text for name, text in after if name == "RUN" and re.search(r"apt-get|chmod|chown|install\.sh", text)]


def test_what_is_written_lies_in_volumes_that_any_user_may_write(dockerfile: list[Instruction]) -> None:
    env, kept = variables(dockerfile), volumes(dockerfile)
    caches = {name for name in env if "CACHE" in name}
    assert caches >= {"BENCHFW_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME"}
    assert not [name for name in caches if not any(Path(env[name]).is_relative_to(volume) for volume in kept)]
    assert Path(env["TORCHINDUCTOR_CACHE_DIR"]) == Path(env["BENCHFW_CACHE"]) / "frameworks/inductor"
    (place,) = (Path(text) for name, text in dockerfile if name == "WORKDIR")
    assert {place / "results", place / "models"} < set(kept), "benchfw writes results into the current folder"
    (opened,) = re.findall(r"chmod 1777 (.*)", " ".join(text for name, text in dockerfile if name == "RUN"))
    assert {*map(str, kept), env["HOME"], env["BENCHFW_ENVIRONMENTS"]} <= set(opened.split())


def test_its_health_is_what_the_doctor_says(dockerfile: list[Instruction]) -> None:
    (check,) = (text for name, text in dockerfile if name == "HEALTHCHECK")
    assert check.endswith(f'CMD ["python", "{SOURCE}docker/health.py"]')
    assert '"benchfw", "doctor"' in (ROOT / "docker/health.py").read_text()


def test_no_health_is_asked_for_while_a_run_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "benchfw", 'echo "asked $*"; exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BENCHFW_LOCKS", str(tmp_path / "locks"))
    command = [sys.executable, str(ROOT / "docker/health.py")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def ask() -> tuple[int, str]:
        run = subprocess.run(command, env=environ, capture_output=True, text=True)
        return run.returncode, run.stdout

    assert ask() == (1, "asked doctor\n")
    with Devices(cpus()).taken(wait=False, shared=False, notify=print):
        code, told = ask()
    assert code == 0 and told.endswith("is measuring\n")


# --- what is installed ----------------------------------------------------------------------------------------------


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def installed(tmp_path: Path, device: str, tensorrt: str) -> tuple[list[str], str]:
    """Run install.sh with a pip that only says what it was asked for; return that, and the pins that it had."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    program(bin_ / "pip", f'echo "$*" >>{tmp_path}/asked; test -s "$PIP_CONSTRAINT"')
    module = f"PYTHONPATH={tmp_path} exec {sys.executable} "
    venv = f'*venv*) echo "$*" >>{tmp_path}/asked; for last; do :; done; mkdir -p $last/bin; cp {bin_}/pip $last/bin;;'
    program(bin_ / "python3", f'case "$*" in {venv} *) {module} "$@";; esac')
    (tmp_path / "tensorrt.py").write_text(f"__version__ = {tensorrt!r}\n")
    environ = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    command = [str(ROOT / "docker/install.sh"), str(tmp_path / "venv"), device]
    run = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return (tmp_path / "asked").read_text().splitlines(), (tmp_path / "venv/constraints.txt").read_text()


def test_pip_brings_no_tensorrt_beside_that_of_the_image(tmp_path: Path) -> None:
    asked, pins = installed(tmp_path, "cuda", "10.16.1.11")
    assert asked[0].startswith("-m venv --system-site-packages")
    assert "./plugins/torch[cuda,models]" in asked[1] and "./plugins/onnxruntime[cuda,optimize,images]" in asked[1]
    assert "./plugins/tensorrt" in asked[1].split(), "its extras bring a TensorRT"
    assert asked[1].count("./plugins/") == len(list(ROOT.glob("plugins/*/pyproject.toml")))
    assert asked[2].endswith("--no-deps torch-tensorrt")
    assert "tensorrt" not in asked[3]
    assert "tensorrt==10.16.1.11" in pins.splitlines() and "torch-tensorrt==2.12.1" in pins.splitlines()


def test_torch_tensorrt_is_left_out_where_it_is_for_another_tensorrt(tmp_path: Path) -> None:
    asked, pins = installed(tmp_path, "cuda", "11.2.1.2")
    assert len(asked) == 2 and "torch-tensorrt" not in pins
    assert "tensorrt==11.2.1.2" in pins.splitlines()


def test_without_a_gpu_it_installs_what_runs_on_the_cpu(tmp_path: Path) -> None:
    asked, pins = installed(tmp_path, "cpu", "10.16.1.11")
    assert len(asked) == 2 and "./plugins/torch[cpu,models]" in asked[1]
    assert set(pins.splitlines()) < set((ROOT / "constraints.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("tensorrt", "kept"), [("10.16.1.11", True), ("10.16.2.0", True), ("10.15.1.29", False), ("11.0.0.114", False)]
)
def test_the_pins_are_those_of_the_file_but_for_tensorrt(tensorrt: str, kept: bool) -> None:
    given = (ROOT / "constraints-cuda.txt").read_text().splitlines()
    found = dict(line.split("==") for line in constrained(given, tensorrt))
    wanted = dict(line.split("==") for line in given if not line.startswith("#"))
    own = {"tensorrt", "tensorrt-cu13", "tensorrt-cu13-bindings", "tensorrt-cu13-libs"}
    assert {name for name in wanted if found.get(name) != wanted[name]} == {
        *(own if tensorrt != "10.16.1.11" else ()),
        *(() if kept else ("torch-tensorrt",)),
    }
    assert {found[name] for name in own} == {tensorrt}
    assert normal("tensorrt_rtx_cu13") in {normal(name) for name in found}


def test_an_image_without_tensorrt_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-S", str(ROOT / "docker/constraints.py"), str(ROOT / "constraints-cuda.txt")]
    run = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert run.returncode == 1 and run.stdout == ""
    assert "there is no TensorRT in this image" in run.stderr and "--tensorrt VERSION" in run.stderr


@pytest.mark.parametrize("fails", [0, 1])
def test_the_second_tensorrt_may_be_missing(tmp_path: Path, fails: int) -> None:
    program(tmp_path / "benchfw", f'echo "$*" >{tmp_path}/asked; exit {fails}')
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    script = str(ROOT / "docker/environments.sh")
    run = subprocess.run([script, "11.4.0.106"], env=environ, capture_output=True, text=True)
    assert run.returncode == 0 and len(run.stderr.splitlines()) == fails
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("env create trt11") and "tensorrt-cu13==11.4.0.106" in asked
    (tmp_path / "asked").unlink()
    subprocess.run([script, ""], env=environ, check=True)
    assert not (tmp_path / "asked").exists()
