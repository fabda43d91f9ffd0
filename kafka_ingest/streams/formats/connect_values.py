"""Kafka Connect's types inside JSON, which JSON itself does not have: decimals, dates, times, timestamps and bytes.

Which field is one says a schema: Connect's own beside the payload, or the JSON Schema that Connect's converter registers.
"""

from __future__ import annotations

import base64
import binascii
import decimal
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from kafka_ingest.streams.formats.avro_values import CONNECT_COUNTS, decimal_of
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Path, Wanted, leaf_at
from kafka_ingest.streams.json_schema import depth_limited, json_decoder, json_schema
from kafka_ingest.streams.kept import ABSENT

Read = Callable[[bytes], tuple[Any, ...]]
SchemaAt = Callable[[Path], Mapping[str, Any]]
"""What a schema says of the field at a path, in the words of Connect's JsonConverter: `type`, `name`, `parameters`. Empty where
it says nothing."""

decode_any = msgspec.json.Decoder(float_hook=decimal.Decimal).decode
RAW: tuple[object, object] = (msgspec.Raw, msgspec.Raw())
"""The type and default of a field whose JSON is taken as it stands."""


def no_schema(_path: Path) -> Mapping[str, Any]:
    """Where there is none."""
    return {}


def has_connect_types(schema_at: SchemaAt, wanted: Wanted) -> bool:
    """Whether one of the wanted fields is of a type that JSON does not have."""
    return any(map(conversion_of, map(schema_at, ((), *(path for path, _ in wanted.fields)))))


def compile_reader(schema_at: SchemaAt, wanted: Wanted) -> Read:
    """Reads the wanted fields of JSON of one schema."""
    if is_bare(wanted):
        whole = converted(schema_at(()), wanted, 0)
        if whole is not None:
            return lambda payload: (whole(payload),)
        if schema_at(()).get("type") != "struct":
            return object_or_bare(wanted)
    conversions = {
        place: convert
        for place, (path, _) in enumerate(wanted.fields)
        if (convert := converted(schema_at(path), wanted, place)) is not None
    }
    fields = [
        (path, ((RAW[0], ABSENT) if kind[1] is ABSENT else RAW) if place in conversions else kind)
        for place, (path, kind) in enumerate(wanted.fields)
    ]
    reader = json_schema(wanted.name, fields)

    def read(payload: bytes) -> tuple[Any, ...]:
        found = [reader.decode_long(payload)]
        values = [reader.column(found, place)[0] for place in range(len(fields))]
        for place, convert in conversions.items():
            if values[place] is not ABSENT:
                values[place] = convert(values[place] or b"")
        return tuple(values)

    return read


def is_bare(wanted: Wanted) -> bool:
    """Whether the one field that is wanted may be the message itself."""
    return wanted.bare is not None and len(wanted.fields) == 1 and wanted.fields[0][0] == (wanted.bare,)


def object_or_bare(wanted: Wanted) -> Callable[[bytes], tuple[object]]:
    """Reads one field of a JSON object, or JSON that is no object as that field."""
    whole = json_schema(wanted.name, wanted.fields)
    bare = depth_limited(json_decoder(wanted.fields[0][1][0]))

    def decode(text: bytes) -> tuple[object]:
        if text.lstrip(b" \t\r\n").startswith(b"{"):
            return (whole.column([whole.decode_long(text)], 0)[0],)
        return (bare(text),)

    return decode


def converted(schema: Mapping[str, Any], wanted: Wanted, place: int) -> Callable[[bytes], object] | None:
    """How the JSON of a field becomes its column's value where its schema says more than JSON does; None where it does not."""
    convert = conversion_of(schema)
    if convert is None:
        return None
    path, kind = wanted.fields[place]
    leaf = leaf_at(path, kind)

    def read(raw: bytes) -> object:
        text = bytes(raw)
        value = decode_any(text) if text else None
        try:
            return leaf.read(None if value is None else convert(value))
        except (TypeError, KeyError, OverflowError) as error:
            raise BadMessage(f"{'.'.join(path)}: {text[:40]!r} is not what its schema says: {error}") from None
        except (binascii.Error, ValueError) as error:
            if isinstance(error, BadMessage) and str(error).startswith(".".join(path)):
                raise
            raise BadMessage(f"{'.'.join(path)}: {error}") from None

    return read


def conversion_of(schema: Mapping[str, Any]) -> Callable[[Any], object] | None:
    """How JSON of a type becomes its value; None where it is the value already. It raises BadMessage, ValueError, TypeError,
    KeyError or OverflowError."""
    name = schema.get("name")
    if name == "org.apache.kafka.connect.data.Decimal":
        parameters = schema.get("parameters") or {}
        try:
            scale = int(parameters.get("scale", 0))
        except (TypeError, ValueError, AttributeError):
            return _unknown_scale
        return partial(_decimal, scale)
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    return _bytes if schema.get("type") == "bytes" else None


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("bytes are a text in base64")
    return base64.b64decode(value, validate=True)


def _decimal(scale: int, value: Any) -> decimal.Decimal:
    """In base64, or a number (`decimal.format`)."""
    if isinstance(value, decimal.Decimal):
        return value
    return decimal.Decimal(value) if type(value) is int else decimal_of(_bytes(value), scale)


def _unknown_scale(_value: Any) -> object:
    raise BadMessage("its schema is Connect's Decimal and says no scale")


def _variable(value: Any) -> decimal.Decimal:
    """Debezium's decimal of any scale, an object with its scale."""
    return decimal_of(_bytes(value["value"]), int(value["scale"]))


def _count(convert: Callable[[int], object], value: Any) -> object:
    if type(value) is not int:
        raise TypeError("it is an integer")
    return convert(value)


_BY_NAME: Mapping[str, Callable[[Any], object]] = {
    **{name: partial(_count, convert) for name, convert in CONNECT_COUNTS.items()},
    "io.debezium.data.VariableScaleDecimal": _variable,
}
