"""V05: nodes, or all of a case, that ran on another provider or in another precision than what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchfw.errors import FellBack
from benchfw.measure.member import Member

_HINT = "ask for the provider that is meant"


def check(member: Member) -> None:
    """Compare what was loaded with what was asked for; what differs and is allowed to is a warning.

    Raises:
        FellBack: No node runs on the provider that was asked for, and that is not allowed.
    """
    info = member.case.session.info
    tell_departures(member)
    check_nodes(member, info.provider if info else "")


def tell_departures(member: Member) -> None:
    """Warn once of each thing that is in effect instead of what was asked for; what is not allowed has raised."""
    assert member.instance is not None
    told = {row["message"] for row in member.warnings}
    for text in member.session.departures(member.instance.facts):
        message = f"{text}, which `allow_fallback` lets count"
        if message not in told:
            member.warn("V05", 0, 1, message)


def check_nodes(member: Member, provider: str) -> None:
    """Compare the providers of the graph's nodes with the one that was asked for.

    Raises:
        FellBack: None of them runs there, and that is not allowed.
    """
    assert member.instance is not None
    nodes, unknown = _counts(member.instance.facts), member.instance.facts.get("nodes_unknown")
    if provider and unknown and not nodes:
        member.warn("V05", None, None, f"which nodes run on {provider} is not known: {unknown}")
    elsewhere = {name: count for name, count in nodes.items() if name != provider and count}
    if not provider or not elsewhere:
        return
    text = ", ".join(f"{count} on {name}" for name, count in sorted(elsewhere.items()))
    total = sum(nodes.values())
    if not nodes.get(provider):
        allowed = member.case.session.entry.allow_fallback
        if allowed and member.instance.facts.get("provider_effective") not in (None, "", provider):
            return  # that is the same departure, which the backend names itself
        member.warn("V05", 0, 1, f"V05: no node runs on {provider}, but {text}")
        if allowed:
            return
        raise FellBack(f"V05: no node runs on {provider}, but {text}", hint=_HINT)
    share = nodes[provider] / total
    member.warn("V05", share, 1.0, f"only {nodes[provider]} of {total} nodes run on {provider}, {text}")


def effective_provider(facts: Mapping[str, Any]) -> Any:
    """Return the provider that computes: the one that the backend names, or where no node runs there that of most."""
    named, nodes = facts.get("provider_effective"), _counts(facts)
    most = max(nodes, key=lambda name: nodes[name], default="")
    return most if named is not None and nodes.get(most) and not nodes.get(named) else named


def _counts(facts: Mapping[str, Any]) -> dict[str, int]:
    nodes = facts.get("nodes")
    if not isinstance(nodes, Mapping):
        return {}
    return {str(name): count for name, count in nodes.items() if type(count) is int and count >= 0}
