"""What workers import, they can import in an environment that has numpy and what is required, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchfw.handover import hand_over
from benchfw.plugins import Registry
from benchfw.requirements import distributions

KINDS = ("backend", "model source", "step", "format", "sampler")
"""What is imported in workers; executors and commands run in the parent."""
PACKAGES = {
    "cuda-bindings": "cuda",
    "nvidia-ml-py": "pynvml",
    "onnxruntime-gpu": "onnxruntime",
    "tensorrt-rtx-cu13": "tensorrt_rtx",
}
"""Packages of distributions, where the names differ by more than a dash."""
EITHER_OF_SEVERAL = {"trt-static", "trt-dynamic", "TrtEngineFromOnnx", "WeakTrtEngineFromOnnx"}
"""What takes TensorRT from one of several distributions, which `requires` cannot say."""
WORKER = '''
import importlib, importlib.abc, importlib.machinery, json, sys, traceback, types
import numpy

class Kind(type):
    """Whatever is asked of a framework is a class, so that it can be inherited from, called and compared."""
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Kind(name, (), {})
    def __call__(cls, *given, **named):
        return Kind("made", (), {})
    def __iter__(cls):
        return iter(())

class Framework(types.ModuleType):
    __path__, __version__, __file__ = [], "99.0", "somewhere"
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Kind(name, (), {})

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("numpy", *ours):
            return None
        if top in required:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        raise ModuleNotFoundError(f"workers have no {name!r}", name=name)
    def create_module(self, spec):
        return Framework(spec.name)
    def exec_module(self, module):
        pass

ours, factories = json.loads(sys.argv[1])
sys.meta_path.insert(0, Finder())
kept, failures = set(sys.modules), {}
for factory, required in factories:
    module, _, name = factory.partition(":")
    try:
        getattr(importlib.import_module(module), name)
    except BaseException:
        failures[factory] = traceback.format_exc()
    for left in set(sys.modules) - kept:
        if left.partition(".")[0] in (*ours, *required):
            del sys.modules[left]
print(json.dumps(failures))
'''


def failures(folder: Path, ours: Iterable[str], factories: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Import factories where only the code in `folder`, numpy and empty frameworks are; return what goes wrong."""
    asked = json.dumps([[*ours], [(factory, [*required]) for factory, required in factories]])
    done = subprocess.run(
        [sys.executable, "-c", WORKER, asked],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def required(info: Any) -> set[str]:
    packages = {PACKAGES.get(name, name.replace("-", "_")) for name in distributions(info.requires)}
    return packages | ({"tensorrt"} if info.key in EITHER_OF_SEVERAL else set())


def test_what_workers_import_needs_nothing_that_only_the_parent_has(registry: Registry, tmp_path: Path) -> None:
    """Options are checked by pydantic in the parent: a module of a worker that imports them runs nowhere else."""
    infos = [info for kind in KINDS for info in registry.known(kind).values() if not _of_the_tests(info)]
    assert {"ort-cuda", "trt-static", "torch-eager", "torch-tensorrt", "openvino", "nvml"} <= {i.key for i in infos}
    code = {package for info in infos for package in info.code}
    ours = {"benchfw", *(factory.partition(".")[0] for factory in code)}
    found = failures(hand_over(tmp_path / "code", code), ours, [(info.factory, required(info)) for info in infos])
    assert not found, "\n".join(f"{factory}: {text}" for factory, text in found.items())


SOURCES = {
    "import pydantic": "workers have no 'pydantic'",
    "from plugin_of_a_test.options import X": "workers have no 'pydantic'",
    "import onnx": "workers have no 'onnx'",
    "import torch": "",
    "import json, numpy.linalg": "",
}


def test_it_would_be_seen(tmp_path: Path) -> None:
    package = tmp_path / "plugin_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "options.py").write_text("from pydantic import BaseModel\nclass X(BaseModel): pass\n")
    expected = {}
    for number, (source, words) in enumerate(SOURCES.items()):
        (package / f"backend{number}.py").write_text(f"{source}\nclass Backend: pass\n")
        expected[f"{package.name}.backend{number}:Backend"] = words
    found = failures(tmp_path, [package.name], [(factory, ["torch"]) for factory in expected])
    assert set(found) == {factory for factory, words in expected.items() if words}
    assert all(expected[factory] in text for factory, text in found.items())


def _of_the_tests(info: Any) -> bool:
    return str(info.factory).startswith(("benchfw.testing", "tests."))
