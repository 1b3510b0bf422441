"""Where in a TOML file each value stands. `tomllib` forgets it, so the syntax tree is asked when there is a fault."""

from __future__ import annotations

from collections.abc import Iterator

import tomllib

Path = tuple[str | int, ...]


def line_table(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every key path of a well-formed TOML document."""
    import tree_sitter
    import tree_sitter_toml

    language = tree_sitter.Language(tree_sitter_toml.language())
    root = tree_sitter.Parser(language).parse(text.encode()).root_node
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    for node in root.children:
        if node.type == "pair":
            _pair(node, (), lines)
        elif node.type in ("table", "table_array_element"):
            head = _indexed(_keys(node.children[1]), counts)
            if node.type == "table_array_element":
                index = counts.get(head, -1) + 1
                counts[head] = index
                lines.setdefault(head, node.start_point.row + 1)
                head = (*head, index)
            for count in range(1, len(head) + 1):
                lines.setdefault(head[:count], node.start_point.row + 1)
            for child in node.children:
                if child.type == "pair":
                    _pair(child, head, lines)
    return lines


def find_line(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of a path or of the nearest enclosing one."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def _pair(node: object, head: Path, lines: dict[Path, int]) -> None:
    key, value = node.children[0], node.children[2]  # type: ignore[attr-defined]
    keys = _keys(key)
    for count in range(1, len(keys) + 1):  # the tables that a dotted key implies begin where it is first used
        lines.setdefault((*head, *keys[:count]), key.start_point.row + 1)
    path = (*head, *keys)
    _value(value, path, lines)


def _value(node: object, path: Path, lines: dict[Path, int]) -> None:
    children = node.children  # type: ignore[attr-defined]
    if node.type == "inline_table":  # type: ignore[attr-defined]
        for child in children:
            if child.type == "pair":
                _pair(child, path, lines)
    elif node.type == "array":  # type: ignore[attr-defined]
        items = [child for child in children if child.type not in ("[", "]", ",", "comment")]
        for index, child in enumerate(items):
            lines.setdefault((*path, index), child.start_point.row + 1)
            _value(child, (*path, index), lines)


def _keys(node: object) -> Path:
    """Return the parts of a bare, quoted or dotted key."""
    return tuple(_parts(node))


def _parts(node: object) -> Iterator[str]:
    if node.type == "dotted_key":  # type: ignore[attr-defined]
        for child in node.children:  # type: ignore[attr-defined]
            if child.type != ".":
                yield from _parts(child)
    else:
        text = node.text.decode()  # type: ignore[attr-defined]
        yield tomllib.loads(f"key = {text}")["key"] if text[:1] in "\"'" else text


def _indexed(keys: Path, counts: dict[Path, int]) -> Path:
    """Insert the index of the last element wherever a head passes through an array of tables."""
    path: Path = ()
    for place, key in enumerate(keys):
        path = (*path, key)
        if place < len(keys) - 1 and path in counts:
            path = (*path, counts[path])
    return path
