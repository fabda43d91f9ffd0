"""Models: one SQLAlchemy declarative class per message type says fields, columns, keys and date rules, and nothing else does.

class Quote(AppendModel):                      # or UpsertModel, which needs primary_key=True somewhere
    __tablename__ = "quotes"
    symbol: Mapped[str] = field(String(16))
    price: Mapped[float] = field(Float, path="last.price")
    at: Mapped[datetime] = date_field(timezone="Asia/Shanghai")
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column

from kafka_ingest.dates import DateRule
from kafka_ingest.type_names import SqlColumn, SqlType

KAFKA_COLUMNS = ("_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_timestamp")
"""On every target table."""
ORDER_COLUMN = "_kafka_order"
"""On upsert tables and their tombstones: with the position, the row's place in the total order over messages."""
PLACE_COLUMNS = (*KAFKA_COLUMNS, ORDER_COLUMN)

# Topic names are at most 249 ASCII characters (Kafka: org.apache.kafka.common.internals.Topic); the rest is for "@" and
# the id of a topic that was recreated since (engine/loss.py).
TOPIC_TYPE = sa.String(280).with_variant(mysql.VARCHAR(280, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
MICROSECONDS = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UNSIGNED_OFFSET = sa.BigInteger()

FIELD_RULE = "kafka_ingest"
"""Key of a column's FieldRule in its `info`."""
FIELD_ZONE = "kafka_ingest_zone"
"""Key of a date column's own time zone there; None where the stream's is meant."""


class ExactText(sa.types.TypeDecorator[str]):
    """Text compared byte for byte, trailing spaces included: what a business key needs.

    Where a database's own text columns do not compare so, its sink says how this one is declared (sinks/mysql/exact_text.py).
    """

    impl = sa.String
    cache_ok = True

    @property
    def length(self) -> int | None:
        """Characters it holds."""
        found: int | None = self.impl_instance.length  # type: ignore[attr-defined]
        return found


_INTEGER_BITS: tuple[tuple[type[SqlType], int], ...] = (
    (sa.SmallInteger, 16),
    (sa.BigInteger, 64),
    (sa.Integer, 32),
)


def integer_bits(kind: SqlType) -> int | None:
    """Width of an integer type; None for any other."""
    return next((bits for cls, bits in _INTEGER_BITS if isinstance(kind, cls)), None)


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where a column's value comes from in the message."""

    path: tuple[str, ...]
    dates: DateRule | None = None
    on_error: Literal["dead_letter", "null"] = "dead_letter"


class Model(DeclarativeBase):
    """Base of all models. Every table carries the Kafka position of the message each row came from."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {dt.datetime: MICROSECONDS}

    if TYPE_CHECKING:  # SQLAlchemy says FromClause, as a class may be mapped to a query; ours are mapped to tables
        __table__: ClassVar[sa.Table]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        table = cls.__dict__.get("__table__")
        if table is not None:
            # Here and not in __table_args__, so that a model with constraints of its own keeps them. Transactions need
            # InnoDB; utf8mb4 is all of Unicode.
            for dialect in ("mysql", "mariadb"):
                table.dialect_kwargs.setdefault(f"{dialect}_engine", "InnoDB")
                table.dialect_kwargs.setdefault(f"{dialect}_charset", "utf8mb4")


class _Columns:
    _kafka_timestamp: Mapped[dt.datetime | None] = mapped_column(
        "_kafka_timestamp", MICROSECONDS, sort_order=103, comment="Kafka message timestamp, UTC"
    )


class AppendModel(_Columns, Model):
    """One row per message, keyed by Kafka position. Loading a range again replaces that range's rows."""

    __abstract__ = True

    _kafka_topic: Mapped[str] = mapped_column("_kafka_topic", TOPIC_TYPE, primary_key=True, sort_order=100)
    _kafka_partition: Mapped[int] = mapped_column(
        "_kafka_partition", sa.Integer, primary_key=True, sort_order=101, autoincrement=False
    )
    _kafka_offset: Mapped[int] = mapped_column(
        "_kafka_offset", UNSIGNED_OFFSET, primary_key=True, sort_order=102, autoincrement=False
    )


class UpsertModel(_Columns, Model):
    """One row per business key (the columns with `primary_key=True`): that of the last message.

    Within a Kafka partition the last message is the one with the highest offset. Of a key seen in two partitions (the topic
    grew, or two topics feed the table) it is the one with the later Kafka timestamp, where a message counts as no earlier than
    those before it in its partition; `sinks/latest_per_key.py` has the whole rule.
    """

    __abstract__ = True

    delete_on_tombstone: ClassVar[bool] = False
    """A message with a null value deletes the row its key names; `tombstone_key` says how the key is written."""
    tombstone_key: ClassVar[Literal["json", "text"]] = "json"
    """How a message key names a row to delete. It is read as a row's fields are; what cannot be read is a dead letter.

    json: a JSON object with the key columns' fields (by the last name of their paths), or, for a single key column, a JSON
          string or number.
    text: for a single key column only: the key's bytes, as UTF-8, are the value itself, quotes and blanks included."""

    _kafka_topic: Mapped[str] = mapped_column("_kafka_topic", TOPIC_TYPE, sort_order=100)
    _kafka_partition: Mapped[int] = mapped_column("_kafka_partition", sa.Integer, sort_order=101)
    _kafka_offset: Mapped[int] = mapped_column("_kafka_offset", UNSIGNED_OFFSET, sort_order=102)
    _kafka_order: Mapped[int | None] = mapped_column(
        ORDER_COLUMN, sa.BigInteger, sort_order=104, comment="largest message timestamp of the partition up to here, ms"
    )

    order_by: ClassVar[str | None] = None
    """An integer or date column that says which of several messages for a key is the last, before their place in Kafka does: a
    version, a log sequence number, the time of a change. NULL is before every value; equal values go by the place in Kafka.
    Not together with `delete_on_tombstone`: a tombstone has no field to be compared by."""


def _path(path: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    return tuple(path.split(".")) if isinstance(path, str) else tuple(path)


def _exact_on_sqlite(kind: SqlType) -> SqlType:
    """The type, as TEXT on SQLite: by its own name a column would have NUMERIC affinity there, and decimals and the numbers
    of JSON would become doubles (https://sqlite.org/datatype3.html). A variant the model gives itself stays."""
    try:
        return kind.with_variant(sa.Text(), "sqlite")
    except sa.exc.ArgumentError:  # it has one for SQLite
        return kind


def field(
    type_: SqlType | type[SqlType],
    *,
    path: str | Sequence[str] | None = None,
    primary_key: bool = False,
    **column: Any,
) -> MappedColumn[Any]:
    """A column read from a JSON field.

    path: dotted path of the field in the message ("source.url"), or its parts where a name itself has a dot;
          the attribute's name where left out.
    primary_key: part of the business key (UpsertModel only).
    column: anything `sqlalchemy.orm.mapped_column` takes. A plain `default` stands in for a value that is missing or null;
            without it such a value is NULL, and a dead letter where the column is NOT NULL.

    A type that no JSON value is read into is refused with ConfigError where a stream is declared with the model.
    """
    instance = type_() if isinstance(type_, type) else type_
    if isinstance(instance, sa.Float) and instance.precision is None:
        instance = sa.Double()  # MySQL's FLOAT has four bytes, and would silently cut the digits of a JSON number
    if isinstance(instance, sa.JSON | sa.Numeric) and not isinstance(instance, sa.Float):
        instance = _exact_on_sqlite(instance)
    if primary_key and isinstance(instance, sa.String) and not isinstance(instance, sa.Text | sa.Enum | mysql.SET):
        instance = ExactText(instance.length)
    if primary_key:
        column.setdefault("autoincrement", False)
    return mapped_column(instance, primary_key=primary_key, info={FIELD_RULE: FieldRule(_path(path) or ())}, **column)


def date_field(
    *,
    path: str | Sequence[str] | None = None,
    formats: Sequence[str] = (),
    timezone: str | None = None,
    day_first: bool = False,
    on_error: Literal["dead_letter", "null"] = "dead_letter",
    **column: Any,
) -> MappedColumn[Any]:
    """A date column, read from text or an epoch number and stored as UTC `DATETIME(6)`, to the microsecond.

    path: as for `field`.
    formats: strptime formats tried before the built-in ones (`DateRule`).
    timezone: IANA zone of values without one; the stream's zone where left out.
    day_first: whether 01/02/2024 is 1 February.
    on_error: what an unreadable date does: makes the message a dead letter, or the column NULL.
    column: anything `sqlalchemy.orm.mapped_column` takes.

    Raises ConfigError for an unknown zone or a format that is none.
    """
    rule = DateRule(formats=tuple(formats), timezone=timezone or "UTC", day_first=day_first)
    info = {FIELD_RULE: FieldRule(_path(path) or (), dates=rule, on_error=on_error), FIELD_ZONE: timezone}
    return mapped_column(MICROSECONDS, info=info, **column)


@dataclass(frozen=True, slots=True)
class BoundColumn:
    """A model's column with its rule, resolved."""

    name: str
    rule: FieldRule
    column: SqlColumn
    default: Any = None
    """What stands in for a value that is missing or null, where the column has a default that is a plain value."""
