"""`kafka-ingest trace`: which message, which load and which run a row came from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

import click

from kafka_ingest.checks.trace import LoadedBy, Traced, stream_of_table, trace, traced_document
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.options import streams_named
from kafka_ingest.errors import ConfigError
from kafka_ingest.settings import MonitoringSettings, Settings
from kafka_ingest.sinks.registry import open_sink

_FATES = {
    "row": "is a row",
    "tombstone": "was deleted by a tombstone",
    "dead_letter": "is a dead letter",
    "no_row": "is no row of this table now",
}


@click.command("trace")
@click.argument("table")
@click.argument("key")
@json_option("Print one JSON array.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rows at most.")
def trace_command(table: str, key: str, is_json: bool, limit: int) -> None:
    """Show where a row came from: Kafka position, ledger, Dagster run.

    KEY is topic[partition]@offset, or column=value (several with commas), or the business key of a table that has one:

    \b
        kafka-ingest trace announcement a17
        kafka-ingest trace information 'information[0]@1234'
        kafka-ingest trace information id=n42

    Run links need KAFKA_INGEST_DAGSTER_URL. Reads only.
    """
    stream, target = stream_of_table(streams_named(None), table)
    with closing(open_sink(Settings.from_environment().database_url)) as sink:
        found = trace(sink, stream, target, key, limit=limit)
    if is_json:
        print_json(
            json.dumps([traced_document(each, table, MonitoringSettings.from_environment().run_link) for each in found])
        )
    else:
        for each in found:
            _print(each, MonitoringSettings.from_environment())
    if not found:
        raise ConfigError(f"nothing in table {table} is named {key!r}")


def _print(traced: Traced, known: MonitoringSettings) -> None:
    key = "" if traced.key is None else ", ".join(f"{n}={v}" for n, v in traced.key.items()) + "  "
    element = "" if traced.index is None else f"[{traced.index}]"
    click.secho(f"{key}{traced.position}{element} {_FATES[traced.fate]}", bold=True)
    if traced.timestamp is not None:
        click.echo(f"  Kafka timestamp {traced.timestamp:%Y-%m-%d %H:%M:%S.%f} UTC")
    if traced.error is not None:
        click.echo(f"  {traced.error}")
    if not traced.loads:
        click.echo("  not in the ledger: this position has not been loaded")
    print_loads(traced.loads, known)


def print_loads(loads: Sequence[LoadedBy], known: MonitoringSettings) -> None:
    """Every load of a position, the newest first, with its run and the run's page."""
    for number, each in enumerate(loads):
        when = f"{each.loaded_at:%Y-%m-%d %H:%M:%S} UTC"
        said = (
            f"{each.kind} load of offsets [{each.start},{each.end}), {each.rows} rows, {each.dead_letters} dead letters"
        )
        click.echo(f"  {'loaded' if not number else 'before'} {when}: {said}")
        click.echo(f"         run {each.run_id}" + (f", window {each.window}" if each.window else ""))
        url = known.run_link(each.run_id)
        if url is not None:
            click.echo(f"         {url}")
