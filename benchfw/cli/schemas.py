"""JSON Schemas of options and scenario tables in a few words, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}


def rows(model: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of every property of an object's schema."""
    for name, value in model.get("properties", {}).items():
        kind = kind_of(value)
        default = "" if value.get("default") is None or "table" in kind else json.dumps(value["default"])
        yield name, kind, "required" if name in model.get("required", []) else default, value.get("description", "")


def kind_of(value: Mapping[str, Any]) -> str:
    """Describe the schema of one value."""
    if "$ref" in value or "oneOf" in value:
        return "table"
    if "gt" in value:
        return "duration"
    if "anyOf" in value:
        return " or ".join(kind_of(item) for item in value["anyOf"] if item.get("type") != "null")
    if "enum" in value or "const" in value:
        return ", ".join(f'"{item}"' for item in value.get("enum", [value.get("const")]))
    if value["type"] == "array":
        return f"list of {kind_of(value['items'])}"
    if value["type"] == "object":
        return "table"
    limits = [f"{sign} {value[key]}" for key, sign in _BOUNDS.items() if key in value]
    return " ".join([value["type"], ", ".join(limits)]).strip()
