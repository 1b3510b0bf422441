"""The profile of a case by layer: taken after its timing, in a worker that times nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.artifacts.graph import GraphFacts, NodeFacts, graph_facts
from benchfw.errors import BuildFailed, CaseError, Unsupported
from benchfw.measure.member import Member
from benchfw.measure.subject import Subject
from benchfw.spec.layers import WARMUP
from benchfw.spec.operators import macs
from benchfw.worker.protocol import Message

_FACTOR = 20
"""How many times the latency an inference may take while it is profiled, before the worker is given up."""
_FUSED = 3
"""So many nodes at most a runtime puts behind another one into one layer: bias, sum, activation."""


def profile(member: Member, subject: Subject) -> None:
    """Profile a case whose timing is over; what goes wrong is a warning, as its number stands.

    The worker is another one than that of the timing: sessions with counters, hooks and traces leave traces in a
    process, and later cohorts are timed in the old one.
    """
    try:
        answer = _ask(member, subject)
    except CaseError as error:
        reason = error.message + (f" ({error.hint})" if error.hint else "")
        member.warn("P01", None, None, f"not profiled: {reason}")
        return
    graph = _graph(member, subject)
    member.layers = layer_rows(answer, graph, {"case_id": member.case.case_id, "cohort": member.case.cohort_id})


def _ask(member: Member, subject: Subject) -> Message:
    """Let a worker of its own profile the case.

    Raises:
        CaseError: The backend does not profile, or what it does goes wrong.
    """
    case, settings = member.case, member.settings
    info = case.session.info
    assert info is not None
    if not info.capabilities.profiles:
        raise Unsupported(f"{info.name} does not profile")
    if case.sequence is not None:
        raise Unsupported("a mixture of sizes is not profiled", hint="profile a case of one shape")
    session = member.session.companion()
    try:
        instance = session.instance(case, lambda: subject.make(case, member.build))
        files = subject.inputs.files(member.sizes_at(0))
        session.ask("bind", settings.load_s, instance=instance.key, slot=0, files=files)
        latency_s = member.order.expected_ns(0) / 1e9
        deadline = settings.load_s + _FACTOR * latency_s * (WARMUP + settings.profile)
        return session.ask("profile", deadline, instance=instance.key, n=settings.profile)
    finally:
        session.close()


def _graph(member: Member, subject: Subject) -> GraphFacts | None:
    """Return what the graph of the artifact has to do, if it is one, and note its sums."""
    assert member.instance is not None
    artifact = member.instance.made.artifact
    if artifact.format != "onnx":
        return None
    sizes = member.sizes_at(0)
    try:
        graph = graph_facts(Path(artifact.path), {spec.name: spec.concrete(sizes) for spec in subject.inputs.specs})
    except BuildFailed as error:
        member.warn("P02", None, None, f"operations and bytes of layers are not known: {error.message}")
        return None
    member.graph = {
        "graph_flops": graph.flops,
        "graph_bytes": graph.bytes,
        "graph_parameters": graph.parameters,
    }
    if graph.unknown:
        names = ", ".join(f"{count} {op}" for op, count in sorted(graph.unknown.items()))
        count = sum(graph.unknown.values())
        member.warn("P02", count, 0, f"the operations of the graph are without those of {names}: they are not known")
    return graph


def layer_rows(answer: Message, graph: GraphFacts | None, labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `layers`, the longest first.

    Args:
        answer: To `profile`, as `benchfw.worker.returned.profile` makes it.
        graph: The model's; None if it has none that is known.
        labels: Columns that are the same for all rows.
    """
    layers: list[dict[str, Any]] = answer.values["layers"]
    medians = np.median(answer.arrays["layers"], axis=1)
    total = float(medians.sum())
    inferences = answer.arrays["inferences"]
    common = {
        **labels,
        "n": len(inferences),
        "layers_p50_ns": float(np.median(answer.arrays["layers"].sum(axis=0))),
        "inference_p50_ns": float(np.median(inferences)),
    }
    rows = [common | _row(layer, float(median), total) | _work(layer, graph) for layer, median in zip(layers, medians)]
    return sorted(rows, key=lambda row: -float(row["time_p50_ns"]))


def _row(layer: Mapping[str, Any], median: float, total: float) -> dict[str, Any]:
    shapes = {key: layer[key] for key in ("inputs", "outputs") if layer[key]}
    return {
        "layer": layer["name"],
        "op": layer["op"],
        **{key: layer[key] or None for key in ("provider", "kernel", "precision")},
        "shapes": json.dumps(shapes) if shapes else None,
        "calls": layer["calls"],
        "time_p50_ns": median,
        "share": median / total if total else None,
    }


def _work(layer: Mapping[str, Any], graph: GraphFacts | None) -> dict[str, Any]:
    """Return what a layer has to do: by the nodes that it computes, else by its own shapes."""
    own = macs(layer["op"], layer["inputs"], layer["outputs"])
    nodes = _nodes(layer["nodes"], own, graph) if graph else []
    if not nodes:
        return {"flops": None if own is None else 2 * own * layer["calls"]}
    products = _products(nodes)
    moved = [node.bytes for node in nodes if node.bytes is not None]
    return {
        "nodes": json.dumps([node.name for node in nodes]),
        "flops": None if products is None else 2 * products,
        "bytes": sum(moved) if len(moved) == len(nodes) else None,
        "parameters": sum(node.parameters for node in nodes),
    }


def _nodes(names: Sequence[str], own: int | None, graph: GraphFacts) -> list[NodeFacts]:
    """Return the nodes that a layer computes; none where they multiply more than it does by its own shapes.

    A runtime may name a layer after the last of the nodes that it fused, so that the one which multiplies is found
    further back; and it may multiply more than they do, with channels that fill up a block.
    """
    found = [graph.find(name) for name in names]
    nodes = list({node.name: node for node in found if node is not None}.values())
    if not own:
        return nodes
    for _ in range(_FUSED):
        if not nodes or _products(nodes) != 0:
            break
        before = graph.find(nodes[0].inputs[0]) if nodes[0].inputs else None
        nodes = [before, *nodes] if before is not None else []
    return nodes if 0 < (_products(nodes) or 0) <= own else []


def _products(nodes: Sequence[NodeFacts]) -> int | None:
    """Return the multiply-accumulates of nodes; None if those of one are not known."""
    known = [node.macs for node in nodes if node.macs is not None]
    return sum(known) if len(known) == len(nodes) else None
