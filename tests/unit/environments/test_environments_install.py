"""Which command brings a backend into an environment: what the plugins here register, on many machines."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest

from benchfw.environments import Environment, managed
from benchfw.environments.install import Installer, asked_after, choice_of
from benchfw.plugins import Registry
from benchfw.spec import BuiltFor, Bundle, Wants
from benchfw.spec.backend import BackendInfo

THERE = Environment(name="there", python="/p/python")
PIP = "/p/python -m pip install"
ORT13, ORT12 = "'onnxruntime-gpu[cuda,cudnn]>=1.28'", "'onnxruntime-gpu[cuda,cudnn]>=1.21,<1.27'"
CUDA13 = "cuda-bindings>=12.6"
BINDINGS, BINDINGS12 = f"'{CUDA13}'", f"'{CUDA13},<13'"


def installer(registry: Registry, environment: Environment = THERE, **more: Any) -> Installer:
    given = {"python": "3.12.4", "packages": {}, "modules": ["pip"], "cuda": 13, **more}
    infos = registry.backends.values()
    return Installer(
        **{
            **given,
            "environment": environment,
            "modules": frozenset(given["modules"]),
            "built_for": tuple(each for info in infos for each in info.built_for),
        }
    )


@pytest.mark.parametrize(
    ("name", "machine", "line"),
    [
        ("ort-cuda", {}, f"{PIP} {ORT13} {BINDINGS}"),
        ("ort-cuda", {"cuda": None}, f"{PIP} {ORT13} {BINDINGS}"),
        ("ort-cuda", {"cuda": 12}, f"{PIP} {ORT12} {BINDINGS12}"),
        ("ort-cuda", {"python": "3.10.13"}, f"{PIP} {ORT12} {BINDINGS12}"),
        ("ort-cuda", {"packages": {"onnxruntime-gpu": "1.24.4"}}, f"{PIP} {ORT12} {BINDINGS12}"),
        ("ort-cuda", {"packages": {"onnxruntime-gpu": "1.27.0"}}, f"{PIP} {ORT13} {BINDINGS}"),
        (
            "ort-cuda",
            {"packages": {"tensorrt": "10.16.1.11"}},
            f"{PIP} 'onnxruntime-gpu[cuda,cudnn]>=1.28,>=1.31,<1.32' {BINDINGS}",
        ),
        (
            "ort-cuda",
            {"packages": {"tensorrt": "11.4.0.106", "nvidia-cudnn-cu13": "9.20.0.48"}},
            f"{PIP} 'onnxruntime-gpu[cuda,cudnn]>=1.28,>=1.28,<1.32' {BINDINGS}",
        ),
        (
            "ort-cuda",
            {"packages": {"onnxruntime": "1.31.1"}},
            f"/p/python -m pip uninstall -y onnxruntime && {PIP} {ORT13} {BINDINGS}",
        ),
        ("ort-cuda", {"cuda": 11}, "a newer driver: ort-cuda wants one that serves CUDA 12, this one serves CUDA 11"),
        ("ort-cuda", {"python": "3.9.1"}, "an environment of Python >=3.11 or >=3.10: benchfw env create --help"),
        (
            "ort-tensorrt",
            {},
            f"{PIP} 'onnxruntime-gpu[cuda,cudnn]>=1.31,<1.32' 'tensorrt-cu13>=10.15,<11' {BINDINGS}",
        ),
        ("ort-tensorrt", {"cuda": 12}, f"{PIP} {ORT12} 'tensorrt-cu12>=10.15,<11' {BINDINGS12}"),
        ("ort-cpu", {}, f"{PIP} 'onnxruntime>=1.20'"),
        ("ort-cpu", {"packages": {"onnxruntime-gpu": "1.17.1"}}, f"{PIP} 'onnxruntime-gpu>=1.20'"),
        ("trt-static", {}, f"{PIP} 'tensorrt-cu13>=10.15' {BINDINGS}"),
        ("trt-dynamic", {"cuda": 12}, f"{PIP} 'tensorrt-cu12>=10.15' {BINDINGS12}"),
        (
            "trt-static",
            {"packages": {"onnxruntime-gpu": "1.31.1"}},
            f"{PIP} 'tensorrt-cu13>=10.15,==10.*' {BINDINGS}",
        ),
        ("trt-static", {"modules": ["pip", "tensorrt"]}, f"{PIP} {BINDINGS}"),
        ("trt-rtx", {"modules": []}, f"uv pip install --python /p/python 'tensorrt-rtx-cu13>=1.5' {BINDINGS}"),
        ("torch-eager", {}, f"{PIP} 'torch>=2.11' 'safetensors>=0.5' {BINDINGS}"),
        ("torch-eager", {"cuda": None}, f"{PIP} 'torch>=2.11' 'safetensors>=0.5'"),
        ("torch-compile", {"cuda": 12}, f"{PIP} 'torch>=2.11' 'safetensors>=0.5'"),
        ("torch-tensorrt", {}, f"{PIP} 'torch-tensorrt>=2.11' 'torch>=2.11' 'safetensors>=0.5' {BINDINGS}"),
        (
            "torch-tensorrt",
            {"packages": {"torch": "2.12.1", "tensorrt-cu13": "10.16.1.11"}},
            f"{PIP} 'torch-tensorrt>=2.11,==2.12.*' 'torch>=2.11' 'safetensors>=0.5' {BINDINGS}",
        ),
        (
            "torch-tensorrt",
            {"packages": {"torch": "2.13.0+cpu"}, "cuda": None},
            f"/p/python -m pip uninstall -y torch && "
            f"{PIP} 'torch-tensorrt>=2.11,==2.13.*' 'torch>=2.11' 'safetensors>=0.5' {BINDINGS}",
        ),
        ("torch-eager", {"packages": {"torch": "2.13.0+cpu"}, "cuda": None}, f"{PIP} 'torch>=2.11' 'safetensors>=0.5'"),
        ("torch-eager", {"packages": {"torch": "2.13.0+cpu"}, "cuda": 12}, f"{PIP} 'torch>=2.11' 'safetensors>=0.5'"),
        ("openvino", {"cuda": None}, f"{PIP} 'openvino>=2025.0'"),
        ("null", {}, ""),
    ],
)
def test_the_command_is_for_the_environment_and_the_driver(
    name: str, machine: dict[str, Any], line: str, registry: Registry
) -> None:
    given = {"which": lambda command: f"/bin/{command}", **machine}
    assert installer(registry, **given).command(registry.backend(name)) == line


def test_what_is_there_and_does_not_work_is_installed_anew(registry: Registry) -> None:
    """Else pip finds it in place."""
    packages = {"tensorrt-cu12": "10.15.1.29", "cuda-bindings": "12.9.1"}
    there = installer(registry, packages=packages, modules=["pip", "tensorrt"], cuda=12)
    line = there.command(registry.backend("trt-static"), anew=True)
    assert line == f"{PIP} --force-reinstall tensorrt-cu12==10.15.1.29 {BINDINGS12}"
    by_uv = installer(registry, modules=[], which=lambda command: "/bin/uv")
    assert by_uv.command(registry.backend("openvino"), anew=True).startswith("uv pip install --python /p/python --rein")


def test_libraries_come_with_extras_or_with_another_build(registry: Registry) -> None:
    packages = {"onnxruntime-gpu": "1.31.1", "torch": "2.13.0+cpu", "safetensors": "0.8.0"}
    there = installer(registry, packages=packages)
    assert there.mending(registry.backend("ort-cuda")) == f"{PIP} {ORT13} {BINDINGS}"
    torch = f"{PIP} 'torch>=2.11' 'safetensors>=0.5' {BINDINGS}"
    assert there.mending(registry.backend("torch-eager")) == f"/p/python -m pip uninstall -y torch && {torch}"
    # a build for CPUs whose version does not say so
    there = installer(registry, packages={**packages, "torch": "2.13.0"})
    assert there.mending(registry.backend("torch-eager")) == torch.replace("install ", "install --force-reinstall ")


def test_here_a_backend_without_bundles_has_the_command_of_its_plugin(registry: Registry) -> None:
    here = installer(registry, Environment())
    info = BackendInfo(name="x", factory="a:B", accepts=("*",), requires=("x>=1",), install="conda install x")
    assert here.command(info) == "conda install x"
    assert installer(registry).command(info) == f"{PIP} 'x>=1'"
    assert (
        here.command(registry.backend("openvino")) == f"{shlex.quote(sys.executable)} -m pip install 'openvino>=2025.0'"
    )


def test_an_environment_of_ours_is_made_once_more_with_the_libraries(
    registry: Registry, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path))
    asked = ("onnxruntime-gpu==1.31.1", "tensorrt-cu13==10.16.1.11", "other")
    managed.folder_of("ours").mkdir()
    managed.Managed(name="ours", python="3.12.4", requirements=asked, tool="", created="").write()
    ours = Environment(name="ours", python=str(managed.python_of("ours")))
    packages = {"onnxruntime-gpu": "1.31.1", "tensorrt-cu13": "10.16.1.11"}
    line = installer(registry, ours, packages=packages).command(registry.backend("ort-tensorrt"))
    assert shlex.split(line)[6:][1::2] == [*asked, "onnxruntime-gpu[cuda,cudnn]>=1.31,<1.32", CUDA13]

    managed.Managed(name="ours", python="3.12.4", requirements=("torch==2.13.0+cpu",), tool="", created="").write()
    line = installer(registry, ours, packages={"torch": "2.13.0+cpu"}).command(registry.backend("torch-tensorrt"))
    assert shlex.split(line)[6:][1::2] == ["torch-tensorrt>=2.11,==2.13.*", "torch>=2.11", "safetensors>=0.5", CUDA13]

    managed.Managed(name="ours", python="3.12.4", requirements=("onnxruntime", "x"), tool="", created="").write()
    line = installer(registry, ours, packages={"onnxruntime": "1.31.1"}).command(registry.backend("ort-cuda"))
    assert shlex.split(line)[6:][1::2] == ["x", "onnxruntime-gpu[cuda,cudnn]>=1.28", CUDA13]


def test_wishes_that_contradict_what_is_asked_for_are_left_out() -> None:
    def built(version: str, wants: str) -> BuiltFor:
        other = Wants(distributions=("lib",), versions=wants, text="", remedy="")
        return BuiltFor(distribution="fast", versions=version, wants=(other,))

    infos = BackendInfo(name="x", factory="a:B", accepts=("*",), bundles=(Bundle(packages=("fast>=2", "lib>=5")),))
    for there, line in (
        ({"lib": "3.1"}, "'fast>=2' 'lib>=5'"),
        ({"lib": "6.0"}, "'fast>=2,==3.*' 'lib>=5'"),
        ({"fast": "1.2"}, "'fast>=2' 'lib>=5'"),
        ({"fast": "3.2"}, "'fast>=2' 'lib>=5,<7,>=6'"),
    ):
        made = Installer(
            environment=THERE,
            python="3.12.1",
            packages=there,
            modules=frozenset({"pip"}),
            built_for=(built("==1.*", "<4"), built("==3.*", "<7,>=6")),
        )
        assert made.command(infos) == f"{PIP} {line}"


def test_what_commands_depend_on_is_asked_after(registry: Registry) -> None:
    names = asked_after(registry.backends.values())
    assert {"onnxruntime-gpu", "tensorrt-cu12", "torch-tensorrt", "tensorrt-cu13-bindings"} <= names
    assert choice_of("a>=1 | b>=1", {"a": None, "b": "0.5"}) == "b>=1"
