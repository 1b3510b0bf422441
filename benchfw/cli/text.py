"""Text for terminals and files. Names, reasons and messages come from files, plugins and workers: none may act here."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unicodedata
from typing import TextIO

_ACTIVE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, formats (they turn the direction of writing, or are not seen), halves of characters, line separators."""


def printable(value: object, *, lines: bool = False) -> str:
    """Return text in which whatever a terminal would act on is shown as an escape, like `\\x1b`.

    Args:
        value: The text.
        lines: Keep line breaks; those after the first are indented, so that none looks like a line of ours.
    """
    text = str(value)
    if lines:
        return "\n    ".join(printable(line) for line in text.split("\n"))
    if text.isprintable():
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _ACTIVE else char for char in text)


def json_printable(text: str, *, ascii_only: bool = False) -> str:
    """Return a JSON text with the same escaped as JSON does it, and all else beyond ASCII if asked for.

    Its own line breaks stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _json_escaped(char)
        if char != "\n" and (unicodedata.category(char) in _ACTIVE or (ascii_only and not char.isascii()))
        else char
        for char in text
    )


def open_streams() -> None:
    """Let stdout and stderr take any text: what their encoding lacks becomes an escape; closed ones swallow it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object, *, lines: bool = False) -> None:
    """Print a message on stderr; that nobody can read it is no reason to stop."""
    try:
        print(printable(text, lines=lines), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Drop what a stream has not written and will be given, or the interpreter fails on it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # a test's stream has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _json_escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
