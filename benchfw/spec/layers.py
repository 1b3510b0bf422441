"""What the layers of a model took: the answer of `Backend.profile`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WARMUP = 3
"""Inferences before those that are profiled; they are thrown away, as a session that was just made is slow at first."""


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One layer as the runtime ran it, which may be several nodes of the model in one.

    Attributes:
        name: Its name in the runtime, the same in every inference.
        op: Operator, as the runtime calls it.
        time_ns: Time in each inference, all calls together, in ns.
        calls: Calls in one inference.
        provider: Execution provider that ran it; empty if the runtime has but one.
        kernel: Implementation that the runtime chose, where it says.
        precision: What it computed in: `fp32`, `fp16`, `bf16`, `int8`, or the runtime's word for another.
        inputs, outputs: Shapes, weights included, where the runtime tells them.
        nodes: Names of the nodes of the model, or of their outputs, that this layer computes, where the runtime says.
    """

    name: str
    op: str
    time_ns: Sequence[float]
    calls: int = 1
    provider: str = ""
    kernel: str = ""
    precision: str = ""
    inputs: tuple[tuple[int, ...], ...] = ()
    outputs: tuple[tuple[int, ...], ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """The layers of some inferences.

    Attributes:
        layers: What ran; layers that the runtime left out (folded, fused into another one) are not among them.
        inference_ns: Time of each inference as a whole, by the same clock while it was profiled, in ns.
    """

    layers: tuple[LayerTime, ...]
    inference_ns: Sequence[float]
