"""Offset ranges as SQL conditions, in as few statements as a server handles well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa

from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.type_names import SqlExpression

T = TypeVar("T")

# Values of one IN list: few round trips, and far below every server's limit (SQLite's is 32,766 parameters).
IN_VALUES = 1_000

# Conditions of one statement: few round trips where a stream has a thousand partitions; SQLite's expressions are at most 1,000
# deep.
OR_TERMS = 100

PositionColumns = tuple[SqlExpression, SqlExpression, SqlExpression]
"""The columns of topic, Kafka partition and offset."""


def position_of(table: sa.Table) -> PositionColumns:
    """The position columns of a target table."""
    return table.c["_kafka_topic"], table.c["_kafka_partition"], table.c["_kafka_offset"]


def range_conditions(columns: PositionColumns, ranges: Iterable[OffsetRange]) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that together hold exactly for these ranges, each for a statement of its own.

    Ranges of a single offset, of which a replay has many, are put together as lists per Kafka partition.
    """
    topic, partition, offset = columns
    single: dict[TopicPartition, list[int]] = {}
    longer: list[sa.ColumnElement[bool]] = []
    for each in ranges:
        if each.size == 1:
            single.setdefault(each.topic_partition, []).append(each.start)
        else:
            where = sa.and_(topic == each.topic, partition == each.partition)
            longer.append(sa.and_(where, offset >= each.start, offset < each.end))
    yield from any_of(longer)
    for tp, offsets in single.items():
        for values in in_lists(offsets):
            yield sa.and_(topic == tp.topic, partition == tp.partition, offset.in_(values))


def any_of(conditions: Sequence[sa.ColumnElement[bool]]) -> Iterator[sa.ColumnElement[bool]]:
    """The conditions joined by OR, as many at a time as a server plans well."""
    for some in parts(conditions, OR_TERMS):
        yield sa.or_(*some)


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
    for condition in range_conditions(columns, ranges):
        there = sa.select(sa.literal(1)).select_from(table).where(condition).limit(1)
        if connection.execute(there).first() is not None:
            connection.execute(sa.delete(table).where(condition))
