"""Keeps a run's leases while the process lives: in a thread and over a connection of its own, so that a long load does not keep
them from being renewed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread

import sqlalchemy as sa

from kafka_ingest.engine.ended_runs import RunRecords, revoke_ended
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.ledger.leases import (
    RENEW_SECONDS,
    Lease,
    acquire_lease,
    lease_lost,
    leases_of,
    release_lease,
    renew_lease,
)
from kafka_ingest.sinks.base import Sink

LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    on_lost: Callable[[], object]
    is_lost: bool = False


class LeaseKeeper:
    """A run has a lease of each stream it loads. `acquire` it before the first load, `close()` all in the end; what comes between
    two processes of a run is shorter than a lease. Threads may share it."""

    def __init__(self, sink: Sink, run_id: str, records: RunRecords | None = None) -> None:
        """records: of the Dagster that has launched the run; None where none has."""
        self._sink = sink
        self._run_id = run_id
        self._records = records
        self._held: dict[str, _Held] = {}
        self._closing = Event()
        self._starting = Lock()
        self._thread: Thread | None = None

    def acquire(self, stream: str, shard: str, on_lost: Callable[[], object]) -> None:
        """Take the stream's lease, or go on with the one the run has, and keep it; then take over from runs that Dagster has
        ended. Idempotent. Raises LeaseLost where it was revoked, or this run itself has been ended. shard: what of the stream
        the run loads, for others to see.

        on_lost: called in the keeper's thread, once, as the lease turns out to be revoked.
        """
        if stream in self._held:
            return
        dagster = None if self._records is None else self._records.dagster
        with self._transaction(f"taking the lease of stream {stream}") as connection:
            acquire_lease(connection, stream, self._run_id, socket.gethostname(), shard, dagster)
        if self._run_id in self.take_over(stream):
            raise lease_lost(stream, self._run_id)
        self._held[stream] = _Held(on_lost)
        with self._starting:
            if self._thread is None:
                self._closing.clear()
                self._thread = Thread(target=self._keep, name="lease", daemon=True)
                self._thread.start()

    def take_over(self, stream: str) -> set[str]:
        """The stream's runs that Dagster has ended load nothing more from now on; which those are."""
        return set() if self._records is None else revoke_ended(self._sink, self._records, [stream])

    def check(self, stream: str) -> None:
        """Raises LeaseLost where the stream's lease turned out to be revoked."""
        held = self._held.get(stream)
        if held is not None and held.is_lost:
            raise lease_lost(stream, self._run_id)

    def newer(self, *streams: str) -> list[Lease]:
        """Leases of these streams that live runs have taken after this one took its own, and renew. Raises as
        `Sink.classify_error` says."""
        held = [stream for stream in streams if stream in self._held]
        if not held:
            return []
        with self._transaction("reading leases") as connection:
            leases = leases_of(connection, held)
        own = {lease.stream: lease.acquired_at for lease in leases if lease.run_id == self._run_id}
        return [
            lease
            for lease in leases
            if lease.stream in own
            and lease.acquired_at > own[lease.stream]
            and not (lease.is_lapsed or lease.is_of_backfill)
        ]

    def release(self, stream: str) -> None:
        """The run has nothing more to load of the stream: give its lease up, if there is one. What the database says against it
        does not matter, as the lease lapses by itself. Idempotent."""
        if self._held.pop(stream, None) is None:
            return
        if not self._held:
            self.close()
        try:
            with self._transaction(f"giving up the lease of stream {stream}") as connection:
                release_lease(connection, stream, self._run_id)
        except KafkaIngestError as error:
            LOGGER.info("The lease was not given up: %s", error)

    def close(self) -> None:
        """Renew none any longer; another process of the run may. Idempotent."""
        self._held.clear()
        self._closing.set()
        with self._starting:
            if self._thread is not None:
                self._thread.join(RENEW_SECONDS)
                self._thread = None

    def _keep(self) -> None:
        while not self._closing.wait(RENEW_SECONDS):
            held = {stream: each for stream, each in sorted(self._held.items()) if not each.is_lost}
            try:
                with self._transaction(f"renewing the lease of stream {', '.join(held)}") as connection:
                    lost = [stream for stream in held if not renew_lease(connection, stream, self._run_id)]
            except KafkaIngestError as error:
                # Nobody else can revoke them either while the database does not answer.
                LOGGER.warning("%s It is tried again.", error)
                continue
            for stream in lost:
                if stream in self._held:  # or given up in the meantime
                    held[stream].is_lost = True
                    held[stream].on_lost()

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[sa.Connection]:
        with self._sink.errors(doing), self._sink.engine.begin() as connection:
            yield connection
