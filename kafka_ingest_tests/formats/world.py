"""A table with a column of each kind, read from the field `f` of messages in any format, and what became of one message."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any, ClassVar

import fastavro
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, letters_of, outcomes, raw_slice, rows_of


class AsText(AppendModel):
    __tablename__ = "as_text"
    f: Mapped[str | None] = field(sa.Text)


class AsInteger(AppendModel):
    __tablename__ = "as_integer"
    f: Mapped[int | None] = field(sa.BigInteger)


class AsFloat(AppendModel):
    __tablename__ = "as_float"
    f: Mapped[float | None] = field(sa.Float)


class AsNumber(AppendModel):
    __tablename__ = "as_number"
    f: Mapped[Any] = field(sa.Numeric(60, 20), nullable=True)


class AsBoolean(AppendModel):
    __tablename__ = "as_boolean"
    f: Mapped[bool | None] = field(sa.Boolean)


class AsJson(AppendModel):
    __tablename__ = "as_json"
    f: Mapped[Any] = field(sa.JSON, nullable=True)


class AsDate(AppendModel):
    __tablename__ = "as_date"
    f: Mapped[datetime | None] = date_field(timezone="Asia/Shanghai")


class AsDay(AppendModel):
    __tablename__ = "as_day"
    f: Mapped[date | None] = date_field(type_=sa.Date, timezone="Asia/Shanghai")


class AsBytes(AppendModel):
    __tablename__ = "as_bytes"
    f: Mapped[bytes | None] = field(sa.LargeBinary)


class AsTime(AppendModel):
    __tablename__ = "as_time"
    f: Mapped[time | None] = field(mysql.TIME(fsp=6))


class AsUuid(AppendModel):
    __tablename__ = "as_uuid"
    f: Mapped[Any] = field(sa.Uuid, nullable=True)


MODELS: dict[str, type[AppendModel]] = {
    "text": AsText,
    "integer": AsInteger,
    "float": AsFloat,
    "number": AsNumber,
    "boolean": AsBoolean,
    "json": AsJson,
    "date": AsDate,
    "day": AsDay,
    "bytes": AsBytes,
    "time": AsTime,
    "uuid": AsUuid,
}
STREAMS = {
    kind: Stream(name=f"as_{kind}", topics="t", routes={"t": model}, route_by=RouteByTopic())
    for kind, model in MODELS.items()
}


class Person(UpsertModel):
    __tablename__ = "people"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[int] = field(sa.BigInteger, primary_key=True)
    name: Mapped[str | None] = field(sa.String(20), path="who.name")
    note: Mapped[str | None] = field(sa.Text, default="none")


PEOPLE = Stream(name="people", topics="t", routes={"t": Person}, route_by=RouteByTopic())


def knows(schemas: Mapping[int, RegisteredSchema]) -> FindSchemas:
    """A registry with these."""
    return lambda ids: {number: schemas[number] for number in ids if number in schemas}


def becomes(kind: str, value_format: Format, value: bytes, find: FindSchemas = lambda _ids: {}) -> Any:
    """What the column of this kind holds, or the dead letter's stage and error."""
    parsed = all_become(kind, value_format, [value], find)
    rows = rows_of(parsed, MODELS[kind])
    return rows[0]["f"] if rows else letters_of(parsed)[0]


def all_become(kind: str, value_format: Format, values: Sequence[bytes], find: FindSchemas) -> ParsedSlice:
    """What messages of one slice become; each is a row or a dead letter."""
    stream = replace(STREAMS[kind], value_format=value_format)
    raw = raw_slice(Part([Msg(value) for value in values], topic="t"))
    parsed = run_pipeline(StreamDecoder(stream, find).decode(raw), stream)
    assert outcomes(parsed) == list(range(len(values)))
    return parsed


def avro_schema(schema: Any, number: int = 1, *references: tuple[str, RegisteredSchema]) -> RegisteredSchema:
    return RegisteredSchema(number, "AVRO", json.dumps(schema), references)


def record(kind: Any) -> dict[str, Any]:
    """A schema whose record has a field `f` of this type."""
    return {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}


def framed(payload: bytes, number: int = 1) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + payload


def avro_message(schema: Any, value: Any, number: int = 1) -> bytes:
    """As Confluent's serializer writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return framed(out.getvalue(), number)
