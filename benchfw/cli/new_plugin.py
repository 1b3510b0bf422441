"""`benchfw new-plugin`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to write it.  [default: benchfw-NAME]"
)
def command(name: str, out: Path | None) -> int:
    """Write a distribution with a backend called NAME: plugin, options, backend, test, README, CI file.

    Its tests pass as they are. Then put your runtime into its backend.py.
    """
    from benchfw.cli.text import say
    from benchfw.templates import write_plugin

    folder = write_plugin(name, out)
    print(folder)
    say(f"next: cd {folder} && pip install -e '.[runtime,test]' && pytest")
    return 0
