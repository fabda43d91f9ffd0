"""The daily audit: the checks of every run, over the whole ledger and the whole tables."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a check as they stand.

from collections.abc import Iterable
from functools import partial

import dagster as dg

from kafka_ingest.checks.table_rows import append_tables, audit_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.orchestration.checks import ROWS_ADVICE, TILING_ADVICE, Check, checks_definition
from kafka_ingest.orchestration.names import UPKEEP_TAG, Names
from kafka_ingest.orchestration.placed_stream import PlacedStream

AUDIT_JOB = "audit_ledger"
# An hour of the night in Europe and Asia's morning; any will do.
AUDIT_CRON = "0 3 * * *"
# Counting a table of 100 million rows takes minutes; what is not reached is said.
ROWS_SECONDS = 600.0

_REPORT = (
    "A range that does not add up is a bug, or the ledger was changed by hand: report it, and load the range again."
)


def audit_checks(placed: PlacedStream) -> list[Check]:
    """The checks of the audit, on the stream's ledger asset."""
    stream = placed.stream
    of = partial(dg.AssetCheckKey, placed.ledger.key)
    checks = [
        Check(
            of("accounting"),
            lambda look: audit_accounting(look.sink, look.stream),
            "Every offset of every range ever loaded is a row, a delete, a dead letter, ignored or absent.",
            _REPORT,
            of_run=False,
        ),
        Check(
            of("tiling"),
            lambda look: audit_tiling(look.sink, look.stream),
            "Live ranges of every Kafka partition follow each other without gap or overlap, up to the next offset.",
            TILING_ADVICE,
            of_run=False,
        ),
    ]
    for target in append_tables(stream):
        checks.append(
            Check(
                of(f"rows_{target.identifier}"),
                lambda look, target=target: audit_rows(look.sink, look.stream, target, seconds=ROWS_SECONDS),  # type: ignore[misc]
                f"Table {target.label} holds the rows the ledger says, range by range, from its first row on.",
                ROWS_ADVICE,
                of_run=False,
            )
        )
    return checks


def stream_audit(placed: PlacedStream) -> dg.AssetChecksDefinition:
    """The audit of one stream as one op."""
    return checks_definition(placed, "audit", audit_checks(placed))


def audit_schedule(streams: Iterable[PlacedStream], names: Names) -> dg.ScheduleDefinition:
    """The job over all streams, daily. It is on by default; turn it off in the UI."""
    named = list(streams)
    job = dg.define_asset_job(
        names.of(AUDIT_JOB),
        selection=dg.AssetSelection.checks(*(check.key for s in named for check in audit_checks(s))),
        description="Proves the whole ledger: accounts, tiling, and the rows of the append tables.",
        tags={UPKEEP_TAG: names.tag("audit")},
        executor_def=dg.in_process_executor,
    )
    return dg.ScheduleDefinition(
        name=names.of(f"{AUDIT_JOB}_daily"),
        job=job,
        cron_schedule=AUDIT_CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
