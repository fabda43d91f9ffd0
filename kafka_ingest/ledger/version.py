"""Which version of the ledger's tables stands in a database, and how an older one is brought up to date.

1   2026-11, before the version was written down
2   the log's leader epoch, the order of messages, the revision and the highest loaded offset of each Kafka partition
3   the ledger's id
4   leases

Data definition commits by itself on MySQL (manual, "Statements That Cause an Implicit Commit"), so the columns come first, each
only where it is missing; what they hold and the new version are one transaction. Interrupted anywhere, it is done again.
"""

from __future__ import annotations

import datetime as dt
import uuid

import sqlalchemy as sa

from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.ledger.tables import BATCHES, LEDGER, OFFSETS, naive_utc, of_partition
from kafka_ingest.slices import NO_ORDER, TopicPartition

VERSION = 4
_FIRST_WITH_ORDER = 2
_FIRST_WITH_ID = 3

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  as stored: naive UTC


def check_version(connection: sa.Connection) -> int:
    """The version that stands here; 0 where the ledger is older than its version, or not made yet.

    Raises SchemaMismatch for a newer one: what it means is not known here.
    """
    if not sa.inspect(connection).has_table(LEDGER.name):
        return 0
    found = int(connection.execute(sa.select(sa.func.max(LEDGER.c.version))).scalar() or 0)
    if found > VERSION:
        raise SchemaMismatch(
            f"the ledger has version {found}, and this kafka_ingest knows up to {VERSION}: a newer one has used this database. "
            "Install that version, or use another database.",
            tables=(LEDGER.name,),
        )
    return found


def require_present(connection: sa.Connection) -> None:
    """Raises SchemaMismatch for a ledger of another version, where it may not be brought up to date."""
    if check_version(connection) != VERSION:
        raise SchemaMismatch(
            "the ledger is of an older version: the next run of a stream, or a replay, brings it up to date; a dry run changes "
            "nothing",
            tables=(LEDGER.name,),
        )


def read_ledger_id(connection: sa.Connection) -> str | None:
    """Which ledger stands here; None where none does, or one that is too old to have an id.

    It stays the same whatever becomes of the server, and goes along where the database is copied. Raises SchemaMismatch as
    `check_version`.
    """
    if check_version(connection) < _FIRST_WITH_ID:
        return None
    found: str | None = connection.execute(sa.select(LEDGER.c.ledger_id)).scalar()
    return found


def bring_up_to_date(connection: sa.Connection, *, now: dt.datetime) -> None:
    """Fill what older versions did not write, and write the version. The tables have all columns already.

    One transaction, the caller's to commit; nothing where the version is the present one.
    """
    found = check_version(connection)
    if found == VERSION:
        return
    if found < _FIRST_WITH_ORDER:
        _fill_positions(connection)
    _write_version(connection, now)


def _fill_positions(connection: sa.Connection) -> None:
    c = BATCHES.c
    for row in connection.execute(sa.select(OFFSETS)).all():
        mine = of_partition(BATCHES, row.stream, TopicPartition(row.topic, row.kafka_partition))
        highest, newest = connection.execute(
            sa.select(sa.func.max(c.end_offset), sa.func.max(c.max_timestamp)).where(mine)
        ).one()
        order = NO_ORDER if newest is None else (newest - _EPOCH) // dt.timedelta(milliseconds=1)
        connection.execute(
            sa.update(OFFSETS)
            .where(of_partition(OFFSETS, row.stream, TopicPartition(row.topic, row.kafka_partition)))
            .values(
                kafka_order=max(order, NO_ORDER if row.kafka_order is None else row.kafka_order),
                loaded_to=max(row.next_offset, highest or 0),
            )
        )


def _write_version(connection: sa.Connection, now: dt.datetime) -> None:
    """The version, and an id where there is none.

    Two may do this at the same moment, as a lock on data definition need not hold for all nodes of a cluster of servers. The
    row decides: who comes second waits for it, and then finds it up to date.
    """
    written = {"version": VERSION, "since": naive_utc(now)}
    made = str(uuid.uuid4())
    older = sa.update(LEDGER).where(LEDGER.c.version < VERSION)
    if connection.execute(older.values(**written, ledger_id=sa.func.coalesce(LEDGER.c.ledger_id, made))).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(LEDGER).values(**written, ledger_id=made))
    except sa.exc.IntegrityError:  # the version is the key: another one has just written it
        return
