"""What a declaration may say: the words of `Stream`, `BatchPolicy`, `field`, `date_field` and the models, with the same meaning.

What is left out is left to the Python name's default; those here are for the schema that editors read, and a test compares them.
Types are taken strictly: a number is no text, and neither is the `yes` of YAML, which is true.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue

from kafka_ingest.streams.declaration.column_types import COLUMN_TYPE_PATTERN, column_type
from kafka_ingest.streams.stream import BATCH_BOUNDS

SHAPE = "shape: "
"""Begins the tags of what may be given in several shapes. Pydantic puts them into the places of its errors."""

_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*(Z|[+-][0-9]{2}:?[0-9]{2})$"
_WORDS_OF_START = ("earliest", "latest", "group")
_AWARE = TypeAdapter(AwareDatetime)
_TYPE_SCHEMA = {"type": "string", "pattern": COLUMN_TYPE_PATTERN}


def _shape(value: object) -> str:
    return f"{SHAPE}text" if isinstance(value, str) else f"{SHAPE}data"


def instant(value: object) -> object:
    """Of a text with date, time and zone the instant; anything else as it is."""
    return _AWARE.validate_python(value) if isinstance(value, str) and re.match(_TIME, value) else value


def _type(text: str) -> str:
    column_type(text)
    return text


def _start(value: object) -> object:
    found = instant(value)
    if isinstance(found, dt.datetime) or found in _WORDS_OF_START:
        return found
    raise ValueError(
        f"is {found!r}, not {', '.join(map(repr, _WORDS_OF_START))} or a time with a zone: '2026-01-01T00:00:00Z'"
    )


def _duration(value: object) -> object:
    return dt.timedelta(**DurationDeclaration.model_validate(value).given()) if isinstance(value, dict) else value


class Declaration(BaseModel):
    """A mapping of a declaration. A key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def given(self, *names: str) -> dict[str, Any]:
        """What was written, by name; of these names only, where some are given."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name in self.model_fields_set and (not names or name in names)
        }


_Text = Annotated[str, Tag(f"{SHAPE}text")]
_Texts = Annotated[_Text | Annotated[list[str], Tag(f"{SHAPE}data")], Discriminator(_shape)]
_Ratio = Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 1})]


class DurationDeclaration(Declaration):
    """A length of time, in the words of `datetime.timedelta`: `{hours: 6}`."""

    days: float = 0
    hours: float = 0
    minutes: float = 0
    seconds: float = 0


_Duration = Annotated[dt.timedelta, BeforeValidator(_duration), WithJsonSchema(DurationDeclaration.model_json_schema())]


def _bounded(name: str, default: float | None, description: str) -> Any:
    low, high = BATCH_BOUNDS[name]
    return Field(default, description=description, json_schema_extra={"minimum": low, "maximum": high})


class BatchDeclaration(Declaration):
    """When a batch is due and how large a slice may get (`BatchPolicy`)."""

    min_messages: int = _bounded("min_messages", 10, "A batch is due at so many waiting messages …")
    max_wait_seconds: float = _bounded(
        "max_wait_seconds", 10, "… or when the oldest has waited so long, whichever is first."
    )
    max_rows: int = _bounded("max_rows", 50_000, "Messages in a slice (one transaction) at most.")
    max_bytes: int = _bounded("max_bytes", 24 * 1024 * 1024, "Bytes of values, keys and headers in a slice at most.")
    loaders: int = _bounded("loaders", 2, "Slices that a run loads at the same time where much waits.")
    shards: int = _bounded("shards", 1, "Runs that the stream's Kafka partitions are divided among.")
    linger_seconds: float | None = _bounded(
        "linger_seconds",
        None,
        "How long a run that has caught up waits for more; max_wait_seconds where null, 0 ends at once.",
    )
    max_run_seconds: float = _bounded("max_run_seconds", 600, "A run starts no further slice after so long.")


FormatName = Literal["json", "json_schema", "avro", "protobuf", "connect_json", "text", "bytes"]
EnvelopeName = Literal["debezium", "maxwell", "canal", "cloudevents"]


class RouteByDeclaration(Declaration):
    """Where the message type stands: exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    field: str = Field("type", description="Dotted path of a field of the message (RouteByField).")
    header: str = Field("", description="Name of a Kafka header (RouteByHeader).")


class CastDeclaration(Declaration):
    """What else than its own JSON type a column takes (`Cast`)."""

    from_text: bool = Field(False, description="A text is read as the column's number or boolean.")
    from_number: bool = Field(False, description="0 and 1 as a boolean; in a text column any number as its digits.")
    thousands: str = Field("", description="What separates thousands in a number's text.")
    decimal_point: Literal[".", ","] = Field(".", description="What stands before the decimals in a number's text.")
    empty_as_null: bool = Field(False, description="A text that is empty or blank is NULL.")
    rounding: Literal["half_up", "half_even", "down"] | None = Field(
        None, description="A number with more decimals than the column is rounded, or cut."
    )
    bytes_from: Literal["base64", "hex", "uuid"] | None = Field(
        None, description="How a binary column's bytes are written in a text."
    )
    time_unit: Literal["s", "ms", "us", "ns"] | None = Field(
        None, description="A number in a TIME column counts these since midnight."
    )


class SourceDeclaration(Declaration):
    """Where else a column comes from: exactly one of these."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    key: str = Field("", description="Dotted path of a field of the message's key (Key).")
    header: str = Field("", description="Name of a Kafka header (Header).")
    envelope: str = Field("", description="Dotted path of a field that stands around the row: source.lsn (Envelope).")
    constant: Any = Field(None, description="Always this value (Constant).")


SourceName = Literal["key", "topic", "partition", "offset", "timestamp", "database"]


class ColumnDeclaration(Declaration):
    """A column: what `field` takes, or, where its type is one of dates, `date_field`."""

    type: Annotated[str, AfterValidator(_type), WithJsonSchema(_TYPE_SCHEMA)] = Field(
        description="VARCHAR(n), TEXT, SMALLINT, INTEGER, BIGINT, DOUBLE, DECIMAL(p,s), BOOLEAN, JSON, DATETIME(6), DATE …"
    )
    path: _Texts | None = Field(
        None,
        description="Dotted path of the field in the message, or a list of its parts where a name itself has a dot; "
        "the column's name where left out.",
    )
    source: (
        Annotated[
            Annotated[SourceName, Tag(f"{SHAPE}text")] | Annotated[SourceDeclaration, Tag(f"{SHAPE}data")],
            Discriminator(_shape),
        ]
        | None
    ) = Field(
        None,
        description="Where else than from the message's value it comes: key, topic, partition, offset, timestamp, database, "
        "{key: …}, {header: …}, {envelope: …} or {constant: …}. Not together with path.",
    )
    cast: Annotated[_Text | Annotated[CastDeclaration, Tag(f"{SHAPE}data")], Discriminator(_shape)] | None = Field(
        None,
        description="What else than its own JSON type it takes: {from_text: true}, … or the Python path of a function.",
    )
    primary_key: bool = Field(False, description="Part of the business key: the table then has one row per key.")
    nullable: bool = Field(
        False, description="Whether it may be NULL. Where not, a message without the field is a dead letter."
    )
    default: Any = Field(None, description="Stands in for a value that is missing or null.")
    server_default: str | None = Field(None, description="SQL text of the column's DEFAULT in the database.")
    comment: str | None = Field(None, description="The column's comment in the database.")
    keep_absent: bool | str = Field(
        False,
        description="Upsert: whether the row keeps the value of the last message that carried the field where one does not; a "
        "text stands for a field that is not carried, too: __debezium_unavailable_value.",
    )
    index: bool = Field(False, description="Whether the column has an index of its own.")
    unique: bool = Field(False, description="Whether the column has a unique constraint of its own.")
    timezone: str | None = Field(
        None, description="Dates: IANA zone of values without one; the stream's where left out."
    )
    zones: dict[str, str] | None = Field(
        None,
        description="Dates: what abbreviations of zones mean, as an offset or an IANA zone: {CST: Asia/Shanghai}.",
    )
    unit: Literal["days", "s", "ms", "us", "ns"] | None = Field(
        None,
        description="Dates: what numbers count from 1970-01-01 on; where left out, a number is read only if its digits can be "
        "one thing.",
    )
    formats: list[str] = Field([], description="Dates: strptime formats that are tried before the built-in ones.")
    day_first: bool = Field(False, description="Dates: whether 01/02/2024 is 1 February.")
    on_error: Literal["dead_letter", "null"] = Field(
        "dead_letter", description="Dates: what one that cannot be read makes of its message or column."
    )


class _OrType:
    """In the schema of a column: or its type alone."""

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [_TYPE_SCHEMA, handler(core)]}


_Column = Annotated[
    ColumnDeclaration,
    BeforeValidator(lambda given: {"type": given} if isinstance(given, str) else given),
    _OrType(),
]


class TableDeclaration(Declaration):
    """A model: an `UpsertModel` where a column has `primary_key: true`, else an `AppendModel`."""

    table: str = Field(min_length=1, description="The table's name.")
    schema_: str | None = Field(
        None, alias="schema", description="The table's schema (in MySQL: database), where it is another."
    )
    description: str | None = Field(None, description="What a row is, for the table's page in Dagster.")
    comment: str | None = Field(None, description="The table's comment in the database.")
    columns: dict[Annotated[str, Field(min_length=1)], _Column] = Field(
        description="Column → its type, or all about it."
    )
    explode: _Texts | None = Field(
        None,
        description="Dotted path of the array whose elements are rows, or a list of its parts where a name itself has a dot; "
        "[] where the message itself is the array.",
    )
    indexes: dict[str, list[str]] = Field(
        {}, description="Name of an index → its columns, the _kafka_* ones among them."
    )
    order_by: str | None = Field(
        None,
        description="Upsert: integer or date column that says which message of a key is the last, before its place in Kafka.",
    )
    deletes: bool | None = Field(
        None,
        description="Upsert: whether messages delete rows: those of the stream's envelope or delete_when, and null values.",
    )
    delete_on_tombstone: bool = Field(
        False, description="Upsert: as deletes, for streams in which only a null value deletes."
    )
    tombstone_key: Literal["json", "text"] = Field(
        "json", description="Upsert: how a message key names a row to delete."
    )


class StreamDeclaration(Declaration):
    """A `Stream`."""

    name: str = Field(description="Letters, digits and _, at most 64, no digit first.")
    topics: _Texts = Field(description="A name, a list of names, or a pattern that begins with ^.")
    routes: dict[
        str,
        Annotated[_Text | Annotated[TableDeclaration, Tag(f"{SHAPE}data")], Discriminator(_shape)],
    ] = Field(description="Message type → table, or the Python path of a model.")
    route_by: Annotated[
        Annotated[Literal["topic"], Tag(f"{SHAPE}text")] | Annotated[RouteByDeclaration, Tag(f"{SHAPE}data")],
        Discriminator(_shape),
    ] = Field(
        default_factory=RouteByDeclaration.model_construct,
        description="Where the message type stands: {field: …}, {header: …} or topic.",
    )
    value_format: FormatName = Field("json", description="How values are written (docs/formats.md).")
    key_format: FormatName = Field("json", description="How keys are written.")
    envelope: EnvelopeName | None = Field(None, description="What stands around the row in a value (docs/cdc.md).")
    delete_when: dict[str, Any] | None = Field(
        None,
        description="Dotted path of a field → its value, or a list of values, with which a message deletes its row: {op: d}.",
    )
    on_truncate: Literal["fail", "ignore"] = Field(
        "fail", description="What is done where the envelope says that the source's table was truncated."
    )
    batch: BatchDeclaration = Field(default_factory=BatchDeclaration, description="When a batch is due, and how large.")
    steps: list[str] | None = Field(
        None, description="Python paths of the pipeline steps, in order; translate_dates where null."
    )
    timezone: str = Field("UTC", description="IANA zone of dates without one.")
    start: Annotated[
        str | dt.datetime,
        BeforeValidator(_start),
        WithJsonSchema({"type": "string", "pattern": f"{_TIME}|^({'|'.join(_WORDS_OF_START)})$"}),
    ] = Field("earliest", description="Where a partition begins that the ledger does not know.")
    unrouted: Literal["dead_letter", "ignore"] = Field(
        "dead_letter", description="What becomes of a message no route takes."
    )
    on_data_loss: Literal["fail", "skip"] = Field(
        "fail", description="What is done where Kafka deleted offsets before they were loaded."
    )
    max_dead_letter_ratio: _Ratio = Field(0.5, description="Over this part of dead letters a slice is not loaded.")
    warn_dead_letter_ratio: _Ratio = Field(0.1, description="Over this part of dead letters a check warns.")
    fresh_warn: _Duration = Field(
        default_factory=lambda: dt.timedelta(hours=6), description="A table that got nothing for so long is marked."
    )
    fresh_fail: _Duration | None = Field(
        default_factory=lambda: dt.timedelta(hours=24),
        description="… and as failed after so long; null: topics may rest.",
    )
    evolve: bool = Field(False, description="Whether missing columns are added to existing tables.")
    window: Literal["hourly", "daily"] = Field("hourly", description="Time partitions of the assets.")
    window_start: (
        Annotated[AwareDatetime, BeforeValidator(instant), WithJsonSchema({"type": "string", "pattern": _TIME})] | None
    ) = Field(None, description="A time in the first of them; null: that of the stream's first message.")
    dead_letter_topic: str | None = Field(None, description="Kafka topic that dead letters are published to as well.")
    group_id: str | None = Field(None, description="The stream's consumer group, where it is not that of all.")
    group: str | None = Field(None, description="Streams of one group share a sensor and a live run: for small ones.")
