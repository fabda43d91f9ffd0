"""Runs of backfills whose host is gone: nobody else says so, as Dagster's default launcher cannot ask about another host, and
nobody takes their place."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import dagster as dg

from kafka_ingest.orchestration.dagster_records import report_failed
from kafka_ingest.orchestration.lease_watch import CONFIRM_SECONDS, LeaseWatch, Standing, why_dead
from kafka_ingest.orchestration.names import KIND_TAG, PART_OF_TAG, PROCESS_TAG, STREAM_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.sinks.base import Sink

# A read of Dagster's storage each time, and of the ledger where a backfill is under way. Not less than CONFIRM_SECONDS, so that
# the second look at a lapsed lease decides.
LOOK_EVERY_SECONDS = 2 * CONFIRM_SECONDS

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class BackfillWatch:
    """Of the streams that a sensor looks at; remembers what it has seen for as long as the process lives."""

    def __init__(self, placed: Sequence[PlacedStream], clock: Callable[[], float] = time.monotonic) -> None:
        self._tags = [each.tag for each in placed]
        self._leases = LeaseWatch(*(each.stream.name for each in placed), clock=clock)
        self._clock = clock
        self._not_before = clock()

    def look(self, instance: dg.DagsterInstance, sink: Callable[[], Sink], now: dt.datetime) -> list[str]:
        """Report runs that are gone as failed, by their leases, or by their process where it would be seen here; what could not
        be reported. Does nothing where the last look was less than LOOK_EVERY_SECONDS ago.

        Only a run that has said where it is can be known to be gone: what it does before, and after it has loaded, as other
        assets of the same run, may take any time.
        """
        if self._clock() < self._not_before:
            return []
        self._not_before = self._clock() + LOOK_EVERY_SECONDS
        filters = dg.RunsFilter(tags={KIND_TAG: "backfill", STREAM_TAG: self._tags}, statuses=_UNDER_WAY)
        runs = {r.dagster_run.run_id: r for r in instance.get_run_records(filters) if PROCESS_TAG in r.dagster_run.tags}
        standings = self._leases.standings(sink, list(runs))
        troubles = []
        for run_id, record in runs.items():
            standing = replace(standings.get(run_id, Standing()), absent_seconds=0.0)
            reason = why_dead(record, standing, now)
            if reason is not None:
                troubles.append(report_failed(instance, record.dagster_run, f"{reason}; {_advice(record.dagster_run)}"))
        return [trouble for trouble in troubles if trouble is not None]


def _advice(run: dg.DagsterRun) -> str:
    if PART_OF_TAG in run.tags:
        return f"its stream's sensor has given it up. Run {run.tags[PART_OF_TAG]} loads its part, unless that is gone, too."
    return (
        "its stream's sensor has given it up. What it has committed stays; its windows are not loaded, and nobody goes on with "
        "it. Launch it again, by Re-execute (all steps) or as it was launched before: loading a range twice leaves it as once."
    )
