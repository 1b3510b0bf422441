"""Verdicts of a gate on stdout and in files, for every command that has such verdicts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchfw.analysis.gate import exit_code
from benchfw.analysis.runs import records_of
from benchfw.analysis.verdicts import (
    HEAD,
    cells,
    headline,
    junit,
    markdown,
    notes_of,
    reason_lines,
    sorted_rows,
    with_artifact,
)
from benchfw.cli.console import fitting, literal, make_console, print_json, print_table, simple_table
from benchfw.cli.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

_STYLES = {"REGRESSION": "bold red", "IMPROVED": "green", "INCONCLUSIVE": "yellow", "NOT_COMPARABLE": "yellow"}
_RIGHT = ("batch", "baseline", "now", "change", "limit")


def report_verdicts(
    frame: pd.DataFrame,
    *,
    title: str,
    junit_file: str | None = None,
    markdown_file: str | None = None,
    as_json: bool = False,
) -> int:
    """Print verdicts, write the files that were asked for, and return the exit code.

    Args:
        frame: What `benchfw.gate` returns.
        title: The command, as it stands in the files.
        junit_file, markdown_file: Paths, `-` for stdout (in place of the table); None for no such file.
        as_json: Print JSON instead of the table.

    Raises:
        ResultError: A file cannot be written.
    """
    made = [(junit_file, junit(frame, title) if junit_file else ""), (markdown_file, markdown(frame, title))]
    for path, content in made:
        if path not in (None, "-"):
            data = content.encode("utf-8", "backslashreplace")
            write_whole(Path(str(path)), [data], hint="name another file")
    if as_json:
        print_json({"exit_code": exit_code(frame), "verdicts": records_of(frame)})
        return exit_code(frame)
    on_stdout = [content for path, content in made if path == "-"]
    for content in on_stdout:
        sys.stdout.write(content)
    if not on_stdout:
        _print(frame)
    return exit_code(frame)


def _print(frame: pd.DataFrame) -> None:
    console = make_console()
    rows = sorted_rows(frame)
    family = [row for row in rows if row["in_family"]]
    console.print(literal(headline(frame), style="bold"), soft_wrap=True)
    console.print()
    shown = [dict(zip(HEAD, cells(row), strict=True)) for row in family]
    names = fitting(shown, console.width, ("baseline", "now", "artifact"))
    if "artifact" not in names:
        shown = [row | {"backend": with_artifact(row)} for row in shown]
    table = simple_table(*names, right=_RIGHT)
    for column, name in zip(table.columns, names, strict=True):
        column.no_wrap = name != "backend" or "artifact" in names
    for row in shown:
        table.add_row(*(literal(row[name]) for name in names), style=_STYLES.get(row["verdict"], ""))
    print_table(console, table)
    lines = reason_lines(rows) + notes_of(rows)
    if lines:
        console.print()
    for line in lines:
        console.print(literal(line, lines=True), soft_wrap=True)
