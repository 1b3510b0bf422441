"""Prints what a TensorRT has, as JSON. Run by an interpreter that can import it, with its name and those of classes."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from typing import Any


def describe(module: str, names: Sequence[str]) -> dict[str, Any]:
    """Return version, members of every enum, and the attributes of some classes with their docstrings."""
    trt = importlib.import_module(module)
    enums = {name: list(kind.__members__) for name, kind in vars(trt).items() if hasattr(kind, "__members__")}
    classes = {}
    for name in names:
        kind = getattr(trt, name, None)
        if inspect.isclass(kind):
            attributes = [attribute for attribute in dir(kind) if attribute[0] != "_" or attribute == "__init__"]
            classes[name] = {attribute: getattr(kind, attribute).__doc__ or "" for attribute in attributes}
    return {"version": trt.__version__, "enums": enums, "classes": classes}


if __name__ == "__main__":
    print(json.dumps(describe(sys.argv[1], sys.argv[2:])))
