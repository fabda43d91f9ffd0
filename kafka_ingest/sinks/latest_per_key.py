"""Which of several messages for one business key counts: the last one in a total order over messages, in Python, pandas and SQL.

A message's place is (order, topic, Kafka partition, offset). Its order is the largest Kafka timestamp of its partition up to and
including it (`RawSlice.orders`), so places rise with the offset within a partition, and compare by time between partitions. They
are a property of the log, and of nothing else: who loads, in which slices and how often does not change them. A model may put a
field of its own before (`UpsertModel.order_by`).

Rows of a version before there was an order have none. Their own timestamp, the first part of what it would be, stands for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.slices import NO_ORDER, RawSlice
from kafka_ingest.streams.model import ORDER_COLUMN
from kafka_ingest.streams.target import TargetTable

_POSITION = ("_kafka_topic", "_kafka_partition", "_kafka_offset")
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  as stored: naive UTC


class Place(NamedTuple):
    """A message's place in the total order."""

    own: list[object]
    """The value of the model's own order field; empty for NULL, or where it has none."""
    order: int
    topic: str
    partition: int
    offset: int

    @classmethod
    def of(
        cls, topic: str, partition: int, offset: int, stamp: dt.datetime | None, order: int | None, own: Any = None
    ) -> Place:
        """order: None in rows of an older version, for which the timestamp stands."""
        value = own.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(own, dt.datetime) else own
        if order is None:
            order = NO_ORDER if stamp is None else (stamp - _EPOCH) // dt.timedelta(milliseconds=1)
        return cls([] if value is None else [value], order, topic, partition, offset)

    def is_later(self, other: Place) -> bool:
        """Whether it stands strictly after the other; within a partition only the offset is compared."""
        if self.own == other.own and (self.topic, self.partition) == (other.topic, other.partition):
            return self.offset > other.offset
        return self > other


def latest_per_key(
    target: TargetTable, raw: RawSlice, rows: pd.DataFrame | None, deletes: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to upsert and the keys to delete, each business key in at most one of the two.

    rows, deletes: of messages of `raw`, by message number. A tombstone counts in the same order as a row does.
    """
    keys = list(target.key)
    empty = pd.DataFrame(columns=list(target.columns))
    if rows is not None and (deletes is None or not len(deletes)) and not rows.duplicated(keys).any():
        return rows, empty
    found = pd.concat([frame[keys].astype(object) for frame in (rows, deletes) if frame is not None])
    in_order = found.iloc[np.argsort(places(target, raw, rows, found.index))]
    last = in_order.index[~in_order.duplicated(keys, keep="last")]
    return (
        empty if rows is None else rows[rows.index.isin(last)],
        empty if deletes is None else deletes[deletes.index.isin(last)],
    )


def places(target: TargetTable, raw: RawSlice, rows: pd.DataFrame | None, numbers: pd.Index) -> npt.NDArray[np.int64]:
    """Where these messages stand in the total order of `target`, relative to each other. Deletes are among them only where
    the model has no order field of its own."""
    ranks: npt.NDArray[np.int64] = raw.ranks()[numbers.to_numpy(dtype=np.int64)]
    if target.order_by is None or rows is None:
        return ranks
    # NULL has the code -1, and so is before every value; equal values fall back to the messages' own order.
    codes, _ = pd.factorize(rows.loc[numbers, target.order_by], sort=True)
    found = np.empty(len(numbers), dtype=np.int64)
    found[np.lexsort((ranks, codes))] = np.arange(len(numbers))
    return found


def _as_it_is(expression: str) -> str:
    return expression


@dataclass(frozen=True, slots=True)
class OrderSql:
    """How a database writes what the order compares, as SQL."""

    quote: Callable[[str], str]
    """A column's name, quoted."""
    milliseconds: Callable[[str], str]
    """A date column's value in milliseconds since the epoch; NULL for NULL."""
    by_code_point: Callable[[str], str] = _as_it_is
    """A text, compared by code points as pandas does, where the column's own collation would not."""


def is_later_sql(target: TargetTable, sql: OrderSql, one: str, other: str) -> str:
    """SQL for the rule that this module is about: row `one` stands strictly after row `other`. Needs row values and CASE of
    standard SQL only.

    one, other: names or aliases of two tables with the columns of `target`, or with its key and `_kafka_*` columns where it has
    no `order_by`; quoted where they need it.

    Within a partition only the offset is compared. Where both rows have an order it says the same; the timestamp that stands
    for it in a row of an older version may be earlier than those of messages before it.
    """
    topic, partition, offset = _POSITION
    is_one_partition = f"{one}.{topic} = {other}.{topic} AND {one}.{partition} = {other}.{partition}"

    def place(row: str) -> str:
        order = f"COALESCE({row}.{ORDER_COLUMN}, {sql.milliseconds(f'{row}._kafka_timestamp')}, {NO_ORDER})"
        parts = [
            f"CASE WHEN {is_one_partition} THEN 0 ELSE {order} END",
            sql.by_code_point(f"{row}.{topic}"),
            f"{row}.{partition}",
            f"{row}.{offset}",
        ]
        if target.order_by is not None:
            own = f"{row}.{sql.quote(target.order_by)}"
            # NULL is before every value, the first that the column can hold too.
            parts = [f"{own} IS NOT NULL", f"COALESCE({own}, {_filler(target, target.order_by)})", *parts]
        return f"({', '.join(parts)})"

    return f"{place(one)} > {place(other)}"


def _filler(target: TargetTable, column: str) -> str:
    """A value of the column's type, as no comparison with NULL is true."""
    return "'1970-01-01 00:00:00'" if isinstance(target.table.c[column].type, sa.DateTime) else "0"


def same_key_sql(quote: Callable[[str], str], keys: Sequence[str], one: str, other: str) -> str:
    """SQL: the two rows have one business key.

    quote: a column's name, quoted. keys: `TargetTable.key`. one, other: as for `is_later_sql`.
    """
    return " AND ".join(f"{one}.{quote(k)} = {other}.{quote(k)}" for k in keys)
