"""Columns that a schema declares: Avro's and Protobuf's of a registry, JSON Schema, and the schema in Kafka Connect's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kafka_ingest.errors import ConfigError
from kafka_ingest.proposal.dates import DateForm
from kafka_ingest.proposal.fields import Path
from kafka_ingest.proposal.types import (
    BIG_INTEGER,
    BINARY,
    BOOLEAN,
    FLOAT,
    INTEGER,
    TIME,
    UUID,
    ColumnType,
    date_type,
    decimal_of,
    json_type,
    text_of,
)
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.json_schema_types import connect_schema_of
from kafka_ingest.streams.formats.protobuf import message_descriptor
from kafka_ingest.streams.formats.schemas import RegisteredSchema

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_MOST_LEVELS = 6
_DAY, _INSTANT = date_type(DateForm(is_day=True)), date_type(DateForm())
_JSON = json_type((), {"object"})
_UNSIGNED_LONG = decimal_of(20, 0)
# Of a decimal whose schema says no digits.
_OPEN_DECIMAL = decimal_of(38, 10)


@dataclass(frozen=True, slots=True)
class Declared:
    """A field as a schema has it."""

    path: Path
    type: ColumnType | None
    """None where it is a text, whose length the sample says."""
    is_nullable: bool
    doc: str | None = None
    is_certain: bool = True
    """Whether the schema says all of it: a plain integer may still be a date."""

    @property
    def is_whole(self) -> bool:
        """Whether an object is kept whole, as JSON."""
        return self.type is not None and self.type.type == _JSON.type


@dataclass(frozen=True, slots=True)
class _Is:
    """What a field's own schema says."""

    type: ColumnType | None = None
    is_nullable: bool = False
    fields: Sequence[tuple[str, Any, str | None]] | None = None
    """Of an object: name, schema and documentation of each."""
    is_certain: bool = True
    name: str | None = None
    """Of an object's type; one that holds its own kind is kept whole there."""


def declared_fields(schema: RegisteredSchema | Mapping[str, Any] | None, place: Sequence[int] = ()) -> list[Declared]:
    """The fields that a schema declares, objects taken apart. place: of Protobuf, which message of the file.

    Raises ConfigError for a schema that cannot be read.
    """
    if schema is None:
        return []
    try:
        if isinstance(schema, RegisteredSchema):
            return list(_registered(schema, place))
        return list(_root(_connect(schema), _connect))
    except (BadMessage, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"the schema cannot be read: {error}") from error


def _registered(schema: RegisteredSchema, place: Sequence[int]) -> Iterator[Declared]:
    if schema.kind == "PROTOBUF":
        message = message_descriptor(schema, list(place) or [0])
        yield from _protobuf(message, (), (message.full_name,))
    elif schema.kind == "JSON":
        document = json.loads(schema.text)
        reading = _JsonSchema(document if isinstance(document, dict) else {})
        yield from _root(reading.of(document), reading.of)
    else:
        avro = _Avro(schema)
        yield from _root(avro.of(json.loads(schema.text)), avro.of)


def _root(found: _Is, read: Callable[[Any], _Is]) -> Iterator[Declared]:
    return _fields(found, (), read, (found.name,))


def _fields(
    found: _Is, path: Path, read: Callable[[Any], _Is], above: tuple[str | None, ...] = (), *, is_nullable: bool = False
) -> Iterator[Declared]:
    for name, schema, doc in found.fields or ():
        own, here = read(schema), (*path, name)
        may_be_null = is_nullable or own.is_nullable
        if own.fields and len(here) < _MOST_LEVELS and (own.name is None or own.name not in above):
            yield from _fields(own, here, read, (*above, own.name), is_nullable=may_be_null)
        else:
            kind = _JSON if own.fields is not None else own.type
            yield Declared(here, kind, may_be_null, _one_line(doc), own.is_certain)


def _one_line(doc: object) -> str | None:
    return " ".join(doc.split()) if isinstance(doc, str) and doc.strip() else None


_AVRO: Mapping[tuple[str, str | None], ColumnType] = {
    ("boolean", None): BOOLEAN,
    ("int", None): INTEGER,
    ("long", None): BIG_INTEGER,
    ("float", None): FLOAT,
    ("double", None): FLOAT,
    ("bytes", None): BINARY,
    ("fixed", None): BINARY,
    ("int", "date"): _DAY,
    ("int", "time-millis"): TIME,
    ("long", "time-micros"): TIME,
    **{
        ("long", f"{local}timestamp-{unit}"): _INSTANT
        for local in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    },
    ("string", "uuid"): UUID,
    ("fixed", "uuid"): UUID,
    ("fixed", "duration"): _JSON,
    ("bytes", "big-decimal"): _OPEN_DECIMAL,
}
_CONNECT_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_CONNECT_NAMES: Mapping[str, ColumnType] = {
    **dict.fromkeys(("org.apache.kafka.connect.data.Date", "io.debezium.time.Date"), _DAY),
    **dict.fromkeys(
        ("org.apache.kafka.connect.data.Time", *(f"io.debezium.time.{name}Time" for name in ("", "Micro", "Nano"))),
        TIME,
    ),
    **dict.fromkeys(
        (
            "org.apache.kafka.connect.data.Timestamp",
            *(f"io.debezium.time.{name}Timestamp" for name in ("", "Micro", "Nano")),
            "io.debezium.time.ZonedTimestamp",
        ),
        _INSTANT,
    ),
    "io.debezium.data.VariableScaleDecimal": _OPEN_DECIMAL,
    "io.debezium.data.Uuid": UUID,
    "io.debezium.data.Json": text_of(2_000, 8_000),
}


class _Avro:
    """Reads a schema of Avro (1.12, "Schema Declaration"), with the named types of those that it refers to."""

    def __init__(self, schema: RegisteredSchema) -> None:
        self._names: dict[str, Any] = {}
        self._learn(schema)

    def _learn(self, schema: RegisteredSchema) -> None:
        for _, needed in schema.references:
            self._learn(needed)
        self._define(json.loads(schema.text), "")

    def _define(self, schema: Any, space: str) -> None:
        """Note every named type, by its full name and by its own."""
        if isinstance(schema, list):
            for each in schema:
                self._define(each, space)
        elif isinstance(schema, dict):
            space = str(schema.get("namespace") or space)
            name = schema.get("name")
            if isinstance(name, str) and schema.get("type") in ("record", "error", "enum", "fixed"):
                for full in (name, f"{space}.{name}"):
                    self._names.setdefault(full, schema)
            for each in (schema.get("type"), schema.get("items"), schema.get("values")):
                if not isinstance(each, str):
                    self._define(each, space)
            for field in schema.get("fields") or ():
                self._define(field["type"], space)

    def of(self, schema: Any) -> _Is:
        if isinstance(schema, list):
            branches = [each for each in schema if each != "null"]
            found = self.of(branches[0]) if len(branches) == 1 else _Is(_JSON)
            return replace(found, is_nullable=len(branches) < len(schema))
        if isinstance(schema, str):
            return self.of(self._names[schema]) if schema in self._names else self._primitive(schema, {})
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.of(kind)
        if kind in ("record", "error"):
            fields = [(each["name"], each["type"], each.get("doc")) for each in schema["fields"]]
            return _Is(_JSON, fields=fields, name=str(schema["name"]))
        if kind in ("array", "map"):
            return _Is(_JSON)
        if kind == "enum":
            return _Is(text_of(max(map(len, schema["symbols"]), default=1), 64))
        return self._primitive(kind, schema) if kind not in self._names else self.of(self._names[kind])

    @staticmethod
    def _primitive(kind: str, schema: Mapping[str, Any]) -> _Is:
        named = _CONNECT_NAMES.get(str(schema.get("connect.name")))
        logical = schema.get("logicalType")
        if named is not None and not logical:
            return _Is(named)
        if logical == "decimal" and kind in ("bytes", "fixed"):
            return _Is(decimal_of(int(schema["precision"]), int(schema.get("scale", 0))))
        if (kind, logical) in _AVRO:
            return _Is(_AVRO[(kind, logical)], is_certain=logical is not None)
        return _Is(_AVRO.get((kind, None)), is_certain=False)


class _JsonSchema:
    """Reads a document of JSON Schema; `$ref` within it only."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def of(self, schema: Any) -> _Is:
        schema, may_be_null = self._plain(schema)
        connect = connect_schema_of(schema)
        if connect["name"] in (*_CONNECT_NAMES, _CONNECT_DECIMAL) or connect["type"] == "bytes":
            return replace(_connect(connect), is_nullable=may_be_null)
        kinds = schema.get("type")
        listed = kinds if isinstance(kinds, list) else [kinds]
        may_be_null = may_be_null or "null" in listed
        own = [kind for kind in listed if kind != "null"]
        if own == ["object"] or (own == [None] and "properties" in schema):
            required = set(schema.get("required") or ())
            fields = [
                (name, {"anyOf": [each, *([] if name in required else [{"type": "null"}])]}, self._doc(each))
                for name, each in (schema.get("properties") or {}).items()
            ]
            return _Is(_JSON, may_be_null, fields if fields else None)
        kind = own[0] if len(own) == 1 else None
        return _Is(self._type(kind, schema), may_be_null, is_certain=False)

    def _doc(self, schema: Any) -> str | None:
        return schema.get("description") or schema.get("title") if isinstance(schema, dict) else None

    def _plain(self, schema: Any) -> tuple[Mapping[str, Any], bool]:
        """The schema behind a reference, or the one that a choice with null leaves."""
        may_be_null = False
        for _ in range(_MOST_LEVELS * 2):
            if not isinstance(schema, dict):
                return {}, may_be_null
            if "$ref" in schema:
                schema = self._at(str(schema["$ref"]))
                continue
            choice = schema.get("oneOf") or schema.get("anyOf")
            if not isinstance(choice, list):
                return schema, may_be_null
            left = [each for each in choice if not (isinstance(each, dict) and each.get("type") == "null")]
            may_be_null = may_be_null or len(left) < len(choice)
            if len(left) != 1:
                return {}, may_be_null
            schema = left[0]
        return {}, may_be_null

    def _at(self, reference: str) -> Any:
        found: Any = self._document
        for part in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found

    @staticmethod
    def _type(kind: object, schema: Mapping[str, Any]) -> ColumnType | None:
        if kind == "string":
            by_format = {"date-time": _INSTANT, "date": _DAY, "uuid": UUID}.get(str(schema.get("format")))
            length = schema.get("maxLength")
            return text_of(-(-length // 2), length * 2) if by_format is None and isinstance(length, int) else by_format
        if kind == "integer":
            most = max(abs(schema.get(name, 1 << 32)) for name in ("minimum", "maximum"))
            return INTEGER if most < 1 << 31 else BIG_INTEGER
        return {"number": FLOAT, "boolean": BOOLEAN}.get(str(kind), _JSON)


_CONNECT_TYPES: Mapping[str, ColumnType | None] = {
    "boolean": BOOLEAN,
    **dict.fromkeys(("int8", "int16", "int32"), INTEGER),
    "int64": BIG_INTEGER,
    "float": FLOAT,
    "double": FLOAT,
    "bytes": BINARY,
    "string": None,
    "array": _JSON,
    "map": _JSON,
}


def _connect(schema: Mapping[str, Any]) -> _Is:
    may_be_null = bool(schema.get("optional"))
    name, kind = schema.get("name"), str(schema.get("type"))
    if name == _CONNECT_DECIMAL:
        parameters = schema.get("parameters") or {}
        precision = int(parameters.get("connect.decimal.precision", 38))
        return _Is(decimal_of(precision, int(parameters.get("scale", 0))), may_be_null)
    if isinstance(name, str) and name in _CONNECT_NAMES:
        return _Is(_CONNECT_NAMES[name], may_be_null)
    if kind == "struct":
        return _Is(None, may_be_null, [(each["field"], each, each.get("doc")) for each in schema.get("fields") or ()])
    return _Is(_CONNECT_TYPES.get(kind, _JSON), may_be_null, is_certain=False)


_PROTOBUF_MESSAGES: Mapping[str, ColumnType | None] = {
    "google.protobuf.Timestamp": _INSTANT,
    "google.protobuf.Duration": text_of(16, 16),
    **{f"google.protobuf.{name}": _JSON for name in ("Struct", "Value", "ListValue", "Any")},
    "confluent.type.Decimal": _OPEN_DECIMAL,
    "google.type.Date": _DAY,
    "google.type.TimeOfDay": TIME,
    **{f"google.protobuf.{name}Value": FLOAT for name in ("Double", "Float")},
    "google.protobuf.Int64Value": BIG_INTEGER,
    "google.protobuf.UInt64Value": _UNSIGNED_LONG,
    "google.protobuf.Int32Value": INTEGER,
    "google.protobuf.UInt32Value": BIG_INTEGER,
    "google.protobuf.BoolValue": BOOLEAN,
    "google.protobuf.StringValue": None,
    "google.protobuf.BytesValue": BINARY,
}


def _protobuf(
    message: Descriptor, path: Path, above: tuple[str, ...] = (), *, is_nullable: bool = False
) -> Iterator[Declared]:
    for each in message.fields:
        here, may_be_null = (*path, each.name), is_nullable or each.has_presence
        inner = each.message_type
        if each.is_repeated or (inner is not None and len(here) >= _MOST_LEVELS):
            yield Declared(here, _JSON, is_nullable=True)  # an empty list is [], within what may be missing
        elif inner is not None and inner.full_name not in _PROTOBUF_MESSAGES:
            if inner.fields and inner.full_name not in above:
                yield from _protobuf(inner, here, (*above, inner.full_name), is_nullable=may_be_null)
            else:
                yield Declared(here, _JSON, may_be_null)
        else:
            kind = _PROTOBUF_MESSAGES[inner.full_name] if inner is not None else _protobuf_scalar(each)
            yield Declared(here, kind, may_be_null, is_certain=inner is not None)


def _protobuf_scalar(field: FieldDescriptor) -> ColumnType | None:
    if field.enum_type is not None:
        return text_of(max((len(name) for name in field.enum_type.values_by_name), default=1), 64)
    if field.type == field.TYPE_BYTES:
        return BINARY
    kinds = {
        field.CPPTYPE_INT32: INTEGER,
        field.CPPTYPE_INT64: BIG_INTEGER,
        field.CPPTYPE_UINT32: BIG_INTEGER,
        field.CPPTYPE_UINT64: _UNSIGNED_LONG,
        field.CPPTYPE_DOUBLE: FLOAT,
        field.CPPTYPE_FLOAT: FLOAT,
        field.CPPTYPE_BOOL: BOOLEAN,
    }
    return kinds.get(field.cpp_type)
