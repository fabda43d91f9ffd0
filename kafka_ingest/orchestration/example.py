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

from kafka_ingest.orchestration.assets import partitions_of
from kafka_ingest.orchestration.names import STREAM_TAG, table_key
from kafka_ingest.orchestration.ops import op_errors
from kafka_ingest.settings import from_environment
from kafka_ingest.sinks.base import Sink, open_sink
from kafka_ingest.streams.information import Information
from kafka_ingest.streams.model import MICROSECONDS, table_of
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_bounds

HOUR = dt.timedelta(hours=1)
# Windows that got new rows are counted again at most this often: every run of Dagster's costs seconds of a core.
CRON = "*/5 * * * *"

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


def is_example(stream: Stream) -> bool:
    """Whether this is the declared example stream."""
    return stream.name == "information" and Information in stream.models


def count_hours(sink: Sink, hours: Iterable[dt.datetime]) -> int:
    """Count the items of these hours (naive UTC) again; rows written. One transaction: repeating it changes nothing."""
    table, written = table_of(Information), 0
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


def items_per_hour(stream: Stream) -> dg.AssetsDefinition:
    """The asset. It follows its input: windows that got rows are counted again, every five minutes."""
    with warnings.catch_warnings():
        # `backfill_policy` is still called a beta here; without it a backfill of a day is 24 runs.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _items_per_hour(stream)


def _items_per_hour(stream: Stream) -> dg.AssetsDefinition:
    source = table_key(stream, Information)
    changed = dg.AutomationCondition.any_deps_updated().since(
        dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    )

    @dg.asset(
        key=dg.AssetKey([stream.name, PER_HOUR.name]),
        deps=[source],
        partitions_def=partitions_of(stream),
        backfill_policy=dg.BackfillPolicy.single_run(),
        automation_condition=changed
        & dg.AutomationCondition.cron_tick_passed(CRON)
        & ~dg.AutomationCondition.in_progress(),
        group_name=stream.name,
        kinds={"mysql", "sql"},
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
    )
    def information_per_hour(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        hours = hours_of(stream, context.partition_keys)
        with op_errors(context.op_execution_context):
            sink = open_sink(from_environment().database_url)
            try:
                rows = count_hours(sink, hours)
            finally:
                sink.close()
        return dg.MaterializeResult(metadata={"rows": rows, "hours": len(hours), "dagster/partition_row_count": rows})

    return information_per_hour


def items_per_hour_automation(stream: Stream) -> dg.SensorDefinition:
    """The sensor that asks the condition above, on from the start; its runs carry the stream's tag."""
    return dg.AutomationConditionSensorDefinition(
        f"{PER_HOUR.name}_automation",
        target=dg.AssetSelection.assets(dg.AssetKey([stream.name, PER_HOUR.name])),
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags={STREAM_TAG: stream.name},
    )
