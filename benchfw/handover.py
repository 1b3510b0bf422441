"""What workers may import: copied into a folder of its own, which is all that they see of benchfw and its plugins."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path

from benchfw.errors import PluginError

NO_NUMPY = 121
"""Exit code of a worker whose interpreter has no numpy."""

_CORE = ("__init__.py", "errors.py", "spec", "worker")
_PARENT_ONLY = ("hooks.py",)
_MAIN = f"""\
import sys
from importlib.util import find_spec

if find_spec("numpy") is None:
    sys.exit({NO_NUMPY})

from benchfw.worker.main import main

main()
"""


def hand_over(folder: Path, factories: Iterable[str]) -> Path:
    """Copy into `folder` the code that workers need, and only that code.

    Workers may run on another interpreter, which must not see this one's site-packages with their compiled
    modules. So they get the worker-safe part of benchfw and the whole package of each plugin that they serve.

    Args:
        folder: An empty folder.
        factories: `package.module:Class` of what the workers will import, or a `package`.

    Raises:
        PluginError: A plugin's package is not to be found.
    """
    core = Path(__file__).parent
    for name in _CORE:
        _copy(core / name, folder / "benchfw" / name)
    for package in sorted({package_of(factory) for factory in factories}):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise PluginError(f"the package {package!r} of a plugin is not to be found")
        origin = Path(spec.origin)
        source = origin.parent if spec.submodule_search_locations else origin
        target = folder.joinpath(*package.split("."))
        _copy(source, target if source.is_dir() else target.with_suffix(".py"))
    (folder / "__main__.py").write_text(_MAIN, encoding="utf-8")
    return folder


def package_of(factory: str) -> str:
    """Return the package to hand over for a factory: a plugin's top level, or benchfw's own sub-package."""
    parts = factory.partition(":")[0].split(".")
    return ".".join(parts[:2]) if parts[0] == "benchfw" else parts[0]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc", *_PARENT_ONLY)
        shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True, copy_function=_copy_file)
    else:
        _copy_file(str(source), str(target))


def _copy_file(source: str, target: str) -> str:
    """Copy a file; with a module goes its bytecode, which each worker would otherwise compile anew.

    Bytecode names the time and size of its source, which the copy keeps, and other interpreters look for other files.
    """
    if source.endswith(".py") and sys.pycache_prefix is None:
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            if not sys.dont_write_bytecode:
                SourceFileLoader("", source).get_code("")  # caches it, unless it is there
            bytecode = Path(importlib.util.cache_from_source(source)).read_bytes()
            cached = Path(importlib.util.cache_from_source(target))
            cached.parent.mkdir(exist_ok=True)
            cached.write_bytes(bytecode)
    return shutil.copy2(source, target)
