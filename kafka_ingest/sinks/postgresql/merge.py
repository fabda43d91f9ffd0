"""Staged rows into a table by business key on PostgreSQL, with the same outcome whoever else writes these keys.

Transactions are READ COMMITTED. There (PostgreSQL manual, 13.2.1 "Read Committed Isolation Level"; "INSERT", ON CONFLICT Clause;
13.3.2 "Row-Level Locks")
 a. a statement sees what was committed as it began, and what its own transaction did before it;
 b. INSERT … ON CONFLICT DO UPDATE does one of two things with each row, whatever the statement sees: it inserts it, or it locks
    the row that has the key, waiting for whoever has inserted or changed that, and updates its newest version where WHERE holds
    for that version. Rows are locked also where WHERE does not hold;
 c. UPDATE and DELETE wait for the lock of each row they find, and look at its newest version then: their WHERE is asked again.
    They find only rows that a. lets them see: not one that another transaction has inserted and not yet committed.

Rows of one key. `merge` is a single statement (b), whose WHERE compares under the row's lock. So each staged key ends with a row
that is its own, or was later under that lock; rows only ever move up in the total order, so the last one stays, in whichever
order the transactions come. Tombstones of one key the same, in their own table.

A row and a tombstone of one key stand in two tables. Who writes the row (R) deletes it where it then finds a later tombstone; who
writes the tombstone (T) then deletes an earlier row. By (c) alone both could miss the other's where neither is committed. So who
inserts a row whose key was not in the table also *claims* the key in the table of tombstones: by (b), with an entry that stands
before every message where there is none, which is deleted at once. Until R's transaction ends, another one that writes a
tombstone of the key waits for it, though the entry is gone: only then is it known whether there is such a key.
 1. R claims before T writes its tombstone: T waits until R has ended, and its DELETE, a later statement, sees R's row (a).
 2. T writes its tombstone before R claims: R waits until T has ended, and its own look at tombstones, a later statement, sees
    T's.
 3. R updates a row and claims nothing. Whoever inserted that row had claimed the key, so by 1 and 2 T's DELETE sees the row in
    some version, or the row came after T had ended, and R's look, later still, sees T's tombstone. Where T sees a version that is
    earlier than its tombstone, it waits for R's lock and compares with R's version (c). Where it sees a later one it leaves
    the row alone, and R's is later still. Where T has deleted the row before R came, R waits for T (b), inserts, and 2 holds.
Neither can miss the other. Where two wait for each other in a circle, the server ends one (40P01), which begins again.

Of a table with kept columns (sinks/kept_columns.py) R's version in 3 may have values of messages before T's tombstone where the
one that T sees has none. So T first locks the rows, waiting for R, and then looks, by a statement that sees what R has made.

Whether a row was inserted is told by `xmax`, which is zero of a version nobody has deleted or locked ("System Columns"). A row
that was updated may look inserted by it, and is claimed in vain; never the other way round. Of a partitioned table INSERT gives
no system columns, so there all are claimed.

A row that is offered to INSERT draws a number from a sequence that fills a column, such as an `id`, also where its key is there:
each range loaded again would bring the sequence nearer to its end. So of such a table the same statement replaces rows by UPDATE,
and offers to INSERT the rest. Both see the same (a). A key of which they see a row is left out of the rest where UPDATE has
written it, so has locked it, or where the row that they see has nothing to get from the staged one, which was enough above. What
is left, as another has deleted or changed the row meanwhile, is offered, and (b) holds for it. UPDATE claims nothing, as in 3.

Staged rows are taken in the order of their keys, so transactions lock keys in one order, and seldom wait in a circle. As UPDATE
takes rows in any order, a statement before it locks those there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kafka_ingest.sinks.base import RowsRejected
from kafka_ingest.sinks.kept_columns import PlaceSql, default_of, is_outlived_sql, merged_sql
from kafka_ingest.sinks.latest_per_key import OrderSql, is_later_sql, same_key_sql
from kafka_ingest.streams.kept import NEVER, place_column
from kafka_ingest.streams.target import TargetTable

# No message has this offset: what stands there is a claim, before every message in the total order.
_CLAIM_OFFSET = -1


@dataclass(frozen=True, slots=True)
class Statements:
    """How SQL is sent, as a sink classifies its errors."""

    run: Callable[[str], int]
    """Rows affected, or returned. Raises RowsRejected."""
    row: Callable[[str], Sequence[int]]
    """The one row of numbers a query gives. Raises RowsRejected."""
    places: PlaceSql
    run_with: Callable[[str, Sequence[object]], int]
    """As `run`, with values for the statement's placeholders."""

    @property
    def order(self) -> OrderSql:
        return self.places.order

    @property
    def quote(self) -> Callable[[str], str]:
        """A column's name, quoted."""
        return self.order.quote


def merge(
    statements: Statements,
    target: TargetTable,
    table: str,
    stage: str,
    names: Sequence[str],
    wanted: int,
    graves: str | None = None,
    *,
    is_numbered: bool = False,
) -> None:
    """Insert or replace the `wanted` rows of `stage`, except where `table` holds a later one. Of a staged row and one of a table
    with kept columns it makes one, whichever is later.

    table, stage, graves: quoted. table: of the rows or of the tombstones of `target`. names: all columns, the key among them.
    graves: where new keys are claimed, for rows of a table with tombstones; `bury` has to follow.
    is_numbered: whether each row that is offered to the table draws a number (sequences.py), replaced or not.
    Raises RowsRejected where the database refuses a row.
    """
    replaced, source = "", stage
    if is_numbered:
        _lock_rows(statements, target, table, stage)
        replaced, source = _replaced_apart(statements, target, table, stage, names)
    written = _written(statements, target, table, source, names)
    if graves is not None:
        count, claims = statements.row(_claiming(statements, target, table, written, graves, replaced))
        if claims:
            _unclaim(statements, target, stage, graves)
    elif is_numbered:
        (count,) = statements.row(f"WITH {replaced}written AS ({written} RETURNING 1) SELECT {_count(replaced)}")
    else:
        count = statements.run(written)
    if count < wanted:
        _expect_keys(statements, target, table, stage)


def drop_buried(statements: Statements, target: TargetTable, stage: str, graves: str) -> int:
    """Take rows out of `stage` that a later tombstone has deleted already; how many. Saves writing them."""
    same = same_key_sql(statements.quote, target.key, "s", "g")
    later = is_later_sql(target, statements.order, "g", "s")
    return statements.run(f"DELETE FROM {stage} AS s USING {graves} AS g WHERE {same} AND {later}")


def bury(statements: Statements, target: TargetTable, table: str, stage: str, graves: str) -> None:
    """Delete the rows of `stage`'s keys whose tombstone is later, and take from the others what messages before it gave. After
    `merge` of rows, or of tombstones. Raises RowsRejected where the database refuses it."""
    same = " AND ".join(same_key_sql(statements.quote, target.key, "s", other) for other in ("g", "t"))
    if target.kept:
        _lock_rows(statements, target, table, stage)
    statements.run(
        f"DELETE FROM {table} AS t USING {stage} AS s, {graves} AS g "
        f"WHERE {same} AND {is_later_sql(target, statements.order, 'g', 't')}"
    )
    for bound in target.kept:
        value, place = map(statements.quote, (bound.name, place_column(bound.name)))
        statements.run_with(
            f"UPDATE {table} AS t SET {value} = %s, {place} = '{NEVER}' FROM {stage} AS s, {graves} AS g "
            f"WHERE {same} AND {is_outlived_sql(target, statements.places, bound.name, 't', 'g')}",
            [default_of(target, bound)],
        )


def _lock_rows(statements: Statements, target: TargetTable, table: str, stage: str) -> None:
    """In the order of their keys."""
    same = same_key_sql(statements.quote, target.key, "s", "t")
    in_order = ", ".join(f"s.{statements.quote(key)}" for key in target.key)
    statements.run(f"SELECT 1 FROM {stage} AS s, {table} AS t WHERE {same} ORDER BY {in_order} FOR UPDATE OF t")


def _written(statements: Statements, target: TargetTable, table: str, source: str, names: Sequence[str]) -> str:
    """source: the staging table, or a part of it."""
    quote = statements.quote
    columns = ", ".join(map(quote, names))
    in_order = ", ".join(map(quote, target.key))
    changes, where = _changes(statements, target, names, "t", "excluded")
    return (
        f"INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM {source} ORDER BY {in_order} "
        f"ON CONFLICT ({in_order}) DO UPDATE SET {changes} WHERE {where}"
    )


def _changes(statements: Statements, target: TargetTable, names: Sequence[str], old: str, new: str) -> tuple[str, str]:
    """What UPDATE makes of the row `old` where `new` comes, and whether it does."""
    quote = statements.quote
    values = {n: f"{new}.{quote(n)}" for n in names if n not in target.key}
    where = f"NOT ({is_later_sql(target, statements.order, old, new)})"
    if target.kept and place_column(target.kept[0].name) in names:
        merged = merged_sql(target, statements.places, old, new)
        values, where = dict(merged.columns), merged.differs
    return ", ".join(f"{quote(name)} = {value}" for name, value in values.items()), where


def _replaced_apart(
    statements: Statements, target: TargetTable, table: str, stage: str, names: Sequence[str]
) -> tuple[str, str]:
    """A part of the statement that replaces the rows it sees, and the staged rows that are left to `_written`: all but these,
    and those of which it sees a row that they do not change."""
    key = ", ".join(f"t.{statements.quote(name)}" for name in target.key)
    changes, where = _changes(statements, target, names, "t", "s")
    same, replaced, there = (same_key_sql(statements.quote, target.key, "s", row) for row in ("t", "r", "o"))
    _, differs = _changes(statements, target, names, "o", "s")
    return (
        f"replaced AS (UPDATE {table} AS t SET {changes} FROM {stage} AS s WHERE {same} AND ({where}) RETURNING {key}), ",
        f"{stage} AS s WHERE NOT EXISTS (SELECT 1 FROM replaced AS r WHERE {replaced}) "
        f"AND NOT EXISTS (SELECT 1 FROM {table} AS o WHERE {there} AND NOT ({differs}))",
    )


def _claiming(statements: Statements, target: TargetTable, table: str, written: str, graves: str, replaced: str) -> str:
    """The statement, behind the part that replaces rows where there is one, and the claims of the keys it inserts; how many rows
    were written, and how many claims are new."""
    keys = ", ".join(map(statements.quote, target.key))
    own = ", ".join(f"t.{statements.quote(key)}" for key in target.key)
    name = table.replace("'", "''")
    is_partitioned = f"(SELECT c.relkind = 'p' FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass('{name}'))"
    is_new = f"CASE WHEN {is_partitioned} THEN true ELSE t.xmax = 0 END"
    return (
        f"WITH {replaced}written AS ({written} RETURNING {own}, {is_new} AS is_new), "
        f"claimed AS (INSERT INTO {graves} AS g ({keys}, _kafka_topic, _kafka_partition, _kafka_offset) "
        f"SELECT {keys}, '', -1, {_CLAIM_OFFSET} FROM written WHERE is_new "
        # Locks an entry that is there, and changes nothing.
        f"ON CONFLICT ({keys}) DO UPDATE SET _kafka_offset = g._kafka_offset WHERE false RETURNING 1) "
        f"SELECT {_count(replaced)}, (SELECT count(*) FROM claimed)"
    )


def _count(replaced: str) -> str:
    """SQL: how many rows the statement has written."""
    more = " + (SELECT count(*) FROM replaced)" if replaced else ""
    return f"(SELECT count(*) FROM written){more}"


def _unclaim(statements: Statements, target: TargetTable, stage: str, graves: str) -> None:
    same = same_key_sql(statements.quote, target.key, "s", "g")
    statements.run(f"DELETE FROM {graves} AS g USING {stage} AS s WHERE {same} AND g._kafka_offset = {_CLAIM_OFFSET}")


def _expect_keys(statements: Statements, target: TargetTable, table: str, stage: str) -> None:
    """Rows that were not written have a later one in their place, which is locked by now. Raises RowsRejected where there is
    none."""
    same = same_key_sql(statements.quote, target.key, "s", "t")
    (lacking,) = statements.row(
        f"SELECT count(*) FROM {stage} AS s WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {same})"
    )
    if lacking:
        raise RowsRejected(f"{lacking} rows were not stored: a trigger or a rule of table {table} keeps them out")
