"""`kafka-ingest ingest`: one run of a stream's Dagster job in this process, without the daemon."""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from typing import TYPE_CHECKING, Any

import click

from kafka_ingest.cli.clients import open_clients
from kafka_ingest.cli.errors import FailedCommand
from kafka_ingest.cli.options import RangeType, streams_named
from kafka_ingest.cli.run_progress import RunProgress, loaded_by_run
from kafka_ingest.engine.stream_state import observe
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.orchestration.launching import ranges_config, ranges_tags
from kafka_ingest.orchestration.names import GROUP_TAG, STREAM_TAG, Names
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import OffsetRange, ranges_text
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_of

if TYPE_CHECKING:
    import dagster as dg

INTERRUPTED_EXIT = 130


@click.command()
@click.argument("stream_name", metavar="STREAM")
@click.option("--until-caught-up", is_flag=True, help="End as soon as nothing waits, however long that takes.")
@click.option(
    "--range", "ranges", type=RangeType(), multiple=True, help="Exact offsets to load, the end exclusive. Repeatable."
)
@click.option(
    "--kind",
    type=click.Choice(["live", "backfill"]),
    help="live: ranges continue from the ledger; backfill: load them again.  [default: backfill with --range, else live]",
)
@click.option("--verbose", is_flag=True, help="Show Dagster's own log.")
def ingest(
    stream_name: str, until_caught_up: bool, ranges: tuple[OffsetRange, ...], kind: str | None, verbose: bool
) -> None:
    """Run one ingestion of a stream now.

    The same Dagster job as the sensor's, in this process: it shows up in the UI where DAGSTER_HOME is set. Without
    --until-caught-up a live run lingers for more messages, as the sensor's runs do.
    """
    chosen = kind or ("backfill" if ranges else "live")
    if chosen == "backfill" and not ranges:
        raise click.UsageError("--kind backfill needs --range; whole windows are backfilled from Dagster's UI")
    if chosen == "backfill" and until_caught_up:
        raise click.UsageError("--until-caught-up is for live runs; a backfill ends where its ranges end")
    stream = streams_named(stream_name)[stream_name]
    settings = Settings.from_environment()
    with open_clients(settings) as (metadata, sink):
        before = observe(stream, metadata, sink, settings)
        if not before.topics.partitions:
            raise ConfigError(
                f"stream {stream.name}: no topic matches {stream.topic_text!r} yet; create it, or correct the stream's topics",
                stream=stream.name,
                setting="topics",
            )
        _check_ranges(stream, ranges)
        what = ranges_text(ranges) if ranges else f"{before.lag:,} messages waiting"
        click.echo(f"Ingesting stream {stream.name}, {chosen}: {what}", err=True)
        _run(stream, settings, metadata, sink, chosen, ranges, until_caught_up, verbose)


def _check_ranges(stream: Stream, ranges: tuple[OffsetRange, ...]) -> None:
    partitions = [r.topic_partition for r in ranges]
    if len(set(partitions)) != len(partitions):
        raise click.UsageError("one --range for each Kafka partition; run the command again for another one")
    foreign = [r.topic for r in ranges if not stream.takes_topic(r.topic)]
    if foreign:
        raise click.UsageError(f"stream {stream.name} does not read topic {foreign[0]}; it reads {stream.topic_text}")


def _run(
    stream: Stream,
    settings: Settings,
    metadata: KafkaMetadata,
    sink: Sink,
    kind: str,
    ranges: tuple[OffsetRange, ...],
    until_caught_up: bool,
    verbose: bool,
) -> None:
    # Imported here: Dagster takes seconds.
    import dagster as dg

    job = _job(stream)
    run_id = str(uuid.uuid4())
    now = dt.datetime.now(dt.timezone.utc)
    started = time.monotonic()
    with dg.DagsterInstance.get() if os.environ.get("DAGSTER_HOME") else dg.DagsterInstance.ephemeral() as instance:
        _say_others(instance, stream)
        try:
            with RunProgress(stream, run_id, metadata, sink, settings):
                result = job.execute_in_process(
                    run_config=run_config(stream, ranges, kind, until_caught_up, verbose=verbose),
                    instance=instance,
                    partition_key=window_of(stream, now, now=now),
                    raise_on_error=False,
                    run_id=run_id,
                    tags=ranges_tags(Names(), stream, ranges, kind),
                )
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            _summary(stream, settings, metadata, sink, run_id, started, None)
            click.echo("Interrupted. What is counted above is committed; the next run goes on from there.", err=True)
            raise click.exceptions.Exit(INTERRUPTED_EXIT) from None
    _summary(stream, settings, metadata, sink, run_id, started, result if result.success else None)
    if not result.success:
        raise FailedCommand(f"Run {run_id} failed: {failure_of(result)}")


def _job(stream: Stream) -> dg.JobDefinition:
    from kafka_ingest.definitions import defs

    return defs.resolve_job_def(Names().job(stream))


def run_config(
    stream: Stream, ranges: tuple[OffsetRange, ...], kind: str, until_caught_up: bool, *, verbose: bool
) -> dict[str, Any]:
    """Run config of the stream's job as the sensor makes it, with Dagster's console log quiet unless verbose."""
    config = ranges_config(Names(), stream, ranges, kind, until_caught_up=until_caught_up)
    level = "INFO" if verbose else "CRITICAL"
    return config | {"loggers": {"console": {"config": {"log_level": level}}}}


def _say_others(instance: dg.DagsterInstance, stream: Stream) -> None:
    """Two runs at once are safe, as the ledger is locked, but one of them does the work for nothing."""
    import dagster as dg

    busy = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    tags = [{STREAM_TAG: stream.name}, *([] if stream.group is None else [{GROUP_TAG: stream.group}])]
    others = [run for each in tags for run in instance.get_runs(dg.RunsFilter(tags=each, statuses=busy), limit=1)]
    if others:
        click.echo(f"Run {others[0].run_id[:8]} is loading this stream too; nothing is loaded twice.", err=True)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The first failed step's own words."""
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {error.message.strip()}"
    return "no step says why; run again with --verbose"


def _summary(
    stream: Stream,
    settings: Settings,
    metadata: KafkaMetadata,
    sink: Sink,
    run_id: str,
    started: float,
    result: dg.ExecuteInProcessResult | None,
) -> None:
    seconds = time.monotonic() - started
    loaded = loaded_by_run(sink, stream, run_id)
    lag = observe(stream, metadata, sink, settings).lag
    rate = loaded.messages / max(seconds, 1e-3)
    click.echo(f"Run {run_id}: {loaded.messages:,} messages in {seconds:.1f} s ({rate:,.0f}/s), lag {lag:,}")
    if result is None:
        click.echo(f"  {loaded.rows:,} rows")
    else:
        for table, rows in _rows_by_table(stream, result).items():
            click.echo(f"  {table}: {rows:,} rows")
    click.echo(f"  dead letters: {loaded.dead_letters:,}")


def _rows_by_table(stream: Stream, result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """From the assets' last materializations, which carry the run's totals."""
    from kafka_ingest.orchestration.names import table_key

    names = {table_key(stream, target): target.label for target in stream.targets}
    rows = dict.fromkeys(names.values(), 0)
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        name = names.get(materialization.asset_key)
        if name is not None and "rows" in materialization.metadata:
            rows[name] = int(str(materialization.metadata["rows"].value))
    return rows
