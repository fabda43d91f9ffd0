"""Models: one SQLAlchemy declarative class per message type says fields, columns, keys and date rules, and nothing else does.

class Quote(AppendModel):                      # or UpsertModel, which needs primary_key=True somewhere
    __tablename__ = "quotes"
    symbol: Mapped[str] = field(String(16))
    price: Mapped[float] = field(Float, path="last.price")
    at: Mapped[datetime] = date_field(timezone="Asia/Shanghai")
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column

from kafka_ingest.dates import DateRule
from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.casts import CastRule
from kafka_ingest.streams.column_types import portable
from kafka_ingest.streams.kept import place_column
from kafka_ingest.streams.sources import Database, Envelope, Key, Source
from kafka_ingest.type_names import SqlColumn, SqlType

KAFKA_COLUMNS = ("_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_timestamp")
"""On every target table."""
ORDER_COLUMN = "_kafka_order"
"""On upsert tables and their tombstones: with the position, the row's place in the total order over messages."""
PLACE_COLUMNS = (*KAFKA_COLUMNS, ORDER_COLUMN)
INDEX_COLUMN = "_kafka_index"
"""On append tables of models that explode an array: the place of the row's element in it, from 0; part of the key."""
WHOLE_MESSAGE = "[]"
"""What `Model.explode` is where the message itself is the array."""

# Topic names are at most 249 ASCII characters (Kafka: org.apache.kafka.common.internals.Topic); the rest is for "@" and
# the id of a topic that was recreated since (engine/loss.py).
TOPIC_TYPE = sa.String(280).with_variant(mysql.VARCHAR(280, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
MICROSECONDS = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UNSIGNED_OFFSET = sa.BigInteger()

# Of a kept column (streams/kept.py): an own order field, 27; order, 21; topic, 280 and one; partition, 11; offset, 20.
PLACE_TYPE = sa.String(360).with_variant(mysql.VARCHAR(360, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")

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


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where a column's value comes from in the message."""

    path: tuple[str, ...]
    dates: DateRule | None = None
    cast: CastRule | None = None
    source: Source | None = None
    """What else than a field of the row it comes from; `path` is then that of a field of the key or the envelope, or empty."""
    on_error: Literal["dead_letter", "null"] = "dead_letter"
    keep_absent: bool | str = False
    """Whether the column keeps its value where a message does not carry the field; a text that says so, too, if it is one."""

    @property
    def is_in_value(self) -> bool:
        """Whether it is a field of the message's value, of the row there or of what stands around it."""
        return self.source is None or isinstance(self.source, Envelope)

    @property
    def origin(self) -> str:
        """Where the value comes from, for people."""
        return ".".join(self.path) if self.source is None else str(self.source)


def filled_by_database(column: SqlColumn) -> bool:
    """Whether a model's column is never written."""
    rule = column.info.get(FIELD_RULE)
    return isinstance(rule, FieldRule) and isinstance(rule.source, Database)


def is_kept(column: SqlColumn) -> bool:
    """Whether a model's column keeps its value where a message does not carry it."""
    rule = column.info.get(FIELD_RULE)
    return isinstance(rule, FieldRule) and rule.keep_absent is not False


class Model(DeclarativeBase):
    """Base of all models. Every table carries the Kafka position of the message each row came from."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {dt.datetime: MICROSECONDS}

    explode: ClassVar[str | Sequence[str] | None] = None
    """Where a message is several rows: the dotted path of the array whose elements they are ("items", "order.lines"), or its
    parts where a name itself has a dot; "[]" where the message itself is the array.

    Paths of columns are whole ones: "items.sku" is read from the element, "id" from the message around it, and repeated in
    each row; where the message is the array, they are those of its element. An element that is no object, such as a text, is
    its field `value`. A message is all of its rows, or a dead letter; without an element it is none, and ignored."""

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
        "_kafka_timestamp", MICROSECONDS, sort_order=104, comment="Kafka message timestamp, UTC"
    )


class AppendModel(_Columns, Model):
    """One row per message, keyed by Kafka position, or, with `explode`, one per element of its array, keyed by its place there,
    too. Loading a range again replaces that range's rows."""

    __abstract__ = True

    _kafka_topic: Mapped[str] = mapped_column("_kafka_topic", TOPIC_TYPE, primary_key=True, sort_order=100)
    _kafka_partition: Mapped[int] = mapped_column(
        "_kafka_partition", sa.Integer, primary_key=True, sort_order=101, autoincrement=False
    )
    _kafka_offset: Mapped[int] = mapped_column(
        "_kafka_offset", UNSIGNED_OFFSET, primary_key=True, sort_order=102, autoincrement=False
    )

    def __init_subclass__(cls, **options: Any) -> None:
        if exploded_path(cls) is not None:
            # Before SQLAlchemy makes the table. The default is for a table that has rows without it.
            cls._kafka_index = mapped_column(
                INDEX_COLUMN,
                sa.Integer,
                primary_key=True,
                autoincrement=False,
                sort_order=103,
                server_default=sa.text("0"),
                comment="place of the row's element in the message's array",
            )
        super().__init_subclass__(**options)


class UpsertModel(_Columns, Model):
    """One row per business key (the columns with `primary_key=True`): that of the last message.

    Within a Kafka partition the last message is the one with the highest offset. Of a key seen in two partitions (the topic
    grew, or two topics feed the table) it is the one with the later Kafka timestamp, where a message counts as no earlier than
    those before it in its partition; `sinks/latest_per_key.py` has the whole rule.
    """

    __abstract__ = True

    deletes: ClassVar[bool | None] = None
    """Whether messages delete rows: what the stream's `envelope` or `delete_when` calls a delete, that of the key in its value;
    a null value (tombstone), that which the message's key names (`tombstone_key`). To be said, True or False, where the
    stream's messages say deletes: with False the table keeps the rows, and the deletes count as ignored."""
    delete_on_tombstone: ClassVar[bool] = False
    """As `deletes = True`, for streams in which only a null value deletes."""
    tombstone_key: ClassVar[Literal["json", "text"]] = "json"
    """How a message key names a row to delete. It is read as a row's fields are; what cannot be read is a dead letter.

    json: a JSON object with the key columns' fields (by the last name of their paths), or, for a single key column, a JSON
          string or number.
    text: for a single key column only: the key's bytes, as UTF-8, are the value itself, quotes and blanks included."""

    _kafka_topic: Mapped[str] = mapped_column("_kafka_topic", TOPIC_TYPE, sort_order=100)
    _kafka_partition: Mapped[int] = mapped_column("_kafka_partition", sa.Integer, sort_order=101)
    _kafka_offset: Mapped[int] = mapped_column("_kafka_offset", UNSIGNED_OFFSET, sort_order=102)
    _kafka_order: Mapped[int | None] = mapped_column(
        ORDER_COLUMN, sa.BigInteger, sort_order=105, comment="largest message timestamp of the partition up to here, ms"
    )

    order_by: ClassVar[str | None] = None
    """An integer, DateTime or Date column that says which of several messages for a key is the last, before their place in Kafka
    does: a version, a log sequence number, the time of a change. NULL is before every value; equal values go by the place in
    Kafka.
    A null value has no field to be compared by, so it deletes nothing: deletes have to stand in the messages' values
    (`Stream.envelope`, `Stream.delete_when`), and the column around the row where a deleted row need not be whole."""

    def __init_subclass__(cls, **options: Any) -> None:
        for setting in ("deletes", "delete_on_tombstone", "tombstone_key", "order_by"):
            if isinstance(cls.__dict__.get(setting), MappedColumn):
                raise ConfigError(
                    f"model {cls.__name__}: {setting} is a setting of UpsertModel, not the name of a column; call the attribute "
                    f'otherwise and say the column\'s name: {setting}_ = field(…, name="{setting}")',
                    setting=setting,
                    model=cls.__name__,
                )
        super().__init_subclass__(**options)
        table = cls.__dict__.get("__table__")
        for column in () if table is None else [c for c in table.columns if is_kept(c)]:
            name = place_column(column.name)
            comment = f"the message that {column.name} is from, where it is not the row's"
            setattr(cls, name, mapped_column(name, PLACE_TYPE, nullable=True, sort_order=105, comment=comment))


def _path(path: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    return tuple(path.split(".")) if isinstance(path, str) else tuple(path)


def exploded_path(model: type[Model]) -> tuple[str, ...] | None:
    """Where the array of a model with `explode` stands, empty where it is the message itself; None for any other model."""
    said = getattr(model, "explode", None)
    if not isinstance(said, str | tuple | list):  # a column of a model may be called so
        return None
    return () if said == WHOLE_MESSAGE else _path(said)


def _source_path(path: str | Sequence[str] | None, source: Source | None) -> tuple[str, ...]:
    if path is not None and source is not None:
        raise ConfigError(f"a column is read from a path of the message or from {source}, not from both")
    return _path(source.path if isinstance(source, Key | Envelope) else path) or ()


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
    cast: CastRule | None = None,
    source: Source | None = None,
    keep_absent: bool | str = False,
    **column: Any,
) -> MappedColumn[Any]:
    """A column read from a JSON field, or from another `source`.

    path: dotted path of the field in the message ("source.url"), or its parts where a name itself has a dot;
          the attribute's name where left out.
    primary_key: part of the business key (UpsertModel only).
    cast: what else than its own JSON type the column takes (`Cast`), or a function of a module that makes the column's value of
          the decoded one and raises ValueError for what is none. A binary column needs one to take a text: Cast(bytes_from=…).
    source: where the value comes from, if not from the row in the message's value: Key, Header, Envelope, Topic, Partition,
            Offset, Timestamp, Constant; or Database, for a column that is never written. Not together with `path`.
    keep_absent: of an UpsertModel: where a message does not carry the field, the row keeps the value of the last one that did;
                 a null is carried. A text stands for a field that is not carried, too: "__debezium_unavailable_value".
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
    rule = FieldRule(_source_path(path, source), cast=cast, source=source, keep_absent=keep_absent)
    info = {FIELD_RULE: rule}
    return mapped_column(portable(instance), primary_key=primary_key, info=info, **column)


def date_field(
    type_: SqlType | type[SqlType] = MICROSECONDS,
    *,
    path: str | Sequence[str] | None = None,
    unit: Literal["days", "s", "ms", "us", "ns"] | None = None,
    formats: Sequence[str] = (),
    timezone: str | None = None,
    zones: Mapping[str, str] | None = None,
    day_first: bool = False,
    on_error: Literal["dead_letter", "null"] = "dead_letter",
    source: Source | None = None,
    keep_absent: bool | str = False,
    **column: Any,
) -> MappedColumn[Any]:
    """A date column, read from text, a number or an array; stored as UTC, in a `DATETIME(6)` where no type is given.

    type_: a DATETIME or TIMESTAMP of SQLAlchemy or of a database: instants are cut to its decimals of a second, never rounded.
           Or `Date`: a date without a time is that day, whatever its zone, and an instant is the day it has in `timezone`.
    path: as for `field`.
    unit: what numbers count from 1970-01-01 on; days are calendar days. Without it a number is read only if it can be one thing
          only, by its digits: an epoch from 2001 to 2100 in s, ms, µs or ns, or a date such as 20240501.
    formats: strptime formats tried before the built-in ones (`DateRule`).
    timezone: IANA zone of values without one; the stream's zone where left out.
    zones: what abbreviations of zones mean, as `{"CST": "Asia/Shanghai"}` or `{"CST": "-06:00"}`. Known without it are UTC, GMT,
           EST, EDT, MST, MDT, PST and PDT.
    day_first: whether 01/02/2024 is 1 February.
    on_error: what an unreadable date does: makes the message a dead letter, or the column NULL.
    source, keep_absent: as for `field`.
    column: anything `sqlalchemy.orm.mapped_column` takes.

    Raises ConfigError for a type that holds no dates, an unknown unit or zone, an abbreviation its zone does not use, a format
    that is none.
    """
    kind = type_() if isinstance(type_, type) else type_
    if not isinstance(kind, sa.DateTime | sa.Date):
        raise ConfigError(f"date_field takes a DATETIME or TIMESTAMP type, or Date; not {kind!r}", setting="type_")
    rule = DateRule(
        formats=tuple(formats),
        timezone=timezone or "UTC",
        day_first=day_first,
        unit=unit,
        zones=tuple((zones or {}).items()),
        is_date=isinstance(kind, sa.Date),
    )
    info = {
        FIELD_RULE: FieldRule(
            _source_path(path, source), dates=rule, source=source, on_error=on_error, keep_absent=keep_absent
        ),
        FIELD_ZONE: timezone,
    }
    return mapped_column(portable(kind), info=info, **column)


@dataclass(frozen=True, slots=True)
class BoundColumn:
    """A model's column with its rule, resolved."""

    name: str
    rule: FieldRule
    column: SqlColumn
    default: Any = None
    """What stands in for a value that is missing or null, where the column has a default that is a plain value."""
