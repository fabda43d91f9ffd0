"""`kafka-ingest status`: log, ledger, consumer group and lag of every partition."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress

import click
from rich.console import Group
from rich.live import Live

from kafka_ingest.cli.clients import open_clients
from kafka_ingest.cli.console import make_console
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.options import NumberType, streams_named
from kafka_ingest.cli.status_state import StreamStatus, gather
from kafka_ingest.cli.status_view import as_table, statuses_json
from kafka_ingest.errors import RetryableError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.stream import Stream


@click.command()
@click.argument("stream_name", metavar="[STREAM]", required=False)
@json_option("Print one JSON object; with --watch, one a line.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=NumberType(min=0.2, max=3600),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
def status(stream_name: str | None, is_json: bool, watch: bool, interval: float) -> None:
    """Show where streams stand: log, ledger, consumer group, lag.

    The ledger in the database counts; the consumer group follows it. Reads only.
    """
    streams = streams_named(stream_name)
    settings = Settings.from_environment()
    with open_clients(settings) as (metadata, sink):
        if watch:
            _watch(streams, metadata, sink, settings, is_json, interval)
            return
        found = look(streams, metadata, sink, settings)
    if is_json:
        print_json(json.dumps(statuses_json(found)))
        return
    console = make_console()
    for each in found:
        console.print(as_table(each))


def look(streams: Mapping[str, Stream], metadata: KafkaMetadata, sink: Sink, settings: Settings) -> list[StreamStatus]:
    """All these streams, now."""
    now = dt.datetime.now(dt.timezone.utc)
    return [gather(stream, metadata, sink, settings, now=now) for stream in streams.values()]


def _watch(
    streams: Mapping[str, Stream],
    metadata: KafkaMetadata,
    sink: Sink,
    settings: Settings,
    is_json: bool,
    interval: float,
) -> None:
    """A server that is away for a while does not end it; the first look has to work."""
    found = look(streams, metadata, sink, settings)
    live = None if is_json else Live(console=make_console(), auto_refresh=False)
    with live or nullcontext(), suppress(KeyboardInterrupt):
        while True:
            if live is None:
                print_json(json.dumps(statuses_json(found)))
            else:
                live.update(Group(*(as_table(each) for each in found)), refresh=True)
            time.sleep(interval)
            try:
                found = look(streams, metadata, sink, settings)
            except RetryableError as error:
                click.echo(redact(str(error)), err=True)
