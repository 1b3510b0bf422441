"""JSON Schemas of options and scenario tables in a few words, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
_ANYTHING = "anything"
_NO_DEFINITIONS: Mapping[str, Any] = {}


def rows(model: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of every property of an object's schema."""
    definitions = model.get("$defs", _NO_DEFINITIONS)
    model = definitions.get(_target(model), model)  # a model that contains itself is among its own definitions
    for name, value in model.get("properties", {}).items():
        kind = kind_of(value, definitions)
        default = "" if value.get("default") is None or "table" in kind else json.dumps(value["default"])
        yield name, kind, "required" if name in model.get("required", []) else default, value.get("description", "")


def kind_of(value: Mapping[str, Any], definitions: Mapping[str, Any] = _NO_DEFINITIONS) -> str:
    """Describe the schema of one value; a reference that is not among `definitions` is a table."""
    if "$ref" in value:
        name = _target(value)
        others = {key: item for key, item in definitions.items() if key != name}  # or one in itself would never end
        return kind_of(definitions[name], others) if name in definitions else "table"
    if "oneOf" in value:
        return "table"
    if "gt" in value:
        return "duration"
    if "anyOf" in value:
        kinds = (kind_of(item, definitions) for item in value["anyOf"] if item.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in value or "const" in value:
        return ", ".join(json.dumps(item, ensure_ascii=False) for item in value.get("enum", [value.get("const")]))
    kind = value.get("type", _ANYTHING)
    if kind == "array":
        return _list(value, definitions)
    if kind == "object":
        inner = value.get("additionalProperties")
        of = kind_of(inner, definitions) if isinstance(inner, Mapping) else _ANYTHING
        return "table" if of in ("table", _ANYTHING) else f"table of {of}"
    limits = [f"{sign} {value[key]}" for key, sign in _BOUNDS.items() if key in value]
    return " ".join([" or ".join(kind) if isinstance(kind, list) else kind, ", ".join(limits)]).strip()


def _list(value: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in value:
        return f"list of {', '.join(kind_of(item, definitions) for item in value['prefixItems'])}"
    inner = value.get("items")
    of = kind_of(inner, definitions) if isinstance(inner, Mapping) else _ANYTHING
    return "list" if of == _ANYTHING else f"list of {of}"


def _target(value: Mapping[str, Any]) -> str:
    return str(value.get("$ref", "")).rpartition("/")[2]
