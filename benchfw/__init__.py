"""benchfw: benchmark neural-network inference on many backends, with numbers that can be defended.

    import benchfw
    cases = benchfw.load("results").cases      # a pandas frame, one row per case

The names below are imported when they are first used, because workers import this package too and have
nothing but numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchfw.analysis.compare import compare as compare
    from benchfw.analysis.gate import gate as gate
    from benchfw.executors.local import run_job as run_job
    from benchfw.store.reader import Results as Results
    from benchfw.store.reader import ResultWarning as ResultWarning
    from benchfw.store.reader import load as load

__version__ = "0.1.0"
__all__ = ["ResultWarning", "Results", "__version__", "compare", "gate", "load", "run_job"]

_LAZY = dict.fromkeys(("load", "Results", "ResultWarning"), "benchfw.store.reader") | {
    "compare": "benchfw.analysis.compare",
    "gate": "benchfw.analysis.gate",
    "run_job": "benchfw.executors.local",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'benchfw' has no attribute {name!r}")
