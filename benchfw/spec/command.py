"""Commands that plugins add to the command line."""

from __future__ import annotations

from dataclasses import dataclass

from benchfw.spec.info import NamedInfo


@dataclass(frozen=True, kw_only=True)
class CommandInfo(NamedInfo):
    """A command, `benchfw NAME`. `factory` names a `click.Command`, imported when the command is called.

    Its callback returns an exit code, and raises errors of `benchfw.errors` for the user to see.
    """
