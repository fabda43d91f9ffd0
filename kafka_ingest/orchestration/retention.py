"""Daily upkeep: old runs out of Dagster's storage, old ledger entries merged."""

# No `from __future__ import annotations` here: Dagster reads the annotations of an op as they stand.

import datetime as dt
from collections.abc import Iterable
from contextlib import closing

import dagster as dg

from kafka_ingest.engine.compaction import compact_ledger
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.event_rows import prune_evaluations, prune_observations
from kafka_ingest.orchestration.live_unit import live_units
from kafka_ingest.orchestration.names import GROUP_TAG, STREAM_TAG, UPKEEP_TAG, Names
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.pruning import prune_runs
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.sinks.registry import open_sink

RETENTION_JOB = "kafka_ingest_retention"
RETENTION_CRON = "30 3 * * *"
# A first execution on an old instance must end too; what is left is for the next day.
MOST_RUNS = 20_000
RUNS_SECONDS = 1_200.0
LEDGER_SECONDS = 300.0
# A busy stream has up to five entries a second for each Kafka partition: those of one run are merged before the run is deleted.
WITHIN_RUNS_DAYS = 2


def retention_schedule(streams: Iterable[PlacedStream], names: Names, days: int) -> dg.ScheduleDefinition:
    """The upkeep job, daily. It is on by default; days=0 (KAFKA_INGEST_RETENTION_DAYS) makes it do nothing."""
    named = list(streams)

    @dg.op(
        name=names.of("compact_ledgers"),
        required_resource_keys=names.connections,
        description="Merges ledger entries older than the retention: fewer, with the same sums, still without gaps.",
    )
    def compact_ledgers(context: dg.OpExecutionContext) -> dt.datetime:
        before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=days)
        if not days:
            context.log.info("KAFKA_INGEST_RETENTION_DAYS=0: everything is kept.")
            return before
        within_runs = max(before, dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=WITHIN_RUNS_DAYS))
        removed = looked = 0
        with op_errors(context), closing(open_sink(settings_of(context.resources, names).database_url)) as sink:
            for stream in (placed.stream for placed in named):
                found = compact_ledger(
                    sink, stream, before=before, within_runs_before=within_runs, seconds=LEDGER_SECONDS
                )
                context.log.info(
                    f"stream {stream.name}: {found.entries_removed} of {found.entries_before} old ledger entries merged "
                    f"into others{'' if found.finished else '; time was up, the next day goes on'}"
                )
                looked, removed = looked + found.entries_before, removed + found.entries_removed
        context.add_output_metadata({"entries_looked_at": looked, "entries_removed": removed})
        return before

    @dg.op(
        name=names.of("prune_old_runs"),
        description="Deletes runs older than the retention that nothing known of an asset hangs on, and cuts the logs of the "
        "others; deletes as old results of checks, and observations of topics by sensors.",
    )
    def prune_old_runs(context: dg.OpExecutionContext, before: dt.datetime) -> None:
        if not days:
            return
        checks = context.repository_def.asset_graph.asset_check_keys
        found = prune_runs(
            context.instance,
            [
                {STREAM_TAG: [s.tag for s in named]},
                {GROUP_TAG: [unit.tag for unit in live_units(named, names)]},
                {UPKEEP_TAG: [names.tag("audit"), names.tag("retention")]},
            ],
            checks,
            before=before,
            most=MOST_RUNS,
            seconds=RUNS_SECONDS,
            say=context.log.info,
        )
        context.log.info(
            f"{found.deleted} runs deleted; old runs kept: {found.kept or 'none'}, of which {found.cut} logs were cut now"
            f"{'' if found.finished else '; the limit was reached, the next day goes on'}"
        )
        topics = {spec.key for each in named for spec in each.topics.values()}
        observations = prune_observations(context.instance, topics, before=before)
        evaluations = prune_evaluations(context.instance, checks, before=before)
        context.log.info(f"{observations} observations of topics and {evaluations} results of checks deleted")
        context.add_output_metadata(
            {
                "runs_deleted": found.deleted,
                "logs_cut": found.cut,
                "check_results_deleted": evaluations,
                "observations_deleted": observations,
                **{f"kept: {k}": n for k, n in found.kept.items()},
            }
        )

    @dg.job(
        name=names.of(RETENTION_JOB),
        description="Deletes old runs from Dagster's storage and merges old ledger entries (KAFKA_INGEST_RETENTION_DAYS).",
        tags={UPKEEP_TAG: names.tag("retention")},
        executor_def=dg.in_process_executor,
    )
    def retention() -> None:
        prune_old_runs(compact_ledgers())

    return dg.ScheduleDefinition(
        name=names.of(f"{RETENTION_JOB}_daily"),
        job=retention,
        cron_schedule=RETENTION_CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
