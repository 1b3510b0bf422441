"""`benchfw schema`."""

from __future__ import annotations

import click


@click.command()
def command() -> int:
    """Print the JSON Schema of scenario files, for editors."""
    from benchfw.cli.console import print_json
    from benchfw.scenario.schema import Scenario

    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Scenario.model_json_schema()}
    print_json(schema)
    return 0
