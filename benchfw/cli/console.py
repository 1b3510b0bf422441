"""Tables and messages on stdout."""

from __future__ import annotations

import codecs
import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from benchfw.cli.text import json_printable, printable

_WIDTH = 140
_UNLIMITED = 10_000


class _Console(Console):
    """Sends a terminal no controls but rich's own, whatever is printed."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text
            if not segment.control and not text.isprintable():
                segment = segment._replace(text="\n".join(map(printable, text.split("\n"))))
            yield segment


def make_console() -> Console:
    """Return a console on stdout: as wide as the terminal, or fixed elsewhere, and plain there."""
    width = None if sys.stdout.isatty() else _WIDTH
    return _Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def literal(value: object, style: str | Style = "", *, lines: bool = False) -> Text:
    """Return text for a console as it stands: neither markup nor what would act on a terminal; see `printable`."""
    return Text(printable(value, lines=lines), style=style)


def simple_table(*columns: str, title: str = "", right: Collection[str] = ()) -> Table:
    """Return a table without frames, its head underlined; columns in `right` are aligned there."""
    table = Table(
        show_edge=False, pad_edge=False, box=None, title=literal(title, "bold") if title else None, title_justify="left"
    )
    for name in columns:
        table.add_column(name, header_style="underline", justify="right" if name in right else "left")
    return table


def fitting(rows: Sequence[Mapping[str, str]], width: int, optional: Sequence[str]) -> list[str]:
    """Return the columns of a table with these cells that a width has room for.

    Args:
        rows: Cells by the names of their columns, at least one row.
        width: In characters.
        optional: Columns that may go, the first one first.
    """
    names = list(rows[0])
    for name in optional:
        widths = [max(len(column), *(len(row[column]) for row in rows)) for column in names]
        if sum(widths) + 2 * len(widths) <= width + 2:
            break
        names = [column for column in names if column != name]
    return names


def print_table(console: Console, *tables: Table) -> None:
    """Print a table: of several, whose columns do not wrap, the first one that is not too wide, or the last.

    What does not go to a terminal gets the first one, as wide as it is; without the blanks that pad its lines.
    """
    unlimited = console.options.update(max_width=_UNLIMITED)
    widths = [Measurement.get(console, unlimited, table).maximum for table in tables]
    if console.is_terminal:
        fit = [table for table, width in zip(tables, widths) if width <= console.width]
        console.print((*fit, tables[-1])[0])
        return
    before, console.width = console.width, max(console.width, widths[0] if len(tables) > 1 else 0)
    with console.capture() as capture:
        console.print(tables[0])
    console.width = before
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_json(value: Any) -> None:
    """Print JSON that any reader and any terminal takes: not-a-number and infinities become null."""
    ascii_only = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    print(json_printable(json.dumps(_clean(value), indent=1, ensure_ascii=ascii_only, default=str)))


def _clean(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
