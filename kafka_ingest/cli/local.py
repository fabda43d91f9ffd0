"""`kafka-ingest local`: real Kafka and MySQL on this machine, for a demo."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kafka_ingest.cli.errors import presented
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.local_options import DATABASE_OPTION, KAFKA_OPTION, ROOT_OPTION
from kafka_ingest.cli.local_servers import how_to_reach
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.stack import LocalStack
from kafka_ingest.sinks.registry import local_server


@click.group()
def local() -> None:
    """Start and stop Kafka and MySQL on this machine, without Docker."""


@local.command()
@ROOT_OPTION
@KAFKA_OPTION
@DATABASE_OPTION
@click.option("--registry", is_flag=True, help="A schema registry too (Apicurio Registry, with Confluent's API).")
@json_option("Print one JSON object and nothing else.")
def up(root: Path, kafka: str, database: str, registry: bool, is_json: bool) -> None:
    """Start a broker and a database, or find them running, and print how to reach them."""
    try:
        stack = LocalStack.up(
            root,
            kafka=kafka,
            database=database,
            registry=registry,
            progress=lambda line: click.echo(line, err=True),
            server_of=local_server,
        )
    except LocalServerError as error:
        raise presented(error) from error
    if is_json:
        keys = ("kafka_bootstrap_servers", "database_url", "schema_registry_url", "lines")
        print_json(json.dumps({key: getattr(stack, key) for key in keys}))
        return
    for line in (*stack.lines, *how_to_reach(stack, root)):
        click.echo(line)


@local.command()
@ROOT_OPTION
def down(root: Path) -> None:
    """Stop the servers under ROOT; their data stay."""
    try:
        stopped = LocalStack.down(root)
    except LocalServerError as error:
        raise presented(error) from error
    click.echo(f"Stopped {', '.join(stopped)}" if stopped else "Nothing was running")
