"""`kafka-ingest`: what an operator does beside Dagster's UI. Every command's module is imported when it runs."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from kafka_ingest.cli.lazy import LazyCommand, LazyGroup
from kafka_ingest.cli.working_folder import use_working_folder

COMMANDS = {
    "init": LazyCommand(
        "kafka_ingest.cli.init.command", "init", "Write a Dagster project of your own, with a stream and its test."
    ),
    "new-stream": LazyCommand(
        "kafka_ingest.cli.new_stream.command",
        "new_stream",
        "Write the module of a stream from a sample of its topic, or check it later.",
    ),
    "demo": LazyCommand(
        "kafka_ingest.cli.demo.command", "demo", "Show everything at work: servers, Dagster, a producer."
    ),
    "local": LazyCommand(
        "kafka_ingest.cli.local", "local", "Start and stop Kafka and MySQL on this machine, without Docker."
    ),
    "produce": LazyCommand("kafka_ingest.cli.produce", "produce", "Send sample messages to a stream's topic."),
    "status": LazyCommand(
        "kafka_ingest.cli.status", "status", "Show where streams stand: log, ledger, consumer group, lag."
    ),
    "ingest": LazyCommand(
        "kafka_ingest.cli.ingest", "ingest", "Run one ingestion of a stream now, without the daemon."
    ),
    "backfill": LazyCommand("kafka_ingest.cli.backfill", "backfill", "Load a stretch of a stream again, in place."),
    "dead-letters": LazyCommand(
        "kafka_ingest.cli.dead_letters", "dead_letters", "See the messages that could not become rows, and replay them."
    ),
    "trace": LazyCommand(
        "kafka_ingest.cli.trace", "trace_command", "Show where a row came from: Kafka position, ledger, Dagster run."
    ),
    "find": LazyCommand(
        "kafka_ingest.cli.find", "find_command", "Show what became of a message: why is a row missing?"
    ),
    "metrics": LazyCommand("kafka_ingest.cli.metrics", "metrics", "Serve metrics of streams to Prometheus."),
    "doctor": LazyCommand(
        "kafka_ingest.cli.doctor.command", "doctor", "Check settings, Kafka, the database and Dagster."
    ),
}

# They start servers, or need none.
_WITHOUT_SERVERS = ("init", "demo", "local")


@click.group(
    cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(package_name="kafka-ingest")
@click.pass_context
def cli(context: click.Context) -> None:
    """Kafka topics in, database tables out.

    Kafka is found by KAFKA_BOOTSTRAP_SERVERS and any other librdkafka property as KAFKA_..., the database by
    KAFKA_INGEST_DATABASE_URL, in the environment or in the file .env of this folder. Where neither is named, the servers that
    `kafka-ingest demo` or `kafka-ingest local up` runs in this folder are taken.
    """
    use_working_folder(Path.cwd(), os.environ, sys.path)
    # access: the folder may be somebody else's.
    if context.invoked_subcommand not in _WITHOUT_SERVERS and os.access(".local", os.R_OK | os.X_OK):
        # Imported here: it brings the clients of Kafka and the database.
        from kafka_ingest.cli.local_servers import use_local_servers

        if (taken := use_local_servers(Path.cwd(), os.environ)) is not None:
            click.echo(taken, err=True)
    # librdkafka's chatter about connections: what matters of it comes back as an error.
    logging.getLogger("kafka_ingest.kafka").addHandler(logging.NullHandler())
