"""Installs bindings of TensorRT into a folder, over stubs of the libraries that they link.

The bindings need nine symbols of three libraries. Stubs that answer null let them be imported: enums, classes and
docstrings are those of TensorRT, and subclasses can be made. `Builder` and `Runtime` then fail as they do in an
installation whose libraries do not fit together.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PINS = Path(__file__).with_name("pins.txt")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
PACKAGE = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
"""What the distribution `tensorrt-cu13` adds, which brings the libraries too and is none of the package index's own."""


def pins() -> dict[str, str]:
    """Return the requirements by version, as `10.16.1`."""
    lines = [line for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    return {line.partition("==")[2].rpartition(".")[0]: line for line in lines}


def compiler() -> str:
    """Return a C compiler; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        pytest.skip("no C compiler (cc, gcc, clang) for the stubs of TensorRT's libraries")
    return found


def install(requirement: str, folder: Path) -> None:
    """Install bindings of TensorRT into a folder, as the package `tensorrt`, without libraries.

    Skips the test where no package index offers them; with BENCHFW_NEED_INDEX it fails.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(folder)]
    environ = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    run = subprocess.run([*command, requirement], env=environ, capture_output=True, text=True, timeout=120)
    if run.returncode and os.environ.get("BENCHFW_NEED_INDEX"):
        pytest.fail(f"{requirement} cannot be installed: {run.stderr[-500:]}")
    if run.returncode:
        pytest.skip(f"no package index offers {requirement}; BENCHFW_NEED_INDEX=1 makes this a failure")
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.py").write_text(PACKAGE)


def make_libraries(major: str, folder: Path) -> Path:
    """Compile the stubs of one TensorRT into a folder and return it."""
    folder.mkdir()
    source = folder / "stubs.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        options = ["-shared", "-fPIC", "-nostartfiles", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run([compiler(), *options], check=True, capture_output=True, timeout=60)
    return folder
