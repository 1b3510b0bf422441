"""Threads: how many CPUs there are, and how workers are bound to as many."""

from __future__ import annotations

import os

from benchfw.worker import cgroups

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def thread_variables(threads: int) -> dict[str, str]:
    """Return the variables that bound a worker's thread pools; they must be set before a framework is imported."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, bounded by the quotas of its cgroups, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cpu_quota()
    return cpus if quota is None else max(1, min(cpus, int(quota)))
