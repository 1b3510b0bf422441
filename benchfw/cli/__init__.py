"""The command line. Data goes to stdout, everything else to stderr; commands import their work when they run."""

from __future__ import annotations

import importlib
import io
import sys

import click

import benchfw
from benchfw.cli.text import discard, open_streams, say
from benchfw.errors import BenchfwError

_PIPE_CLOSED = 141
"""Whoever read our output stopped: what a shell says of a program that SIGPIPE ended."""

_COMMANDS = {
    "init": "Write a scenario for a model, to start from.",
    "run": "Run a scenario and store its results.",
    "plan": "Show what a run would do, without doing it.",
    "time": "Time one model on one backend, without a scenario file.",
    "show": "Show the results of a run.",
    "results": "List, remove and export results.",
    "backends": "List backends, model sources and steps, and what they lack.",
    "schema": "Print the JSON Schema of scenario files.",
    "completion": "Print the script for completion in a shell.",
}


class _Commands(click.Group):
    """Imports a command's module when it is called; the help of the group needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"benchfw.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(benchfw.__version__, prog_name="benchfw")
def cli() -> None:
    """Benchmark neural-network inference on many backends, with numbers that can be defended.

    Start with: benchfw run scenarios/res18.toml
    """


def main() -> None:
    """Entry of the program: every error of ours becomes a message, a hint and an exit code."""
    open_streams()
    try:
        code = _run()
        sys.stdout.flush()
    except OSError as error:
        code = _PIPE_CLOSED if isinstance(error, BrokenPipeError) else BenchfwError.exit_code
        if code != _PIPE_CLOSED:
            say(f"error: {error}")
        discard(sys.stdout)
    sys.exit(code)


def _run() -> int:
    try:
        code: int = cli.main(standalone_mode=False)
    except BenchfwError as error:
        say(f"error: {error.message}", lines=True)
        if error.hint:
            say(f"hint: {error.hint}", lines=True)
        code = error.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        for line in shown.getvalue().rstrip("\n").split("\n"):
            say(line)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        code = 130
    except SystemExit as end:  # what click and rich make of a closed pipe, with a code that means something else here
        code = _PIPE_CLOSED if end.code else 0  # a shell that asked for completions gets 0
    return code
