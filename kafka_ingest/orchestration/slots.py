"""The slots of Dagster's run queue, which the runs of all streams share: when one that has caught up gives up its own."""

from __future__ import annotations

import datetime as dt

import dagster as dg

from kafka_ingest.orchestration.names import REASON_TAG

# One more run gives way for each so many seconds that a run has waited: the oldest ones may be busy, and then never would.
PATIENCE_SECONDS = 5.0

_WITH_SLOT = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class RunSlots:
    """What a run asks while it waits for messages."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id

    def is_wanted(self) -> bool:
        """Whether another run waits for a slot, none is free, and it is this run's turn to give its own.

        Of the runs that sensors launched the oldest are the first, as many as wait; the others follow as the waiting goes on.
        False where nothing limits the runs. One read of Dagster's storage where nothing waits, else three; raises what they do.
        """
        queue = self._instance.get_concurrency_config().run_queue_config
        if queue is None or queue.max_concurrent_runs < 0:
            return False
        waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
        oldest = self._instance.get_run_records(waiting, limit=1, ascending=True)
        if not oldest:
            return False
        running = self._instance.get_run_records(dg.RunsFilter(statuses=_WITH_SLOT), ascending=True)
        if len(running) < queue.max_concurrent_runs:
            return False  # it waits for something else, as a limit of its tags
        launched = [r.dagster_run.run_id for r in running if REASON_TAG in r.dagster_run.tags]
        waited = dt.datetime.now(dt.timezone.utc) - oldest[0].create_timestamp.replace(tzinfo=dt.timezone.utc)
        turns = self._instance.get_runs_count(waiting) + int(waited.total_seconds() / PATIENCE_SECONDS)
        return self._run_id in launched[:turns]
