"""`kafka-ingest init`: a Dagster project with a stream of one's own."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from kafka_ingest.cli.init.project import package_name, write_project
from kafka_ingest.cli.json_output import json_option, print_json

# What a person types next, in the project's folder; each with why.
_NEXT = (
    ("pip install -e '.[dev]'", "the project into this environment, with pytest and dg"),
    ("pytest", "what becomes of messages; needs no server"),
    ("install -m 600 .env.example .env", "then name your Kafka and your database in .env"),
    ("kafka-ingest doctor", "can they be reached, and may we do what a run does?"),
    ("dagster dev", "the UI is at http://127.0.0.1:3000"),
)


@click.command()
@click.argument("path", type=click.Path(file_okay=False, path_type=Path), default=Path())
@json_option("Print one JSON object and nothing else.")
def init(path: Path, is_json: bool) -> None:
    """Write a Dagster project of your own, with a stream and its test, into the folder PATH.  [default: this folder]

    It runs once its settings name your servers. Its Python package has the folder's name. Nothing is written over.
    """
    folder = path.resolve()
    package = package_name(folder)
    written = write_project(folder, package)
    here = Path.cwd()
    steps = [] if folder == here else [(f"cd {shlex.quote(os.path.relpath(folder, here))}", "")]
    steps += _NEXT
    if is_json:
        commands = [command for command, _ in steps]
        print_json(json.dumps({"path": str(folder), "package": package, "files": written, "next": commands}))
        return
    click.echo(f"Wrote {len(written)} files to {path}: the package {package}, with the stream orders. Next:")
    width = max(len(command) for command, _ in steps)
    for command, why in steps:
        click.echo(f"  {command:{width}}  # {why}" if why else f"  {command}")
