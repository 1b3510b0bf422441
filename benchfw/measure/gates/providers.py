"""V05: nodes that ran on another provider than the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchfw.errors import FellBack
from benchfw.measure.member import Member


def check_nodes(member: Member, provider: str) -> None:
    """Compare the providers of the graph's nodes with the one that was asked for.

    Raises:
        FellBack: None of them runs there.
    """
    assert member.instance is not None
    nodes = _counts(member.instance.facts)
    elsewhere = {name: count for name, count in nodes.items() if name != provider and count}
    if not provider or not elsewhere:
        return
    text = ", ".join(f"{count} on {name}" for name, count in sorted(elsewhere.items()))
    total = sum(nodes.values())
    if not nodes.get(provider):
        member.warn("V05", 0, 1, f"V05: no node runs on {provider}, but {text}")
        raise FellBack(f"V05: no node runs on {provider}, but {text}", hint="ask for the provider that is meant")
    share = nodes[provider] / total
    member.warn("V05", share, 1.0, f"only {nodes[provider]} of {total} nodes run on {provider}, {text}")


def _counts(facts: Mapping[str, Any]) -> dict[str, int]:
    nodes = facts.get("nodes")
    if not isinstance(nodes, Mapping):
        return {}
    return {str(name): count for name, count in nodes.items() if type(count) is int and count >= 0}
