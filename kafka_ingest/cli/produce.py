"""`kafka-ingest produce`: sample messages to a stream's topic."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import sys
import threading
import time

import click

from kafka_ingest.cli.options import BAD_RATIO_OPTION, NumberType, streams_named
from kafka_ingest.cli.samples.messages import DEFAULT_TIME, sample_messages
from kafka_ingest.cli.samples.producer import (
    ProduceCounts,
    Timestamps,
    ensure_topic,
    produce_messages,
    timestamps_now,
    timestamps_spread,
    topic_of,
)
from kafka_ingest.settings import Settings

SAMPLE_STREAM = "information"
MAX_COUNT = 10**12
_SAY_SECONDS = 1.0
_MAX_HOURS = 24 * 366.0


class TimestampsType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on only
    """`now`, or `spread:HOURS`: hours before now, 0 for now."""

    name = "now|spread:HOURS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if value == "now":
            return 0.0
        kind, _, text = str(value).partition(":")
        try:
            hours = float(text)
        except ValueError:
            hours = math.nan
        if kind != "spread" or not 0 < hours <= _MAX_HOURS:
            self.fail(f"{value!r} is neither `now` nor `spread:HOURS` with up to {_MAX_HOURS:.0f} hours", param, ctx)
        return hours


@click.command()
@click.argument("stream_name", metavar="[STREAM]", default=SAMPLE_STREAM)
@click.option(
    "--rate",
    type=NumberType(min=0, max=1_000_000),
    default=20.0,
    show_default=True,
    help="Messages a second; 0: as fast as it goes.",
)
@click.option("--count", type=click.IntRange(1, MAX_COUNT), help="How many messages.  [default: until Ctrl-C]")
@BAD_RATIO_OPTION
@click.option("--seed", type=int, help="The same seed gives the same messages.  [default: another each time]")
@click.option("--topic", help="Topic to send to.  [default: the stream's]")
@click.option(
    "--partitions",
    type=click.IntRange(min=1, max=1_000),
    default=4,
    show_default=True,
    help="Partitions of the topic, where it is created.",
)
@click.option(
    "--timestamps",
    "hours",
    type=TimestampsType(),
    default="now",
    show_default=True,
    help="Kafka timestamps of the messages: now, or spread over the last HOURS.",
)
def produce(
    stream_name: str,
    rate: float,
    count: int | None,
    bad_ratio: float,
    seed: int | None,
    topic: str | None,
    partitions: int,
    hours: float,
) -> None:
    """Send sample messages to a stream's topic.

    News and announcements in many languages and date formats, a few of them bad in every way a message can be bad.
    """
    stream = streams_named(stream_name)[stream_name]
    settings = Settings.from_environment()
    target = topic_of(stream, topic)
    if stream_name != SAMPLE_STREAM:
        click.echo(
            f"The samples are made for stream {SAMPLE_STREAM}; most will be dead letters of stream {stream_name}.",
            err=True,
        )
    if not stream.takes_topic(target):
        click.echo(f"Stream {stream_name} does not read topic {target}.", err=True)
    if ensure_topic(settings, target, partitions):
        click.echo(f"Created topic {target} with {partitions} partitions", err=True)
    now = dt.datetime.now(dt.timezone.utc)
    chosen = time.time_ns() if seed is None else seed
    stamps: Timestamps = timestamps_spread(hours, count=count, seed=chosen, now=now) if hours else timestamps_now
    counts = ProduceCounts()
    stop = threading.Event()
    started = time.monotonic()
    try:
        produce_messages(
            settings,
            target,
            itertools.islice(sample_messages(chosen, bad_ratio, time=now if seed is None else DEFAULT_TIME), count),
            rate=rate,
            counts=counts,
            stop=stop,
            timestamps=stamps,
            say=_Teller(target),
        )
    except KeyboardInterrupt:
        click.echo("", err=True)
    seconds = max(time.monotonic() - started, 1e-3)
    click.echo(
        f"Sent {counts.sent:,} messages to {target} in {seconds:.1f} s ({counts.sent / seconds:,.0f}/s): "
        f"{counts.good:,} good, {counts.bad:,} bad"
    )


class _Teller:
    """Says how far it is, on a terminal only, once a second."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._said = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, counts: ProduceCounts) -> None:
        now = time.monotonic()
        if self._is_terminal and now - self._said >= _SAY_SECONDS:
            self._said = now
            click.echo(f"\r{counts.sent:,} messages to {self._topic}, {counts.bad:,} of them bad ", nl=False, err=True)
