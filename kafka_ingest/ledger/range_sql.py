"""Offset ranges as SQL conditions, in as few statements as a server handles well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import TypeVar

import sqlalchemy as sa

from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.type_names import SqlExpression, SqlSelect

T = TypeVar("T")

# Values of one IN list: few round trips, and far below every server's limit (SQLite's is 32,766 parameters).
IN_VALUES = 1_000

# Conditions of one statement: few round trips where a stream has a thousand partitions; SQLite's expressions are at most 1,000
# deep.
OR_TERMS = 100

# Statements of so many terms are large, and making one costs more than running it: they are made once for each number of terms,
# with parameters, of which there are few (`in_terms`). So many are kept of each kind.
KEPT_STATEMENTS = 64

PositionColumns = tuple[SqlExpression, SqlExpression, SqlExpression]
"""The columns of topic, Kafka partition and offset."""


def position_of(table: sa.Table) -> PositionColumns:
    """The position columns of a target table."""
    return table.c["_kafka_topic"], table.c["_kafka_partition"], table.c["_kafka_offset"]


def range_conditions(
    columns: PositionColumns, ranges: Iterable[OffsetRange]
) -> Iterator[tuple[sa.ColumnElement[bool], Mapping[str, object]]]:
    """Conditions that together hold exactly for these ranges, each for a statement of its own, with its parameters. Conditions of
    one form are one object, so that a statement made with it can be kept.

    Ranges of a single offset, of which a replay has many, are put together as lists per Kafka partition.
    """
    single: dict[TopicPartition, list[int]] = {}
    longer: list[OffsetRange] = []
    for each in ranges:
        if each.size == 1:
            single.setdefault(each.topic_partition, []).append(each.start)
        else:
            longer.append(each)
    for some in in_terms(longer):
        yield _in_ranges(columns, len(some)), range_parameters(some)
    for tp, offsets in single.items():
        for values in in_lists(offsets):
            yield _in_offsets(columns), {"topic": tp.topic, "partition": tp.partition, "offsets": values}


@lru_cache(KEPT_STATEMENTS)
def _in_ranges(columns: PositionColumns, count: int) -> sa.ColumnElement[bool]:
    topic, partition, offset = columns
    return sa.or_(
        *(
            sa.and_(
                topic == _parameter("topic", number, topic),
                partition == _parameter("partition", number, partition),
                offset >= _parameter("start", number, offset),
                offset < _parameter("end", number, offset),
            )
            for number in range(count)
        )
    )


@lru_cache(KEPT_STATEMENTS)
def _in_offsets(columns: PositionColumns) -> sa.ColumnElement[bool]:
    topic, partition, offset = columns
    return sa.and_(
        topic == sa.bindparam("topic", type_=topic.type),
        partition == sa.bindparam("partition", type_=partition.type),
        offset.in_(sa.bindparam("offsets", expanding=True)),
    )


def range_parameters(ranges: Sequence[OffsetRange]) -> dict[str, object]:
    """`topic_0`, `partition_0`, `start_0`, `end_0`, `topic_1`, …: those of a statement about so many ranges."""
    return {
        f"{name}_{number}": value
        for number, each in enumerate(ranges)
        for name, value in (
            ("topic", each.topic),
            ("partition", each.partition),
            ("start", each.start),
            ("end", each.end),
        )
    }


@lru_cache(KEPT_STATEMENTS)
def partition_terms(table: sa.Table, count: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Of so many Kafka partitions, the conditions that one of the ledger's tables' rows concerns each of them, for
    `partition_parameters`."""
    topic, partition = table.c.topic, table.c.kafka_partition
    return tuple(
        sa.and_(
            topic == _parameter("topic", number, topic),
            partition == _parameter("partition", number, partition),
        )
        for number in range(count)
    )


def partition_parameters(stream: str, partitions: Iterable[TopicPartition]) -> dict[str, object]:
    """`of_stream`, `topic_0`, `partition_0`, `topic_1`, …"""
    found: dict[str, object] = {"of_stream": stream}
    for number, tp in enumerate(partitions):
        found[f"topic_{number}"], found[f"partition_{number}"] = tp
    return found


def _parameter(name: str, number: int, column: SqlExpression) -> sa.BindParameter[object]:
    return sa.bindparam(f"{name}_{number}", type_=column.type)


def in_terms(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, as many at a time as a statement has terms: 1, 2, 4, … 64 or OR_TERMS, the last of them repeated to get there,
    which says nothing new."""
    for some in parts(values, OR_TERMS):
        count = min(1 << (len(some) - 1).bit_length(), OR_TERMS)
        yield [*some, *repeat(some[-1], count - len(some))]


def in_lists(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """The values in parts, each short enough for an IN list."""
    return parts(values, IN_VALUES)


def parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values in order, `size` at a time; the last part may be shorter."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def delete_ranges(
    connection: sa.Connection, table: sa.Table, columns: PositionColumns, ranges: Iterable[OffsetRange]
) -> None:
    """Delete a table's rows in these ranges.

    Looked for first, without a lock, as there seldom are any: a DELETE that finds nothing still waits for the row after its
    range, or, in a small table, for every row that another loader has not committed yet.
    """
    for condition, parameters in range_conditions(columns, ranges):
        if connection.execute(_is_there(table, condition), parameters).first() is not None:
            connection.execute(sa.delete(table).where(condition), parameters)


@lru_cache(KEPT_STATEMENTS)
def _is_there(table: sa.Table, condition: sa.ColumnElement[bool]) -> SqlSelect:
    return sa.select(sa.literal(1)).select_from(table).where(condition).limit(1)
