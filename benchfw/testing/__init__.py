"""Kit for tests of benchfw and of plugins. Anything of the core may be imported here; nothing of it imports this.

    from benchfw.testing import BackendCase, BackendConformance

The names are imported when they are first used: workers import this package too, and have nothing but numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchfw.testing.conformance import BackendCase as BackendCase
    from benchfw.testing.conformance import BackendConformance as BackendConformance

__all__ = ["BackendCase", "BackendConformance"]

_KIT = "benchfw.testing.conformance"


def __getattr__(name: str) -> Any:
    if name in __all__:
        import pytest

        pytest.register_assert_rewrite(_KIT, "benchfw.testing.bench", "benchfw.testing.checks")
        return getattr(importlib.import_module(_KIT), name)
    raise AttributeError(f"module 'benchfw.testing' has no attribute {name!r}")
