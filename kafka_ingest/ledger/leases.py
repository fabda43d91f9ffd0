"""Leases: a run that is waited for says every few seconds that it is there, by the database's clock, wherever it runs. Those are
live runs, and the ones that load parts of a backfill.

Who finds that a lease was not renewed for LEASE_SECONDS may revoke it; from then on the run loads nothing more, as each of its
transactions looks at its lease last of all. The row stays locked until the commit, so that a load and a revocation come one after
the other: what was committed before the revocation counts, and nothing is after it.
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
_OF_BACKFILL = "backfill "
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
    """What of the stream the run loads: `number/count`, and behind that `IN_GROUP` where it loads others in turn; `part_text` of
    a run that loads a part of a backfill."""
    acquired_at: dt.datetime
    """By the database's clock; naive UTC, as it is stored."""
    renewed_at: dt.datetime
    age_seconds: float
    """How long ago that was when it was read, by the same clock."""
    is_revoked: bool

    @property
    def is_of_backfill(self) -> bool:
        """Whether the run loads a part of a backfill, beside the live ones."""
        return self.shard.startswith(_OF_BACKFILL)

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
    return f"{_OF_BACKFILL}{part}"


def acquire_lease(connection: sa.Connection, stream: str, run_id: str, host: str, shard: str = "0/1") -> None:
    """Give the run a lease, or renew the one it has. Deletes those of the stream that were left behind a day ago. shard: what it
    loads, for others to see.

    The caller's transaction. Raises LeaseLost where it was revoked.
    """
    if renew_lease(connection, stream, run_id):
        return
    if connection.execute(sa.select(LEASES.c.revoked_at).where(_of(stream, run_id))).first() is not None:
        raise lease_lost(stream, run_id)
    long_ago = connection.execute(sa.select(_UtcNow())).scalar_one() - _KEPT
    connection.execute(sa.delete(LEASES).where(LEASES.c.stream == stream, LEASES.c.renewed_at < long_ago))
    made = {"stream": stream, "run_id": run_id, "shard": shard, "host": host[:255]}
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
    asked = sa.select(*c, _UtcNow().label("now")).where(c.stream.in_(streams))
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


def lease_lost(stream: str, run_id: str) -> LeaseLost:
    """The refusal of whatever a run would still do."""
    return LeaseLost(
        f"stream {stream}: run {run_id} did not renew its lease for {LEASE_SECONDS:.0f} s, and it was revoked: its process stood "
        "still or did not reach the database. Another run goes on from the ledger; this one loads nothing more.",
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
