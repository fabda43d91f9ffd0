"""Leases: a run says every few seconds that it is there, by the database's clock, wherever it runs. Those are live runs and
backfills, with the runs that load parts of them.

Who finds that a lease was not renewed for LEASE_SECONDS, or that Dagster has ended the run, may revoke it; from then on the run
loads nothing more, as each of its transactions looks at its lease last of all. The row stays locked until the commit, so that a
load and a revocation come one after the other: what was committed before the revocation counts, and nothing is after it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from kafka_ingest.errors import LeaseLost
from kafka_ingest.ledger.tables import LEASES
from kafka_ingest.streams.model import MICROSECONDS

RENEW_SECONDS = 5.0
LEASE_SECONDS = 30.0
# What the lease of a run says that loads a backfill, or answers for one that other runs load parts of.
BACKFILL = "backfill"
# Of a run that loads several streams in turn.
IN_GROUP = " group"
# Leases that runs left behind are deleted by later runs of their stream.
_KEPT = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lease:
    """One run's, as it stands."""

    stream: str
    run_id: str
    host: str
    shard: str
    """What of the stream the run loads: `number/count`, and behind that `IN_GROUP` where it loads others in turn; BACKFILL, or
    `part_text` of a run that loads a part of one."""
    acquired_at: dt.datetime
    """By the database's clock; naive UTC, as it is stored."""
    renewed_at: dt.datetime
    age_seconds: float
    """How long ago that was when it was read, by the same clock."""
    is_revoked: bool

    @property
    def is_of_backfill(self) -> bool:
        """Whether the run loads a backfill or a part of one, beside the live ones."""
        return self.shard.startswith(BACKFILL)

    @property
    def division(self) -> str:
        """How the run divides the stream, or has it share a run: runs of one division succeed each other."""
        return self.shard.partition("/")[2]

    @property
    def is_in_group(self) -> bool:
        """Whether the run loads other streams, too, in turn."""
        return self.shard.endswith(IN_GROUP)

    @property
    def is_lapsed(self) -> bool:
        """Whether it may be revoked."""
        return self.is_revoked or self.age_seconds >= LEASE_SECONDS


def part_text(part: str) -> str:
    """What the lease of a run says that loads a part of a backfill, `1/4`."""
    return f"{BACKFILL} {part}"


def acquire_lease(
    connection: sa.Connection, stream: str, run_id: str, host: str, shard: str = "0/1", dagster: str | None = None
) -> None:
    """Give the run a lease, or renew the one it has. Deletes those of the stream that were left behind a day ago. shard: what it
    loads, for others to see. dagster: which Dagster has its record, where one does.

    The caller's transaction. Raises LeaseLost where it was revoked.
    """
    if renew_lease(connection, stream, run_id):
        return
    if connection.execute(sa.select(LEASES.c.revoked_at).where(_of(stream, run_id))).first() is not None:
        raise lease_lost(stream, run_id)
    long_ago = connection.execute(sa.select(_UtcNow())).scalar_one() - _KEPT
    connection.execute(sa.delete(LEASES).where(LEASES.c.stream == stream, LEASES.c.renewed_at < long_ago))
    made = {"stream": stream, "run_id": run_id, "shard": shard, "host": host[:255], "dagster": dagster}
    connection.execute(sa.insert(LEASES).values(**made, acquired_at=_UtcNow(), renewed_at=_UtcNow()))


def renew_lease(connection: sa.Connection, stream: str, run_id: str) -> bool:
    """Whether the run still has its lease, which is renewed then. The caller's transaction."""
    held = sa.and_(_of(stream, run_id), LEASES.c.revoked_at.is_(None))
    return bool(connection.execute(sa.update(LEASES).where(held).values(renewed_at=_UtcNow())).rowcount)


def require_lease(connection: sa.Connection, stream: str, run_id: str) -> None:
    """The last statement of a load: nobody revokes the lease until the transaction has ended. Raises LeaseLost where the run has
    none, or it was revoked."""
    held = sa.select(LEASES.c.run_id).where(_of(stream, run_id), LEASES.c.revoked_at.is_(None))
    if connection.execute(held.with_for_update(read=True)).first() is None:
        raise lease_lost(stream, run_id)


def release_lease(connection: sa.Connection, stream: str, run_id: str) -> None:
    """The run has ended. One that was revoked stays. The caller's transaction; idempotent."""
    connection.execute(sa.delete(LEASES).where(_of(stream, run_id), LEASES.c.revoked_at.is_(None)))


def read_leases(connection: sa.Connection, stream: str) -> dict[str, Lease]:
    """The stream's leases by run id, those that were left behind or revoked too."""
    return {lease.run_id: lease for lease in leases_of(connection, [stream])}


def leases_of(connection: sa.Connection, streams: Collection[str]) -> list[Lease]:
    """The same of several streams. A run has one of each stream it loads."""
    c = LEASES.c
    asked = sa.select(
        c.stream, c.run_id, c.host, c.shard, c.acquired_at, c.renewed_at, c.revoked_at, _UtcNow().label("now")
    ).where(c.stream.in_(streams))
    return [
        Lease(
            r.stream,
            r.run_id,
            r.host,
            r.shard,
            r.acquired_at,
            r.renewed_at,
            (r.now - r.renewed_at).total_seconds(),
            r.revoked_at is not None,
        )
        for r in connection.execute(asked)
    ]


def revoke_lease(connection: sa.Connection, lease: Lease) -> bool:
    """Whether the lease is revoked now: not where the run has renewed it since it was read, or has ended. The caller's
    transaction; it waits for a load of the run that is about to commit."""
    if lease.is_revoked:
        return True
    mine = sa.and_(_of(lease.stream, lease.run_id), LEASES.c.renewed_at == lease.renewed_at)
    return bool(connection.execute(sa.update(LEASES).where(mine).values(revoked_at=_UtcNow())).rowcount)


def dagsters_of(connection: sa.Connection, streams: Collection[str]) -> dict[str, str | None]:
    """Runs that have a lease of these streams which is not revoked, each with the id of the Dagster that has its record; None
    where that is not known. None at all where no ledger stands yet. Reads only."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(LEASES.name):
        return {}
    is_told = any(column["name"] == LEASES.c.dagster.name for column in inspector.get_columns(LEASES.name))
    dagster = LEASES.c.dagster if is_told else sa.null()  # the next run's plan adds the column
    held = sa.and_(LEASES.c.stream.in_(streams), LEASES.c.revoked_at.is_(None))
    found = connection.execute(sa.select(LEASES.c.run_id, dagster.label("dagster")).where(held))
    return {row.run_id: row.dagster for row in found}


def revoke_leases(connection: sa.Connection, streams: Collection[str], run_ids: Collection[str]) -> None:
    """Revoke what these runs have of these streams, however lately it was renewed. The caller's transaction; it waits for a load
    of theirs that is about to commit. Idempotent."""
    held = sa.and_(LEASES.c.stream.in_(streams), LEASES.c.run_id.in_(run_ids), LEASES.c.revoked_at.is_(None))
    connection.execute(sa.update(LEASES).where(held).values(revoked_at=_UtcNow()))


def lease_lost(stream: str, run_id: str) -> LeaseLost:
    """The refusal of whatever a run would still do."""
    return LeaseLost(
        f"stream {stream}: the lease of run {run_id} was revoked: it was not renewed for {LEASE_SECONDS:.0f} s, as the run's "
        "process stood still or did not reach the database, or Dagster has ended the run (its monitoring, or a person who "
        "terminated it or deleted its record). Another run goes on from the ledger; this one loads nothing more.",
        stream=stream,
    )


def _of(stream: str, run_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(LEASES.c.stream == stream, LEASES.c.run_id == run_id)


class _UtcNow(FunctionElement[dt.datetime]):
    """The database's clock, not the transaction's beginning, as our DATETIME columns hold it. CURRENT_TIMESTAMP where the
    database is not known here."""

    type = MICROSECONDS
    inherit_cache = True


@compiles(_UtcNow)
def _current_timestamp(_element: _UtcNow, _compiler: Any, **_options: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(_UtcNow, "mysql", "mariadb")
def _utc_timestamp(_element: _UtcNow, _compiler: Any, **_options: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(_UtcNow, "postgresql")
def _clock_timestamp(_element: _UtcNow, _compiler: Any, **_options: Any) -> str:
    return "(clock_timestamp() AT TIME ZONE 'UTC')"


@compiles(_UtcNow, "sqlite")
def _sqlite_now(_element: _UtcNow, _compiler: Any, **_options: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"
