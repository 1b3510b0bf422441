"""The torch-tensorrt that is made up as a package that workers find, and its backend registered for the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.torch_trt import fake_torch_tensorrt

NAME = "torch-tensorrt-here"
PLUGIN = "torch_tensorrt_on_cpu"

_SOURCE = f"""
from dataclasses import replace

from benchfw.spec.hooks import hookimpl
from benchfw_torch_tensorrt import plugin


@hookimpl
def benchfw_register_backends():
    (info,) = plugin.benchfw_register_backends()
    able = replace(info.capabilities, precisions=("fp32", "fp16", "bf16"), devices=("cpu",))
    return [replace(info, name={NAME!r}, capabilities=able)]
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the package and a plugin that has its backend run on the CPU; return the plugin's module.

    Args:
        folder: Where.
        monkeypatch: Takes the paths back.
    """
    path = Path(str(fake_torch_tensorrt.__file__))
    for name, text in {
        "torch_tensorrt/__init__.py": path.read_text(),
        "torch_tensorrt-2.13.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: torch-tensorrt\nVersion: 2.13.0\n",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / f"{PLUGIN}.py").write_text(_SOURCE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(str(folder))
    return PLUGIN
