"""An example of building on the tables: news items per source and hour, a table made by SQL from `information`.

Copy this module's shape for your own: an asset with `deps` on the tables, the stream's windows as partitions, a statement
that replaces what it wrote for a window before.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of an asset as they stand.

import datetime as dt
import warnings
from collections.abc import Iterable

import dagster as dg
import sqlalchemy as sa

from kafka_ingest.orchestration.automation import AtMostRuns
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.names import STREAM_TAG, Names, table_key
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.orchestration.windows import partitions_of
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.streams.information import Information
from kafka_ingest.streams.model import MICROSECONDS
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.windows import window_bounds

HOUR = dt.timedelta(hours=1)
# Windows that got new rows are counted again at most this often: every run of Dagster's costs seconds of a core.
CRON = "*/5 * * * *"
# And by at most this many runs, however scattered they are.
MOST_RUNS = 10
# Windows that were missed are looked for this often.
SWEEP_CRON = "0 * * * *"

PER_HOUR = sa.Table(
    "information_per_hour",
    sa.MetaData(),
    sa.Column("hour", MICROSECONDS, primary_key=True, comment="start, UTC, by Kafka timestamp"),
    sa.Column("source", sa.String(200), primary_key=True, comment="empty where the item names none"),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("originals", sa.Integer, nullable=False),
    sa.Column("last_published", MICROSECONDS),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mariadb_engine="InnoDB",
    mariadb_charset="utf8mb4",
)


def count_hours(sink: Sink, hours: Iterable[dt.datetime]) -> int:
    """Count the items of these hours (naive UTC) again; rows written. One transaction: repeating it changes nothing."""
    table, written = Information.__table__, 0
    received, source = table.c["_kafka_timestamp"], sa.func.coalesce(table.c.source, "")
    with sink.errors(f"counting into {PER_HOUR.name}"):
        PER_HOUR.create(sink.engine, checkfirst=True)
        with sink.engine.begin() as connection:
            for hour in hours:
                found = (
                    sa.select(
                        sa.literal(hour, MICROSECONDS),
                        source,
                        sa.func.count(),
                        sa.func.coalesce(sa.func.sum(sa.case((table.c.is_original, 1), else_=0)), 0),
                        sa.func.max(table.c.publish_time),
                    )
                    .where(received >= hour, received < hour + HOUR)
                    .group_by(source)
                )
                connection.execute(sa.delete(PER_HOUR).where(PER_HOUR.c.hour == hour))
                names = [c.name for c in PER_HOUR.columns]
                written += connection.execute(sa.insert(PER_HOUR).from_select(names, found)).rowcount
    return written


def hours_of(stream: Stream, windows: Iterable[str]) -> list[dt.datetime]:
    """Starts of the hours in these windows, as the naive UTC our columns hold."""
    hours = []
    for key in windows:
        start, end = (bound.replace(tzinfo=None) for bound in window_bounds(stream, key))
        hours += [start + n * HOUR for n in range((end - start) // HOUR)]
    return hours


def wanted() -> dg.AutomationCondition[dg.AssetKey]:
    """Which windows to count now: those that got rows after they were last asked for; hourly also those whose run failed, and
    those never counted though the table has them (loaded before this sensor first looked, or the run was cancelled).

    "Since newly requested", not "since newly updated": rows that come while a run counts may be missing in its count, and the
    end of that run must not pass for theirs. `any_deps_updated()` would do for most, but does not say when each update was,
    so that one between a request and the next tick is taken for older than the request (Dagster 1.13).
    """
    condition = dg.AutomationCondition
    got_rows = condition.any_deps_match(condition.newly_updated()).since(condition.newly_requested())
    uncounted = condition.missing() & ~condition.any_deps_missing()
    missed = (condition.execution_failed() | uncounted) & condition.cron_tick_passed(SWEEP_CRON)
    due = (got_rows | missed) & condition.cron_tick_passed(CRON) & ~condition.in_progress()
    return AtMostRuns(due, MOST_RUNS)


def items_per_hour(stream: Stream) -> dg.AssetsDefinition:
    """The asset. It follows its input: windows that got rows are counted again, every five minutes, by few runs."""
    with warnings.catch_warnings():
        # `backfill_policy` is still called a beta here; without it a backfill of a day is 24 runs.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _items_per_hour(stream)


def _items_per_hour(stream: Stream) -> dg.AssetsDefinition:
    source = table_key(stream, TargetTable.of(Information))

    @dg.asset(
        key=dg.AssetKey([stream.name, PER_HOUR.name]),
        deps=[source],
        partitions_def=partitions_of(stream),
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=wanted(),
        group_name=stream.name,
        kinds={"sql"},
        description="News items per source and hour: an example of building on the tables.",
        metadata={
            "dagster/table_name": PER_HOUR.name,
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(c.name, str(c.type), description=c.comment) for c in PER_HOUR.columns]
            ),
            "dagster/column_lineage": dg.TableColumnLineage(
                {
                    "hour": [dg.TableColumnDep(source, "_kafka_timestamp")],
                    "source": [dg.TableColumnDep(source, "source")],
                    "items": [dg.TableColumnDep(source, "_kafka_offset")],
                    "originals": [dg.TableColumnDep(source, "is_original")],
                    "last_published": [dg.TableColumnDep(source, "publish_time")],
                }
            ),
        },
        op_tags={STREAM_TAG: stream.name},
        required_resource_keys=Names().connections,
    )
    def information_per_hour(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        hours = hours_of(stream, context.partition_keys)
        with op_errors(context.op_execution_context):
            sink = open_sink(settings_of(context.resources, Names()).database_url)
            try:
                rows = count_hours(sink, hours)
            finally:
                sink.close()
        return dg.MaterializeResult(metadata={"rows": rows, "hours": len(hours), "dagster/partition_row_count": rows})

    return information_per_hour


def items_per_hour_automation(stream: Stream) -> dg.SensorDefinition:
    """The sensor that asks the condition above, on from the start; its runs carry the stream's tag."""
    with warnings.catch_warnings():
        # Our condition is Python, so the code server evaluates it; that this is possible is still called a beta here.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            f"{PER_HOUR.name}_automation",
            target=dg.AssetSelection.assets(dg.AssetKey([stream.name, PER_HOUR.name])),
            default_status=dg.DefaultSensorStatus.RUNNING,
            run_tags={STREAM_TAG: stream.name},
            use_user_code_server=True,
        )


def example_definitions(streams: Iterable[Stream]) -> dg.Definitions:
    """The asset and its sensor beside the stream they build on; nothing where that is not declared."""
    declared = [stream for stream in streams if Information in stream.routes.values()]
    return dg.Definitions(
        assets=[items_per_hour(stream) for stream in declared],
        sensors=[items_per_hour_automation(stream) for stream in declared],
    )
