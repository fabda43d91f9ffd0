"""`kafka-ingest metrics`: lag, rows, dead letters, freshness and runs for Prometheus."""

from __future__ import annotations

import importlib.util
import os
from functools import partial

import click

from kafka_ingest.checks import metric_families as families
from kafka_ingest.checks.metrics import StreamMetrics
from kafka_ingest.cli.bounded_looks import BoundedLooks, Subject
from kafka_ingest.cli.clients import open_clients
from kafka_ingest.cli.interrupts import Interrupts
from kafka_ingest.cli.options import KEY_PREFIX_OPTION, streams_named
from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.names import Names
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings

# Prometheus gives a scrape ten seconds where nothing else is said.
SCRAPE_SECONDS = 8.0
# Less, so that the reason is known in time where it is Kafka.
KAFKA_SECONDS = 6.0
# A script waits until the whole ledger is summed up.
ONCE_SECONDS = 300.0
# Several scrapers, or a person beside them, do not multiply the work.
KEEP_SECONDS = 5.0


class ListenType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on only
    """`HOST:PORT`; an IPv6 address in brackets."""

    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        host, _, port = str(value).rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535
        if not host or not is_port or ("[" in host or "]" in host):
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464", param, ctx)
        return host, int(port)


@click.command()
@click.argument("stream_name", metavar="[STREAM]", required=False)
@click.option(
    "--listen",
    type=ListenType(),
    default="127.0.0.1:9464",
    show_default=True,
    help="Where to answer scrapes. Without password and TLS: other machines only see it where you name another address.",
)
@click.option("--once", is_flag=True, help="Print what a scrape would get, and end; exit code 1 where a look failed.")
@click.option(
    "--no-partitions", is_flag=True, help="Leave the metrics of each Kafka partition out, for streams with thousands."
)
@KEY_PREFIX_OPTION
def metrics(
    stream_name: str | None, listen: tuple[str, int], once: bool, no_partitions: bool, key_prefix: tuple[str, ...]
) -> None:
    """Serve metrics of streams to Prometheus.

    Looks at Kafka, the ledger and, where DAGSTER_HOME is set, at Dagster's storage when it is scraped; reads only. Needs the
    extra `metrics`: pip install 'kafka-ingest[metrics]'.
    """
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError("metrics need the package prometheus-client: pip install 'kafka-ingest[metrics]'")
    # Not at the top: the package above may be missing.
    from kafka_ingest.cli.metrics_server import exposition, serve

    streams = streams_named(stream_name)
    names = Names.with_prefix(key_prefix)
    settings = Settings.from_environment()
    with open_clients(settings) as (metadata, sink):
        subjects = []
        for stream in streams.values():
            watched = StreamMetrics(
                stream, metadata, sink, settings, has_partitions=not no_partitions, kafka_seconds=KAFKA_SECONDS
            )
            subjects.append(Subject(f"stream {stream.name}", watched.look, partial(_up, stream.name)))
        if os.environ.get("DAGSTER_HOME"):
            # Not at the top: Dagster takes seconds to load.
            from kafka_ingest.orchestration.run_metrics import RunMetrics

            subjects.append(Subject("Dagster", RunMetrics(streams.values(), names).look, _dagster_up))
        within = ONCE_SECONDS if once else SCRAPE_SECONDS
        looks = BoundedLooks(subjects, within_seconds=within, keep_seconds=KEEP_SECONDS, say=_say)
        if once:
            click.echo(exposition(looks.samples), nl=False)
            if looks.has_failed():
                raise click.exceptions.Exit(1)
            return
        with Interrupts():
            serve(looks.samples, *listen, ready=_say)


def _up(stream: str, value: float) -> families.Sample:
    return families.UP.sample(stream, value=value)


def _dagster_up(value: float) -> families.Sample:
    return families.DAGSTER_UP.sample(value=value)


def _say(text: str) -> None:
    click.echo(redact(text), err=True)
