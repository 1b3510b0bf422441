"""What the code that workers get imports, read from its source, and which packages that needs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from importlib.util import resolve_name
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchfw.handover import package_of
from benchfw.requirements import alternatives

_CORE = ("benchfw.errors", "benchfw.spec")
_PARENT_ONLY = "benchfw.spec.hooks"
_MISSING = ("ImportError", "ModuleNotFoundError", "Exception")


def import_names(requires: Iterable[str], *, dependencies: bool = False) -> set[str]:
    """Return the top-level modules of the packages that requirements name: `cv2` for `opencv-python-headless`.

    Args:
        requires: Requirements; what is not installed here is taken to have a module of its name.
        dependencies: Those of the packages that they depend on too.
    """
    found: set[str] = set()
    todo = [(Requirement(choice), "") for text in requires for choice in alternatives(text)]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found and dependencies:
            for needed in _requirements_of(name):
                todo += [(needed, extra) for extra in ("", *requirement.extras)]
        found.add(name)
    modules = {module: {canonicalize_name(owner) for owner in owners} for module, owners in _owners().items()}
    absent = found - {name for owners in modules.values() for name in owners}
    return {module for module, owners in modules.items() if found & owners} | {
        name.replace("-", "_") for name in absent
    }


def unknown_imports(code: Path, factory: str, requires: Iterable[str], imports: Iterable[str] = ()) -> list[str]:
    """Return the imports that a worker is not sure to have, as `FILE:LINE imports NAME`.

    Followed from the module of a backend through its own package. A worker has the standard library, numpy,
    `benchfw.spec`, `benchfw.errors`, and what `requires` installs. An import in a `try` that catches its failure, or
    for type checkers alone, is none.

    Args:
        code: The folder of a worker's code.
        factory: `package.module:Class` of the backend.
        requires: Its requirements, which are installed.
        imports: Packages of other plugins that are handed over with its own, and not followed: their own kit does that.
    """
    known = {*sys.stdlib_module_names, "numpy", *imports, *import_names(requires, dependencies=True)}
    own, start = package_of(factory), factory.partition(":")[0]
    found, seen, todo = [], set(), [start]
    while todo:
        module = todo.pop()
        file = _file(code, module) if _is_in(module, own) else None
        if module in seen or file is None:
            continue
        seen.add(module)
        todo.append(module.rpartition(".")[0])  # the packages that it lies in are imported before it
        for line, names in _imports(file, module):
            if _is_in(names[0], own):
                todo += names
            elif not _are_given(names, known):
                found.append(f"{file.relative_to(code)}:{line} imports {names[0]}")
    return sorted(found)


@cache
def _owners() -> Mapping[str, list[str]]:
    """Return the distributions of every top-level module; that takes a while."""
    return metadata.packages_distributions()


def _requirements_of(name: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _are_given(names: list[str], known: set[str]) -> bool:
    if not _is_in(names[0], "benchfw"):
        return names[0].partition(".")[0] in known
    core = any(_is_in(name, part) for name in names for part in _CORE)
    return core and not any(_is_in(name, _PARENT_ONLY) for name in names)


def _file(code: Path, module: str) -> Path | None:
    path = code.joinpath(*module.split("."))
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if module and file.is_file()), None)


def _imports(file: Path, module: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line of each import, the module, and below it what may be a module."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    todo: list[ast.AST] = [ast.parse(file.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, [alias.name]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield node.lineno, [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
        elif isinstance(node, ast.Try) and any(map(_catches, node.handlers)):
            todo += [*node.handlers, *node.orelse, *node.finalbody]
        else:
            todo += ast.iter_child_nodes(node)


def _catches(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler is for a module that is not there."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in _MISSING for kind in kinds)
