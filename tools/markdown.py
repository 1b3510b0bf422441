"""Markdown that the generated pages are made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):\n\n?((?: {4}.*\n?|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+): ", re.MULTILINE)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(items: Iterable[str]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{item}`" for item in items)


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: the sections of Google's style become lists."""
    return _SECTION.sub(_list, inspect.cleandoc(docstring or "") + "\n").strip() + "\n"


def _list(section: re.Match[str]) -> str:
    title = section[1].replace("Args", "Arguments")
    entries = _ENTRY.sub(r"- `\1`: ", inspect.cleandoc(section[2]))
    return f"{title}:\n\n" + re.sub(r"^ {4}", "  ", entries, flags=re.MULTILINE) + "\n\n"
