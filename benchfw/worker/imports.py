"""What a worker imports when it is asked to: classes of plugins; and which versions it would import."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from benchfw.errors import BuildFailed, MissingDependency


def load_class(path: str) -> Any:
    """Import `package.module:Class`.

    Raises:
        MissingDependency: A package is not installed, or cannot be imported here.
        BuildFailed: It is the plugin's own package, or benchfw, that lacks something: all there is was handed over.
    """
    module, _, name = path.partition(":")
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] in (module.partition(".")[0], "benchfw"):
            reason = f"the plugin's factory {path!r} cannot be imported: workers have no module {missing!r}"
            raise BuildFailed(reason) from error
        raise MissingDependency(f"{module} needs the package {missing!r}, which is not installed") from error
    except ImportError as error:  # a shared library of the framework, or another version of it
        raise MissingDependency(f"{module} cannot be imported: {error}") from error
    try:
        return getattr(imported, name)
    except AttributeError as error:
        raise BuildFailed(f"the plugin's factory {path!r} cannot be imported: {module} has no {name!r}") from error


def is_there(module: str) -> bool:
    """Say whether there is a module of this name; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # what sys.modules has of it is no ordinary module
        return module in sys.modules


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution; None if it is not there."""
    from importlib import metadata  # takes longer to import than all of this package

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
