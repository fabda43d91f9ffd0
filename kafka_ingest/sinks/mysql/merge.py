"""Staged rows into a table by business key on MySQL and MariaDB, with the same outcome whoever else writes these keys.

Transactions are READ COMMITTED. There (MySQL manual, "Transaction Isolation Levels", "Consistent Nonlocking Reads", "Locks Set by
Different SQL Statements in InnoDB"; MariaDB's "SET TRANSACTION" says the same)
- a plain SELECT, also the one of INSERT … SELECT, sees what was committed as the statement began, and locks nothing;
- UPDATE, DELETE and SELECT … FOR UPDATE wait for the lock of each row they find, and then see its newest committed version;
- INSERT waits for a transaction that has inserted or deleted the same key and is not over; then it is error 1062, or goes on.

`merge` is right because no step trusts what an earlier one saw:
 1. INSERT the keys the table lacks. Error 1062 may be a key that another transaction has committed since the statement began, so
    it is tried again for as long as the table lacks fewer keys than it did; only then is it a fault of the rows (a second unique
    key).
 2. UPDATE the others where the table's row is not later in the total order, compared under the row's lock.
 3. A key that was neither inserted nor updated has a later row, or had one that another transaction has deleted meanwhile: where
    the table lacks one again, begin at 1.
Each staged key thus ends with a row that is its own, or was later under that row's lock. As rows only ever move up in the total
order, the last one stays, in whichever order the transactions come.

Rows and tombstones of one key stand in two tables. Who writes a row then looks for a later tombstone (`bury`), who writes a
tombstone then looks for an earlier row (`delete_buried`), both by locking reads after their own write, and each for what it has
written itself: a tombstone later than ours has a writer of its own. So of two transactions that write both at once at least one
finds the other's, or both wait for each other: the server ends one (error 1213), which begins again. Neither can miss the other.

Of a table with kept columns (sinks/kept_columns.py) step 2 makes one of two rows: INSERT … SELECT … FOR UPDATE puts it into a
second staging table under the row's lock, and UPDATE writes it. An UPDATE alone would not do: its assignments see each other's
results. Such a row may get a value of a message before it, which a tombstone in between takes away, by the same locking reads.

The staging table has the target's key as its primary key and is read in its order, so transactions lock keys in one order, and
seldom wait for each other in a circle.

The key may be the table's primary key or another unique one (`unique_keys.merge_keys`): what is said above of waiting and of
error 1062 holds for each. In a secondary one INSERT locks also the gap before a key that it finds or that is being deleted, so
that more circles are possible; whom the server ends begins again. A row that is replaced keeps its primary key, as no step
deletes it, and AUTO_INCREMENT counts on for rows of step 1 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kafka_ingest.errors import TransactionConflict
from kafka_ingest.sinks.base import RowsRejected
from kafka_ingest.sinks.kept_columns import PlaceSql, default_of, is_outlived_sql, merged_sql
from kafka_ingest.sinks.latest_per_key import OrderSql, is_later_sql, same_key_sql
from kafka_ingest.streams.kept import NEVER, place_column
from kafka_ingest.streams.target import TargetTable

# Each further round means that another transaction has committed one of our keys, or deleted one, in the moment between two
# statements.
_ROUNDS = 100


class DuplicateKey(RowsRejected):
    """Error 1062: a row with one of these keys is there, since when is not said."""


@dataclass(frozen=True, slots=True)
class Statements:
    """How SQL is sent, as a sink classifies its errors."""

    run: Callable[[str], int]
    """Rows affected; of an UPDATE the rows found, changed or not (CLIENT_FOUND_ROWS). Raises RowsRejected."""
    count: Callable[[str], int]
    """The one number a SELECT gives."""
    places: PlaceSql
    run_with: Callable[[str, Sequence[object]], int]
    """As `run`, with values for the statement's placeholders."""
    indexes: Mapping[str, str]
    """Of each table that is merged into the unique key of exactly the target's key; all quoted."""

    def keyed(self, table: str, alias: str) -> str:
        """A table in FROM, whose rows are looked up by its key or not at all: error 1176 where that is there no longer."""
        return f"{table} AS {alias} FORCE INDEX ({self.indexes[table]})"

    @property
    def order(self) -> OrderSql:
        return self.places.order

    @property
    def quote(self) -> Callable[[str], str]:
        """A column's name, quoted."""
        return self.order.quote


def merge(
    statements: Statements, target: TargetTable, table: str, stage: str, names: Sequence[str], wanted: int
) -> None:
    """Insert or replace the `wanted` rows of `stage`, except where `table` holds a later one.

    Of a staged row and one of a table with kept columns it makes one, whichever is later.

    table, stage: quoted; of the rows or of the tombstones of `target`. names: all columns, the key among them.
    Raises RowsRejected where the database refuses a row, TransactionConflict where others never leave the keys alone.
    """
    quote, keys, keyed = statements.quote, target.key, statements.keyed
    same = same_key_sql(quote, keys, "t", "s")
    lacking = f"FROM {stage} AS s LEFT JOIN {keyed(table, 't')} ON {same} WHERE t.{quote(keys[0])} IS NULL"
    columns, staged = (", ".join(f"{row}{quote(n)}" for n in names) for row in ("", "s."))
    is_kept = bool(target.kept) and place_column(target.kept[0].name) in names
    update = _merge_rows if is_kept else _replace_earlier
    lacked: int | None = None
    for _ in range(_ROUNDS):
        try:
            inserted = statements.run(f"INSERT INTO {table} ({columns}) SELECT {staged} {lacking}")
        except DuplicateKey:
            lacks = statements.count(f"SELECT COUNT(*) {lacking}")
            if lacks == lacked:
                raise
            lacked = lacks
            continue
        if inserted == wanted:
            return  # all keys were new; looking for them once more would double the pages a large table has to read
        if update(statements, target, table, stage, names) == wanted or not statements.count(
            f"SELECT COUNT(*) {lacking}"
        ):
            return
    raise TransactionConflict(f"other transactions have changed keys of table {table} {_ROUNDS} times in a row.")


def merged_stage(stage: str) -> str:
    """Name of the staging table, with the same columns, that `merge` puts the rows into that it has made of two."""
    return f"{stage}_merged"


def _replace_earlier(statements: Statements, target: TargetTable, table: str, stage: str, names: Sequence[str]) -> int:
    """How many rows are not later than the staged ones: they are replaced."""
    quote, keyed = statements.quote, statements.keyed
    changes = ", ".join(f"t.{quote(n)} = s.{quote(n)}" for n in names if n not in target.key)
    # Not ON DUPLICATE KEY UPDATE: its assignments see each other's results, so no condition over several columns holds for
    # all of them, and a second unique key would make it change a row of another key. The rows just inserted are found,
    # too, and left as they are.
    return statements.run(
        f"UPDATE {stage} AS s STRAIGHT_JOIN {keyed(table, 't')} "
        f"ON {same_key_sql(quote, target.key, 't', 's')} SET {changes} "
        f"WHERE NOT ({is_later_sql(target, statements.order, 't', 's')})"
    )


def _merge_rows(statements: Statements, target: TargetTable, table: str, stage: str, names: Sequence[str]) -> int:
    """How many rows are, or may be, others when the staged ones have been merged with them."""
    quote, keys, made, keyed = statements.quote, target.key, merged_stage(stage), statements.keyed
    merged = merged_sql(target, statements.places, "t", "s")
    columns = ", ".join(map(quote, names))
    values = ", ".join(f"s.{quote(n)}" if n in keys else merged.columns[n] for n in names)
    changes = ", ".join(f"t.{quote(n)} = s.{quote(n)}" for n in names if n not in keys)
    same = same_key_sql(quote, keys, "t", "s")
    statements.run(f"DELETE FROM {made}")
    statements.run(
        f"INSERT INTO {made} ({columns}) SELECT {values} FROM {stage} AS s "
        f"STRAIGHT_JOIN {keyed(table, 't')} ON {same} WHERE {merged.differs} FOR UPDATE"
    )
    return statements.run(f"UPDATE {made} AS s STRAIGHT_JOIN {keyed(table, 't')} ON {same} SET {changes}")


def drop_buried(statements: Statements, target: TargetTable, stage: str, graves: str) -> int:
    """Take rows out of `stage` that a later tombstone has deleted already; how many. Saves writing them."""
    keyed, same = statements.keyed, same_key_sql(statements.quote, target.key, "s", "g")
    later = is_later_sql(target, statements.order, "g", "s")
    return statements.run(f"DELETE s FROM {stage} AS s STRAIGHT_JOIN {keyed(graves, 'g')} ON {same} WHERE {later}")


def bury(statements: Statements, target: TargetTable, table: str, stage: str, graves: str) -> None:
    """Delete rows of `stage`'s keys that a tombstone written meanwhile has deleted. After `merge`."""
    quote, keys, keyed = statements.quote, target.key, statements.keyed
    later = is_later_sql(target, statements.order, "g", "s")
    outlived = [is_outlived_sql(target, statements.places, bound.name, "s", "g") for bound in target.kept]
    same = same_key_sql(quote, keys, "s", "g")
    if statements.count(
        f"SELECT COUNT(*) FROM {stage} AS s STRAIGHT_JOIN {keyed(graves, 'g')} ON {same} "
        f"WHERE {' OR '.join([later, *outlived])} FOR UPDATE"
    ):
        _delete_buried(
            statements,
            target,
            f"{stage} AS s STRAIGHT_JOIN {keyed(graves, 'g')} ON {same} "
            f"STRAIGHT_JOIN {keyed(table, 't')} ON {same_key_sql(quote, keys, 's', 't')}",
        )


def delete_buried(statements: Statements, target: TargetTable, table: str, stage: str) -> None:
    """Delete the rows that the tombstones of `stage` delete, and take from the others what messages before these gave. After
    `merge`. Where another tombstone of a key is later, who has written that one, or a row before it, has looked for the other.
    Raises RowsRejected where the database refuses it."""
    same = same_key_sql(statements.quote, target.key, "g", "t")
    _delete_buried(statements, target, f"{stage} AS g STRAIGHT_JOIN {statements.keyed(table, 't')} ON {same}")


def _delete_buried(statements: Statements, target: TargetTable, buried: str) -> None:
    """buried: tombstones `g` joined with rows `t`."""
    # Waits for whoever is changing one of the rows, so that the statements behind it see what was merged into it.
    statements.run(f"DELETE t FROM {buried} WHERE {is_later_sql(target, statements.order, 'g', 't')}")
    for bound in target.kept:
        value, place = statements.places.columns("t", bound.name)
        statements.run_with(
            f"UPDATE {buried} SET {value} = %s, {place} = '{NEVER}' "
            f"WHERE {is_outlived_sql(target, statements.places, bound.name, 't', 'g')}",
            [default_of(target, bound)],
        )
