"""Runs that Dagster has ended, though their process may live: a person terminated them or deleted their record, or its
monitoring gave them up. Their leases are revoked before another run takes their place.

A run takes its lease first, and asks then whether it has been ended. Who puts another in its place knows first that it has been
ended, and reads the leases then. So, whatever comes between, one of the two sees the other: the run stops, or its lease is
revoked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from kafka_ingest.ledger.leases import dagsters_of, revoke_leases
from kafka_ingest.sinks.base import Sink


class RunRecords(Protocol):
    """Dagster's records of runs."""

    @property
    def dagster(self) -> str | None:
        """Id of the storage that has them: another Dagster over the same database has another. None where it has no id."""

    def ended(self, runs: Mapping[str, str | None]) -> set[str]:
        """Of these runs, each with the id of the Dagster that has its record: those that have been ended there, also where their
        process has said something since, and those whose record was here and is gone. Of another Dagster's nothing is known."""


def revoke_ended(sink: Sink, records: RunRecords, streams: Collection[str], *, but: Collection[str] = ()) -> set[str]:
    """Revoke the leases that runs which were ended have of these streams; which runs those are. but: runs that are not asked
    about. It waits for a load of theirs that is about to commit. Idempotent.

    1. read who has a lease
    2. ask who has been ended
    3. revoke

    Raises as `Sink.classify_error` says: nothing is known then, and no run may take another's place.
    """
    doing = f"revoking the leases of ended runs of stream {', '.join(streams)}"
    with sink.errors(doing), sink.engine.connect() as connection:
        held = {run_id: dagster for run_id, dagster in dagsters_of(connection, streams).items() if run_id not in but}
    ended = records.ended(held) if held else set()
    if ended:
        with sink.errors(doing), sink.engine.begin() as connection:
            revoke_leases(connection, streams, ended)
    return ended
