"""Which runs are still there, by their leases: on whatever host they run."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import dagster as dg

from kafka_ingest.engine.ended_runs import RunRecords, revoke_ended
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.ledger.leases import LEASE_SECONDS, Lease, leases_of, revoke_lease
from kafka_ingest.orchestration.liveness import is_alive, process_of
from kafka_ingest.orchestration.names import PROCESS_TAG
from kafka_ingest.sinks.base import Sink

# A lapsed lease is seen twice, so long apart, before it is revoked: after trouble with the database its run renews it first.
CONFIRM_SECONDS = 10.0
# After trouble the database is not asked again for so long: each tick would wait for it.
TROUBLE_SECONDS = 30.0
# A launched run whose process has not said who it is by then never started; nor has one elsewhere that has taken no lease.
START_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one run's leases."""

    is_revoked: bool = False
    absent_seconds: float = 0.0
    """How long it was seen to have none."""


class LeaseWatch:
    """Of the streams that share live runs; remembers for as long as the process lives since when it has seen each run's leases as
    they are."""

    def __init__(self, *streams: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._clock = clock
        self._seen: dict[str, tuple[dt.datetime | None, float]] = {}
        """By run id when a lease was renewed last, or None, and since when that is so by our clock."""
        self._not_before = clock()

    def standings(
        self, sink: Callable[[], Sink], run_ids: Collection[str], records: RunRecords | None = None
    ) -> dict[str, Standing]:
        """Of these runs; leases that have lapsed are revoked, and their run loads nothing from then on. So are those of other
        runs that have been ended, as `records` say. Nothing is known where the database does not answer."""
        now = self._clock()
        if not run_ids or now < self._not_before:
            return {}
        try:
            found = self._read(sink(), run_ids, now)
            if records is not None:
                revoke_ended(sink(), records, self._streams, but=run_ids)
        except KafkaIngestError:  # the tick says so, where it looks at the stream itself
            self._not_before = self._clock() + TROUBLE_SECONDS
            return {}
        self._seen = {run_id: seen for run_id, seen in self._seen.items() if run_id in run_ids}
        return found

    def _read(self, sink: Sink, run_ids: Collection[str], now: float) -> dict[str, Standing]:
        doing = f"reading the leases of stream {', '.join(self._streams)}"
        with sink.errors(doing), sink.engine.begin() as connection:
            by_run: dict[str, list[Lease]] = {run_id: [] for run_id in run_ids}
            for lease in leases_of(connection, self._streams):
                if lease.run_id in by_run:
                    by_run[lease.run_id].append(lease)
            still = {run_id: self._unchanged_seconds(run_id, leases, now) for run_id, leases in by_run.items()}
            revoked = set()
            for run_id, leases in by_run.items():
                if _is_lapsed(leases, still[run_id]):
                    is_lost = [
                        revoke_lease(connection, lease) for lease in leases
                    ]  # each of them, whatever becomes of one
                    revoked |= {run_id} if all(is_lost) else set()
        return {
            run_id: Standing(run_id in revoked, 0.0 if leases else still[run_id]) for run_id, leases in by_run.items()
        }

    def _unchanged_seconds(self, run_id: str, leases: Sequence[Lease], now: float) -> float:
        renewed_at = max((lease.renewed_at for lease in leases), default=None)
        known, since = self._seen.get(run_id, (None, now))
        if known != renewed_at:
            since = now
        self._seen[run_id] = renewed_at, since
        return now - since


def why_dead(record: dg.RunRecord, standing: Standing, now: dt.datetime) -> str | None:
    """Why a run that has not ended, as Dagster says, is not waited for any more; None where it is."""
    run = record.dagster_run
    if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
        return None
    if standing.is_revoked:
        return f"It did not renew its lease for {LEASE_SECONDS:.0f} s"
    process = process_of(run.tags.get(PROCESS_TAG), run.run_id)
    if process is None:
        # Not since it was created: it may have waited in the queue for long. A run that starts was written last as it left it.
        since = record.start_time or record.update_timestamp.replace(tzinfo=dt.timezone.utc).timestamp()
        late = now.timestamp() - since > START_SECONDS
        return f"Its process did not start within {START_SECONDS:.0f} s" if late else None
    alive = is_alive(process)
    if alive is False:
        return "Its process is gone"
    if alive is None and standing.absent_seconds > START_SECONDS:
        return f"It runs on another host and has had no lease for {START_SECONDS:.0f} s"
    return None


def _is_lapsed(leases: Sequence[Lease], unchanged_seconds: float) -> bool:
    """Whether a run's are to be revoked. It renews all of them at once."""
    if not leases or not all(lease.is_lapsed for lease in leases):
        return False
    return all(lease.is_revoked for lease in leases) or unchanged_seconds >= CONFIRM_SECONDS
