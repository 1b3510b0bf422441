"""The command line. Data goes to stdout, everything else to stderr; commands import their work when they run."""

from __future__ import annotations

import io
import sys

import click

import benchfw
from benchfw.cli.text import discard, open_streams, printable, say
from benchfw.errors import BenchfwError, PluginError
from benchfw.plugins import forget, load_class, registry

_PIPE_CLOSED = 141
"""Whoever read our output stopped: what a shell says of a program that SIGPIPE ended."""


class _Commands(click.Group):
    """The commands of all plugins. A command's module is imported when it is called, not for the help of the group."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(registry().commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        info = registry().commands.get(cmd_name)
        if info is None:
            return None
        command = load_class(info)
        if not isinstance(command, click.Command):
            raise PluginError(f"the command {cmd_name!r} is {type(command).__name__}, not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if commands := registry().commands:
            with formatter.section("Commands"):
                formatter.write_dl([(name, printable(info.summary)) for name, info in commands.items()])


def _trace_plugins(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:  # before the command is looked up, which is what discovers plugins
        registry(trace=lambda text: say(f"plugins: {text}"))
        ctx.call_on_close(forget)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(benchfw.__version__, prog_name="benchfw")
@click.option(
    "--trace-plugins",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_trace_plugins,
    help="Say on stderr which plugins are found and what their hooks do.",
)
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
