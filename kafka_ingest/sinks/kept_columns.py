"""Kept columns (streams/kept.py) as SQL: two rows of one key made one, and what a tombstone takes from a later row.

Rows of one key, in whatever order they come, make the same row: of each kept column the value whose message is last in the total
order, of every other column that of the later row. A tombstone in between takes from the row what messages before it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.validate import typed_column
from kafka_ingest.sinks.driver_rows import as_text_dates
from kafka_ingest.sinks.latest_per_key import OrderSql, is_later_sql
from kafka_ingest.slices import NO_ORDER
from kafka_ingest.streams.column_types import BINARIES
from kafka_ingest.streams.kept import (
    BEFORE_A,
    DAY_CHARACTERS,
    NEVER,
    ORDER_SHIFT,
    OWN_IS_NULL,
    OWN_NEGATIVE,
    OWN_NULL,
    OWN_VALUE,
    SEPARATOR,
    place_column,
)
from kafka_ingest.streams.model import ORDER_COLUMN, BoundColumn
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import ArrowArray

_LETTERS = "".join(chr(BEFORE_A + 1 + digits) for digits in range(20))


@dataclass(frozen=True, slots=True)
class PlaceSql:
    """How a database writes a message's place as the text that `streams/kept.py` makes of it."""

    order: OrderSql
    joined: Callable[[Sequence[str]], str]
    """Texts, and what `digits` gives, as one."""
    digits: Callable[[str], str]
    """A number as text."""
    padded: Callable[[str], str]
    """A number that is not negative, as text of 19 digits."""
    instant: Callable[[str], str]
    """A date column's value as `YYYY-MM-DD HH:MM:SS.ffffff`; of one without a time at least the day."""

    def of_row(self, target: TargetTable, row: str) -> str:
        """The place of a row's own message. row: name or alias of a table as for `is_later_sql`."""
        order = f"COALESCE({row}.{ORDER_COLUMN}, {self.order.milliseconds(f'{row}._kafka_timestamp')}, {NO_ORDER})"
        own = [] if target.order_by is None else [self._own(target, target.order_by, row)]
        return self.joined(
            [
                *own,
                *self._counted(f"{order} + {ORDER_SHIFT}"),
                f"{row}._kafka_topic",
                f"'{SEPARATOR}'",
                *self._counted(f"{row}._kafka_partition"),
                *self._counted(f"{row}._kafka_offset"),
            ]
        )

    def of_column(self, target: TargetTable, row: str, column: str) -> str:
        """The place of the message that gave a kept column's value; NEVER where none has."""
        value, place = self.columns(row, column)
        return (
            f"CASE WHEN {place} = '{OWN_NULL}' OR ({place} IS NULL AND {value} IS NOT NULL) "
            f"THEN {self.of_row(target, row)} ELSE COALESCE({place}, '{NEVER}') END"
        )

    def columns(self, row: str, column: str) -> tuple[str, str]:
        """A kept column of a row, and its place."""
        return f"{row}.{self.order.quote(column)}", f"{row}.{self.order.quote(place_column(column))}"

    def _counted(self, number: str) -> list[str]:
        digits = self.digits(f"({number})")
        return [f"SUBSTR('{_LETTERS}', LENGTH({digits}), 1)", digits]

    def _own(self, target: TargetTable, order_by: str, row: str) -> str:
        own = f"{row}.{self.order.quote(order_by)}"
        kind = target.table.c[order_by].type
        if isinstance(kind, sa.DateTime | sa.Date):
            instant = self.instant(own)
            text = instant if isinstance(kind, sa.DateTime) else f"SUBSTR({instant}, 1, {DAY_CHARACTERS})"
            value = self.joined([f"'{OWN_VALUE}'", text])
            return f"CASE WHEN {own} IS NULL THEN '{OWN_IS_NULL}' ELSE {value} END"
        negative = self.joined([f"'{OWN_NEGATIVE}'", self.padded(f"({own} + 9223372036854775807 + 1)")])
        value = self.joined([f"'{OWN_VALUE}'", *self._counted(own)])
        return f"CASE WHEN {own} IS NULL THEN '{OWN_IS_NULL}' WHEN {own} < 0 THEN {negative} ELSE {value} END"


@dataclass(frozen=True, slots=True)
class MergedSql:
    """Two rows of one key, as one."""

    columns: Mapping[str, str]
    """Column → SQL of its value; the columns of the key are not among them."""
    differs: str
    """SQL: that row is, or may be, another one than the old row."""


def merged_sql(target: TargetTable, sql: PlaceSql, old: str, new: str) -> MergedSql:
    """What becomes of a table's row `old` as `new` comes. old, new: as for `is_later_sql`. For tables with kept columns."""
    quote = sql.order.quote
    is_old_later = f"({is_later_sql(target, sql.order, old, new)})"
    columns: dict[str, str] = {}
    wins = {bound.name: _wins(target, sql, bound.name, (old, new), is_old_later) for bound in target.kept}
    for column, is_newer in wins.items():
        (value, place), (new_value, new_place) = sql.columns(old, column), sql.columns(new, column)
        columns[column] = f"CASE WHEN {is_newer} THEN {new_value} ELSE {value} END"
        columns[place_column(column)] = (
            f"CASE WHEN {is_newer} "
            f"THEN CASE WHEN {is_old_later} THEN {sql.of_column(target, new, column)} ELSE {new_place} END "
            f"ELSE CASE WHEN {is_old_later} THEN {place} ELSE {sql.of_column(target, old, column)} END END"
        )
    for name in target.columns:
        if name not in target.key and name not in columns:
            columns[name] = f"CASE WHEN {is_old_later} THEN {old}.{quote(name)} ELSE {new}.{quote(name)} END"
    return MergedSql(columns, " OR ".join([f"NOT {is_old_later}", *wins.values()]))


def _wins(target: TargetTable, sql: PlaceSql, column: str, rows: tuple[str, str], is_old_later: str) -> str:
    """Whether the new row's value of a kept column is the later one."""
    old, new = rows
    (old_value, old_place), (_, new_place) = sql.columns(old, column), sql.columns(new, column)
    by_code_point = sql.order.by_code_point
    places = [by_code_point(f"({sql.of_column(target, row, column)})") for row in (new, old)]
    return (
        f"CASE WHEN {new_place} = '{NEVER}' THEN FALSE "
        f"WHEN {old_place} = '{NEVER}' OR ({old_place} IS NULL AND {old_value} IS NULL) THEN TRUE "
        f"WHEN {new_place} IS NULL AND {old_place} IS NULL THEN NOT {is_old_later} "
        f"ELSE {places[0]} >= {places[1]} END"
    )


def is_outlived_sql(target: TargetTable, sql: PlaceSql, column: str, row: str, grave: str) -> str:
    """SQL: a row's value of a kept column is of a message before the tombstone `grave`, and the row itself is later."""
    _, place = sql.columns(row, column)
    by_code_point = sql.order.by_code_point
    return (
        f"{place} <> '{NEVER}' AND {place} <> '{OWN_NULL}' "
        f"AND {by_code_point(place)} < {by_code_point(sql.of_row(target, grave))}"
    )


def default_array(target: TargetTable, bound: BoundColumn) -> ArrowArray:
    """What a kept column holds that no message has carried, one value. Raises ConfigError for a default that it does not take."""
    errors: dict[int, str] = {}
    array = typed_column(pd.Series([None], dtype=object), bound, np.zeros(1, dtype=np.int64), errors)
    if errors:
        raise ConfigError(f"model {target.model_name}: the default of {errors[0]}", model=target.model_name)
    return array


def default_of(target: TargetTable, bound: BoundColumn) -> object:
    """The same as `driver_rows` has it, but bytes as such."""
    value = as_text_dates(default_array(target, bound)).to_pylist()[0]
    return bytes.fromhex(value) if value is not None and isinstance(bound.column.type, BINARIES) else value
