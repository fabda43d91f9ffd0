"""Which of several messages for one business key counts: the last one in a total order over messages, in Python, pandas and SQL.

A message's place is (order, topic, Kafka partition, offset). Its order is the largest Kafka timestamp of its partition up to and
including it (`RawSlice.orders`), so places rise with the offset within a partition, and compare by time between partitions. They
are a property of the log, and of nothing else: who loads, in which slices and how often does not change them. A model may put a
field of its own before (`UpsertModel.order_by`), which deletes then have, too.

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
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.slices import NO_ORDER, Position, RawSlice
from kafka_ingest.streams.kept import NEVER, own_text, place_column, place_text
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
        value = own.isoformat(" ", "microseconds") if isinstance(own, dt.datetime) else own
        value = value.isoformat() if isinstance(value, dt.date) else value
        if order is None:
            order = NO_ORDER if stamp is None else (stamp - _EPOCH) // dt.timedelta(milliseconds=1)
        return cls([] if value is None else [value], order, topic, partition, offset)

    def text(self, *, has_own: bool) -> str:
        """As tables with kept columns have it (streams/kept.py). has_own: whether the model has an order field of its own."""
        value: Any = self.own[0] if self.own else None
        position = Position(self.topic, self.partition, self.offset)
        return place_text(self.order, position, own_text(value) if has_own else "")

    def is_later(self, other: Place) -> bool:
        """Whether it stands strictly after the other; within a partition only the offset is compared."""
        if self.own == other.own and (self.topic, self.partition) == (other.topic, other.partition):
            return self.offset > other.offset
        return self > other


def latest_per_key(
    target: TargetTable, raw: RawSlice, rows: pd.DataFrame | None, deletes: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to upsert and the keys to delete, each business key in at most one of the two.

    rows, deletes: of messages of `raw`, by message number. A tombstone counts in the same order as a row does, and of the rows of
    one message the last one, before its deletes.

    Of a table with kept columns each key's row is what its messages behind its last tombstone make together, and the tombstone is
    there, too: the table may hold values of messages before it.
    """
    keys = list(target.key)
    empty = pd.DataFrame(columns=list(target.columns))
    if rows is not None and (deletes is None or not len(deletes)) and not rows.duplicated(keys).any():
        return rows, empty
    frames = [frame for frame in (deletes, rows) if frame is not None]
    found = pd.concat([frame[keys].astype(object) for frame in frames])
    own = None if target.order_by is None else pd.concat([frame[target.order_by] for frame in frames])
    ranks = places(raw, found.index, own)
    if target.kept:
        codes = np.array(found.groupby(keys, sort=False).ngroup(), dtype=np.int64)
        return _folded(target, rows, deletes, codes, ranks)
    order = np.argsort(ranks, kind="stable")
    is_last = np.empty(len(found), dtype=bool)
    is_last[order] = ~found.iloc[order].duplicated(keys, keep="last").to_numpy()
    of_deletes = 0 if deletes is None else len(deletes)
    return (
        empty if rows is None else rows[is_last[of_deletes:]],
        empty if deletes is None else deletes[is_last[:of_deletes]],
    )


def _folded(
    target: TargetTable,
    rows: pd.DataFrame | None,
    deletes: pd.DataFrame | None,
    keys: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`latest_per_key` of a table with kept columns. keys, ranks: of the deletes, then of the rows, a number for each key and the
    message's place."""
    found = empty = pd.DataFrame(columns=list(target.columns))
    start = 0 if deletes is None else len(deletes)
    last_delete = np.full(int(keys.max(initial=-1)) + 1, -1, dtype=np.int64)
    np.maximum.at(last_delete, keys[:start], ranks[:start])
    if rows is not None:
        own_keys, own_ranks = keys[start:], ranks[start:]
        in_order = np.argsort(own_ranks)
        # A message that is a row and a delete of its key, too, makes the row anew.
        in_order = in_order[own_ranks[in_order] >= last_delete[own_keys[in_order]]]
        winners = np.sort(_last(own_keys, in_order, np.unique(own_keys[in_order])))
        found = rows.iloc[winners].assign(**_gathered(target, rows, own_keys, in_order, winners))
    return found, empty if deletes is None else deletes[ranks[:start] == last_delete[keys[:start]]]


def _gathered(
    target: TargetTable,
    rows: pd.DataFrame,
    keys: npt.NDArray[np.int64],
    in_order: npt.NDArray[np.int64],
    winners: npt.NDArray[np.int64],
) -> dict[str, pd.Series]:
    """The kept columns of the rows `winners`, and their places, where another message of the key has given a value.

    in_order: the rows that count, from the first to the last in the total order.
    """
    givers: dict[str, npt.NDArray[np.int64]] = {}
    for bound in target.kept:
        own = arrow_column(rows, place_column(bound.name))
        is_carried = ~pc.equal(own, pa.scalar(NEVER, own.type)).fill_null(False).to_numpy(zero_copy_only=False)
        given = _last(keys, in_order[is_carried[in_order]], keys[winners])
        givers[bound.name] = np.where(given < 0, winners, given)
    texts = _place_texts(
        target, rows, np.unique(np.concatenate([given[given != winners] for given in givers.values()]))
    )
    columns: dict[str, pd.Series] = {}
    for name, given in givers.items():
        places_of = arrow_column(rows, place_column(name)).take(winners).to_pylist()
        for at in np.flatnonzero(given != winners).tolist():
            places_of[at] = texts[int(given[at])]
        columns[name] = rows[name].take(given).set_axis(rows.index[winners])
        place = pd.arrays.ArrowExtensionArray(pa.array(places_of, pa.large_string()))
        columns[place_column(name)] = pd.Series(place, rows.index[winners])
    return columns


def _last(
    keys: npt.NDArray[np.int64], in_order: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The last of the rows `in_order` that has the key, for each wanted key; -1 for none."""
    found = np.full(int(keys.max(initial=-1)) + 1, -1, dtype=np.int64)
    found[keys[in_order]] = in_order  # of a place that is given several times the last value counts
    return found[wanted]


def _place_texts(target: TargetTable, rows: pd.DataFrame, chosen: npt.NDArray[np.int64]) -> dict[int, str]:
    """Of the rows at these places, the places of their messages in the total order."""
    some = rows.iloc[chosen]
    has_own = target.order_by is not None
    names = [*_POSITION, "_kafka_timestamp", ORDER_COLUMN, *([target.order_by] if target.order_by is not None else [])]
    messages = zip(*(arrow_column(some, name).to_pylist() for name in names), strict=True)
    return {at: Place.of(*each).text(has_own=has_own) for at, each in zip(chosen.tolist(), messages, strict=True)}


def places(raw: RawSlice, numbers: pd.Index, own: pd.Series | None) -> npt.NDArray[np.int64]:
    """Where these messages stand in the total order, relative to each other. own: their values of the model's order field;
    None where it has none."""
    ranks: npt.NDArray[np.int64] = raw.ranks()[numbers.to_numpy(dtype=np.int64)]
    if own is None:
        return ranks
    # NULL has the code -1, and so is before every value; equal values fall back to the messages' own order.
    codes, _ = pd.factorize(own, sort=True)
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

    one, other: names or aliases of two tables with the columns of `target`, or with its `delete_columns`; quoted where they need
    it.

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
    kind = target.table.c[column].type
    if isinstance(kind, sa.Date):
        return "'1970-01-01'"
    return "'1970-01-01 00:00:00'" if isinstance(kind, sa.DateTime) else "0"


def same_key_sql(quote: Callable[[str], str], keys: Sequence[str], one: str, other: str) -> str:
    """SQL: the two rows have one business key.

    quote: a column's name, quoted. keys: `TargetTable.key`. one, other: as for `is_later_sql`.
    """
    return " AND ".join(f"{one}.{quote(k)} = {other}.{quote(k)}" for k in keys)
