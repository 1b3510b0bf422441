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
    from benchfw.cli.text import printable, say
    from benchfw.store.files import path_argument
    from benchfw.templates import write_plugin

    _refuse_taken(name)
    folder = write_plugin(name, out)
    print(printable(folder))
    say(f"next: cd {path_argument(folder)} && pip install -e '.[runtime,test]' && pytest")
    return 0


def _refuse_taken(name: str) -> None:
    """Refuse a name that would make a plugin broken, or hide another one, as soon as it is installed.

    Raises:
        UsageError: It is that of a backend, a distribution or a package that is here already.
    """
    from importlib import metadata, util

    from benchfw.errors import UsageError
    from benchfw.plugins import registry

    found = registry()
    distribution, package = f"benchfw-{name}", f"benchfw_{name.replace('-', '_')}"
    if name in found.backends:
        taken = f"a backend of {found.owners[f'backend {name}']} is called {name!r}"
    elif any(item.name.replace("_", "-").lower() == distribution for item in metadata.distributions()):
        taken = f"the distribution {distribution!r} is installed"
    elif package.isidentifier() and util.find_spec(package):
        taken = f"there is a package {package!r} already"
    else:
        return
    raise UsageError(f"the name is taken: {taken}", hint="choose another name")
