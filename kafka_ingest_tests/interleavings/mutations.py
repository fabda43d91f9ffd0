"""Mends taken out on purpose: each has to be found by the interleavings, or they would not notice if it were lost.

A mutation patches the loaded code for as long as its context is open: once, before there are transactions. A patch that each
transaction made for itself would stay where two of them end in the order they began in, as the later one takes the earlier one's
patch for the code that it puts back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import pandas as pd
import sqlalchemy as sa

from kafka_ingest import slices
from kafka_ingest.ledger.positions import ledger_fences
from kafka_ingest.ledger.tables import BATCHES, OFFSETS, of_partition
from kafka_ingest.sinks import kept_columns, load, table_writer
from kafka_ingest.sinks.admission import AdmittedPart, AdmittedSlice, RangeProposal
from kafka_ingest.sinks.base import RowsRejected
from kafka_ingest.sinks.latest_per_key import is_later_sql, same_key_sql
from kafka_ingest.sinks.mysql import merge as mysql_merge
from kafka_ingest.sinks.mysql import sink as mysql
from kafka_ingest.sinks.postgresql import merge as postgresql_merge
from kafka_ingest.sinks.postgresql import sink as postgresql


@dataclass(frozen=True)
class Mutation:
    """One mend taken out."""

    mend: str
    """What the code does no longer."""
    apply: Callable[[], AbstractContextManager[Any]]
    shape: str = "everything"
    databases: tuple[str, ...] = ("mysql", "mariadb", "postgresql")
    is_numbered: bool = False
    """It is about tables with a primary key of their own."""
    is_rare: bool = False
    """It is found after many hundreds of examples: by hand, and not in every check."""


def loaded_code() -> dict[tuple[str, str], object]:
    """What mutations patch, as it is now: the attributes of these modules and classes, by both names."""
    owners = (load, kept_columns, mysql, mysql_merge, postgresql, postgresql_merge, slices, table_writer)
    classes = (RangeProposal, table_writer.TableWriter)
    return {(owner.__name__, name): value for owner in (*owners, *classes) for name, value in vars(owner).items()}


def mutations_of(database: str) -> list[str]:
    """Names of those that this database has."""
    return [name for name, mutation in MUTATIONS.items() if database in mutation.databases]


def _patched(*where: Any, **changes: Any) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def patched() -> Iterator[None]:
        with ExitStack() as stack:
            for each in where:
                for name, change in changes.items():
                    stack.enter_context(mock.patch.object(each, name, change))
            yield

    return patched


class _Never(Exception):
    """Stands for an error that is not looked for."""


def _merge_once(statements: mysql_merge.Statements, *others: Any) -> None:
    """After the UPDATE nothing seems to be lacking."""
    last = ""

    def run(sql: str) -> int:
        nonlocal last
        last = sql
        return statements.run(sql)

    def count(sql: str) -> int:
        return 0 if last.startswith("UPDATE") else statements.count(sql)

    mysql_merge.merge(replace(statements, run=run, count=count), *others)


def _ignore_tombstones(
    statements: mysql_merge.Statements, target: Any, table: str, stage: str, names: Sequence[str], wanted: int
) -> None:
    if list(names) == list(target.columns):
        mysql_merge.merge(statements, target, table, stage, names, wanted)
    else:
        columns = ", ".join(map(statements.quote, names))
        statements.run(f"INSERT IGNORE INTO {table} ({columns}) SELECT {columns} FROM {stage}")


def _old_rule(_target: Any, _order: Any, one: str, other: str) -> str:
    by_time = [f"({row}._kafka_timestamp, {row}._kafka_partition, {row}._kafka_offset)" for row in (one, other)]
    return (
        f"CASE WHEN {one}._kafka_partition = {other}._kafka_partition THEN {one}._kafka_offset > {other}._kafka_offset "
        f"ELSE {by_time[0]} > {by_time[1]} END"
    )


def _unclaimed(
    statements: Any, target: Any, table: str, stage: str, names: Any, wanted: int, graves: Any = None, **more: bool
) -> None:
    postgresql_merge.merge(statements, target, table, stage, names, wanted, None, **more)


_claiming, _written = postgresql_merge._claiming, postgresql_merge._written
_replaced_apart = postgresql_merge._replaced_apart


def _offered_where_unseen(*of_replaced: Any) -> tuple[str, str]:
    """A key of which a row is seen is not offered to INSERT, whatever has become of that row."""
    replaced, source = _replaced_apart(*of_replaced)
    return replaced, f"{source[: source.index(' AND NOT (NOT')]})"


def _claimed_unlocked(*of_claiming: Any) -> str:
    """A tombstone that is there is only looked at by the claim."""
    sql = _claiming(*of_claiming)
    begin = sql.index("ON CONFLICT", sql.index("claimed AS"))
    return f"{sql[:begin]}ON CONFLICT DO NOTHING {sql[sql.index('RETURNING 1)', begin) :]}"


def _unguarded(*of_written: Any) -> str:
    """Whatever stands there is replaced."""
    return _written(*of_written).split(" WHERE NOT")[0]


def _unguarded_tombstones(statements: Any, target: Any, table: str, stage: str, names: Any) -> str:
    written = _written if list(names) == list(target.columns) else _unguarded
    return written(statements, target, table, stage, names)


def _compared_before(
    statements: Any, target: Any, table: str, stage: str, names: Any, _wanted: int, graves: Any = None, **more: bool
) -> None:
    """In a statement before the one that writes."""
    same = same_key_sql(statements.quote, target.key, "s", "t")
    later = is_later_sql(target, statements.order, "t", "s")
    statements.run(f"DELETE FROM {stage} AS s USING {table} AS t WHERE {same} AND {later}")
    postgresql_merge.merge(statements, target, table, stage, names, 0, graves, **more)


@contextmanager
def _compared_in_a_statement_before() -> Iterator[None]:
    with (
        mock.patch.object(postgresql, "merge", _compared_before),
        mock.patch.object(postgresql_merge, "_written", _unguarded),
    ):
        yield


def _judge_at_once(_writer: Any, _admitted: Any, refused: Mapping[Any, set[int]], _left_out: Any) -> dict[int, Any]:
    return {number: (target, "refused") for target, numbers in refused.items() for number in numbers}


def _unfenced(connection: Any, stream: str, partitions: Any, *, waits: bool = True) -> Any:
    return ledger_fences(connection, stream, partitions)


def _admit_all(proposal: Any, _connection: Any, _fences: Any) -> AdmittedSlice:
    raw = proposal.parsed.raw
    return AdmittedSlice(
        proposal.parsed,
        [
            AdmittedPart(each, proposal.kind, raw.order_before(number, each.start))
            for number, each in enumerate(raw.ranges)
        ],
    )


def _advance_freely(connection: Any, stream: str, moves: Any, *, run_id: str, now: Any) -> None:
    """Wherever the position is, and wherever it was."""
    for tp, move in moves.items():
        connection.execute(
            sa.update(OFFSETS)
            .where(of_partition(OFFSETS, stream, tp))
            .values(next_offset=move.next_offset, loaded_to=move.loaded_to, kafka_order=move.order)
        )


@contextmanager
def _backfills_by_their_start() -> Iterator[None]:
    """Only a backfill that begins inside the slice is taken for one that reaches into it."""
    admit = RangeProposal.admit
    begun: set[tuple[int, int]] = set()

    def look_and_admit(proposal: RangeProposal, connection: Any, fences: Any) -> AdmittedSlice:
        c = BATCHES.c
        begun.clear()
        begun.update(connection.execute(sa.select(c.kafka_partition, c.start_offset).where(c.kind == "backfill")).all())
        return admit(proposal, connection, fences)

    def was_loaded(proposal: RangeProposal, _fences: Any) -> bool:
        ranges = proposal.parsed.raw.ranges
        return proposal.kind != "live" or any(
            r.partition == p and r.start <= o < r.end for p, o in begun for r in ranges
        )

    with (
        mock.patch.object(RangeProposal, "admit", look_and_admit),
        mock.patch.object(RangeProposal, "was_loaded", was_loaded),
    ):
        yield


def _code(error: Exception) -> Any:
    """The server's own: MySQL's and MariaDB's number, PostgreSQL's SQLSTATE. PyMySQL's errors have both."""
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    if original is None:
        return None
    number = original.args[0] if original.args else None
    return number if isinstance(number, int) else getattr(original, "sqlstate", None)


def _blame_a_row(
    connection: sa.Connection, rows: pd.DataFrame, write: Callable[[pd.DataFrame], None], _target: Any = None
) -> dict[int, str]:
    """Takes a deadlock for a row that is refused."""
    refused: dict[int, str] = {}
    parts = [rows]
    while parts:
        part = parts.pop()
        try:
            connection.exec_driver_sql("SAVEPOINT part")
            write(part)
        except (RowsRejected, sa.exc.DBAPIError) as error:
            number = _code(error)
            if number is not None and number not in (1205, 1213, "55P03", "40P01"):
                raise
            if number != 1213:  # MySQL has rolled the whole transaction back
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
            if len(part) == 1:
                refused[int(part.index[0])] = str(error)
            else:
                middle = len(part) // 2
                parts += [part.iloc[middle:], part.iloc[:middle]]
    return refused


def _and_judged_at_once(
    mutation: Callable[[], AbstractContextManager[Any]],
) -> Callable[[], AbstractContextManager[Any]]:
    """Nor is a refused row tried again, which alone would do here."""

    @contextmanager
    def both() -> Iterator[None]:
        with mutation(), mock.patch.object(table_writer.TableWriter, "_write_again", _judge_at_once):
            yield

    return both


@contextmanager
def _no_position_fence() -> Iterator[None]:
    with (
        mock.patch.object(RangeProposal, "admit", _admit_all),
        mock.patch.object(load, "advance_positions", _advance_freely),
    ):
        yield


_MYSQL, _POSTGRESQL = ("mysql", "mariadb"), ("postgresql",)

MUTATIONS: Mapping[str, Mutation] = {
    "1062 is bad data": Mutation(
        "a key that another transaction has committed meanwhile is looked at again",
        _and_judged_at_once(_patched(mysql_merge, DuplicateKey=_Never)),
        "keys",
        databases=_MYSQL,
    ),
    "a vanished row": Mutation(
        "a row that was deleted between INSERT and UPDATE is written again",
        _patched(mysql, merge=_merge_once),
        "row and tombstone",
        databases=_MYSQL,
    ),
    "no burying": Mutation(
        "a row whose later tombstone was committed meanwhile is deleted",
        _patched(mysql, postgresql, bury=lambda *_all: None),
        "tombstones",
    ),
    "INSERT IGNORE of tombstones": Mutation(
        "of two tombstones the later one stays",
        _patched(mysql, merge=_ignore_tombstones),
        "two tombstones",
        databases=_MYSQL,
    ),
    "no claims": Mutation(
        "a key that is new is claimed in the table of tombstones",
        _patched(postgresql, merge=_unclaimed),
        "tombstones",
        databases=_POSTGRESQL,
    ),
    "claims do not lock": Mutation(
        "a claim locks the older tombstone that is there",
        _patched(postgresql_merge, _claiming=_claimed_unlocked),
        "row and tombstone",
        databases=_POSTGRESQL,
        is_rare=True,
    ),
    "no comparison": Mutation(
        "a row is replaced by a later one only",
        _patched(postgresql_merge, _written=_unguarded),
        "keys",
        databases=_POSTGRESQL,
    ),
    "compared before": Mutation(
        "rows are compared under their lock",
        _compared_in_a_statement_before,
        "keys",
        databases=_POSTGRESQL,
    ),
    "no comparison of tombstones": Mutation(
        "of two tombstones the later one stays",
        _patched(postgresql_merge, _written=_unguarded_tombstones),
        "two tombstones",
        databases=_POSTGRESQL,
    ),
    "what is seen is there": Mutation(
        "a row that is deleted as it is to be replaced is inserted",
        # Rows that are locked before are not deleted: without, it takes one writer less.
        _and_judged_at_once(
            _patched(postgresql_merge, _replaced_apart=_offered_where_unseen, _lock_rows=lambda *_all: None)
        ),
        "row and tombstone",
        databases=_POSTGRESQL,
        is_numbered=True,
    ),
    "order by timestamp": Mutation(
        "the order of a message is the largest timestamp up to it",
        _patched(slices, _running_maxima=lambda raw: raw.timestamps_ms.copy()),
        "order",
    ),
    "order by offset or timestamp": Mutation(
        "rows compare by one total order within and between partitions",
        _patched(mysql_merge, postgresql_merge, is_later_sql=_old_rule),
        "order",
    ),
    "judged at once": Mutation(
        "what is refused is tried again in order, with what it replaced",
        _patched(table_writer.TableWriter, _write_again=_judge_at_once),
        "held",
    ),
    "ahead and not compared": Mutation(
        "what was written ahead is compared with what was loaded since",
        _patched(load, loaded_since=lambda *_all: False),
        "backfills ahead",
    ),
    "ahead stays": Mutation(
        "what was written ahead stays only where all of it is admitted",
        _patched(load, _stay=lambda *_all: None),
        "lives ahead",
    ),
    "loaded_to not looked at": Mutation(
        "a live slice replaces what a backfill before it has loaded",
        _patched(RangeProposal, was_loaded=lambda proposal, _fences: proposal.kind != "live"),
        "backfills above",
    ),
    "backfills by their start": Mutation(
        "a backfill that began before the slice is seen too", _backfills_by_their_start, "backfills above"
    ),
    "no ledger lock": Mutation(
        "the ledger's rows are locked before they are compared", _patched(load, lock_fences=_unfenced), "plain"
    ),
    "no overlap skipped": Mutation(
        "what the ledger has already is left out", _patched(RangeProposal, admit=_admit_all), "plain"
    ),
    "no position fence": Mutation("positions are compared, and never go back", _no_position_fence, "plain"),
    "a deadlock is a row's": Mutation(
        "a deadlock ends the transaction, which begins again",
        _and_judged_at_once(_patched(table_writer, write_isolating=_blame_a_row)),
        "tombstones",
    ),
    "no columns of their own": Mutation(
        "each kept column goes by the message that gave it",
        _patched(kept_columns, _wins=lambda _target, _sql, _column, _rows, is_old_later: f"NOT {is_old_later}"),
        "partial",
    ),
    "a tombstone takes rows only": Mutation(
        "a tombstone takes what messages before it gave to a later row",
        _patched(mysql_merge, postgresql_merge, is_outlived_sql=lambda *_all: "1 = 0"),
        "partial",
    ),
    "no topic id": Mutation(
        "a slice of another topic of the name is refused",
        _patched(RangeProposal, _check_log=lambda *_all: None),
        "recreated",
    ),
}
