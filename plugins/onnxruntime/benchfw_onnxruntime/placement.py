"""How many nodes of a graph each provider has. Runs in workers."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import onnxruntime as ort

VERBOSE = 0
"""Level of logging at which ONNX Runtime says where it placed nodes."""
_ERRORS = 2
"""The descriptor that ONNX Runtime writes its log to."""
_PLACED = re.compile(r"(?:All nodes|Node\(s\)) placed on \[(\w+)\]\. Number of nodes: (\d+)")
"""What it says, from 1.17 on at least; its own tools read these lines as well."""


def assigned(session: ort.InferenceSession) -> dict[str, int] | None:
    """Return the nodes of each provider as a session tells them; None before 1.24, which cannot tell them.

    The session is to be made with `session.record_ep_graph_assignment_info`.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    nodes: Counter[str] = Counter()
    for graph in session.get_provider_graph_assignment_info():  # of a provider that compiles nothing one for each node
        nodes[graph.ep_name] += sum(1 for _ in graph.get_nodes())
    return dict(nodes)


def logged(make: Callable[[], Any]) -> dict[str, int]:
    """Return the nodes of each provider as the log of a new session has them.

    They are those of the graph as it will run: copies between devices count, and what a provider has compiled into one
    node counts as one. Anything that the process writes to its standard error meanwhile is lost.

    Args:
        make: Makes the session, with the level `VERBOSE`.

    Raises:
        ValueError: The log does not say it.
    """
    with tempfile.TemporaryFile() as file:
        kept = os.dup(_ERRORS)
        os.dup2(file.fileno(), _ERRORS)
        try:
            make()
        finally:
            os.dup2(kept, _ERRORS)
            os.close(kept)
        file.seek(0)
        nodes: Counter[str] = Counter()
        for line in file:
            for provider, count in _PLACED.findall(line.decode(errors="replace")):
                nodes[provider] += int(count)
    if not nodes:
        raise ValueError(f"the log of onnxruntime {ort.__version__} does not say where nodes were placed")
    return dict(nodes)
