"""`benchfw completion`."""

from __future__ import annotations

import click

_PROGRAM = "benchfw"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the script that lets SHELL complete commands, options, scenarios, backends and runs.

    \b
    bash: add to ~/.bashrc:  eval "$(benchfw completion bash)"
    zsh:  add to ~/.zshrc:   eval "$(benchfw completion zsh)"
    fish: benchfw completion fish > ~/.config/fish/completions/benchfw.fish
    """
    from click.shell_completion import get_completion_class

    from benchfw.cli import cli

    complete = get_completion_class(shell)
    assert complete is not None
    print(complete(cli, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE").source())
    return 0
