"""Prints the pins of a file for an image that has a TensorRT of its own: pip shall bring no other one.

constraints.py FILE [--tensorrt VERSION]

Names under which TensorRT is distributed are pinned to the image's version. torch-tensorrt stays only if it is for that
TensorRT, which a line on stderr says. VERSION is by default that of the module that Python imports here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

TENSORRT = re.compile(r"tensorrt(-cu\d+)?(-(libs|bindings|lean|dispatch))*$")
"""What carries TensorRT's version; TensorRT-RTX and torch-tensorrt are others."""

BRIDGE = "torch-tensorrt"


def constrained(lines: Iterable[str], tensorrt: str) -> Iterator[str]:
    """Yield the lines of a constraints file with another TensorRT.

    Args:
        lines: `NAME==VERSION`, or comments.
        tensorrt: The image's version.
    """
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    own = [name for name in pins if TENSORRT.fullmatch(normal(name))]
    fits = all(release(pins[name]) == release(tensorrt) for name in own)
    for name, version in pins.items():
        if normal(name) == BRIDGE and not fits:
            continue
        yield f"{name}=={tensorrt if name in own else version}"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> list[str]:
    """Return what must agree for torch-tensorrt: the first two numbers."""
    return version.split(".")[:2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tensorrt")
    arguments = parser.parse_args()
    try:
        tensorrt = arguments.tensorrt or str(import_module("tensorrt").__version__)
    except ImportError as error:
        sys.exit(f"there is no TensorRT in this image ({error}): choose another BASE, or say --tensorrt VERSION")
    given = arguments.file.read_text(encoding="utf-8").splitlines()
    lines = list(constrained(given, tensorrt))
    print(*lines, sep="\n")
    if any(line.startswith(f"{BRIDGE}==") for line in {*given} - {*lines}):
        print(f"Without torch-tensorrt: that of {arguments.file} is not for TensorRT {tensorrt}.", file=sys.stderr)


if __name__ == "__main__":
    main()
