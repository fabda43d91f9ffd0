"""Protobuf's fields as Python values, and descriptors out of a registry's schemas."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from kafka_ingest.streams.formats.avro_values import decimal_of
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Leaf
from kafka_ingest.streams.formats.proto_text import parse_proto
from kafka_ingest.streams.formats.schemas import RegisteredSchema

Value = Callable[[Any], object]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
# What a registry has without its being registered. The options of Confluent's meta.proto are not read.
_BUILT_IN = {
    "confluent/meta.proto": 'syntax = "proto3"; package confluent;',
    "confluent/type/decimal.proto": 'syntax = "proto3"; package confluent.type; '
    "message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    "google/type/date.proto": 'syntax = "proto3"; package google.type; '
    "message Date { int32 year = 1; int32 month = 2; int32 day = 3; }",
    "google/type/timeofday.proto": 'syntax = "proto3"; package google.type; '
    "message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }",
}
_WITH_PROTOBUF = (
    "any",
    "api",
    "descriptor",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
)
_MORE_WITH_PROTOBUF = ("type", "wrappers")


def message_of(schema: RegisteredSchema, indexes: list[int]) -> Descriptor:
    """The message of a schema at these places. Raises BadMessage where it has none, or is no schema."""
    name = f"schema {schema.id} of the registry"
    pool = DescriptorPool()
    try:
        _add(pool, name, schema, set())
        found: Any = pool.FindFileByName(name)
        place = parse_proto(name, schema.text).message_type
        path = [found.package] if found.package else []
        for index in indexes:
            if not 0 <= index < len(place):
                raise BadMessage(f"{name} has no message {indexes}")
            path.append(place[index].name)
            place = place[index].nested_type
        return pool.FindMessageTypeByName(".".join(path))
    except (TypeError, KeyError, RecursionError) as error:
        raise BadMessage(f"{name} is no schema of Protobuf: {error}") from None


def _add(pool: DescriptorPool, name: str, schema: RegisteredSchema, there: set[str]) -> None:
    """The file and all that it imports, each once."""
    if name in there:
        return
    there.add(name)
    file = parse_proto(name, schema.text)
    references = dict(schema.references)
    for imported in file.dependency:
        if imported in references:
            _add(pool, imported, references[imported], there)
        else:
            _add_built_in(pool, imported, there)
    pool.AddSerializedFile(file.SerializeToString())


def _add_built_in(pool: DescriptorPool, name: str, there: set[str]) -> None:
    if name in there:
        return
    there.add(name)
    if name in _BUILT_IN:
        pool.AddSerializedFile(parse_proto(name, _BUILT_IN[name]).SerializeToString())
        return
    folder, _, module = name.removesuffix(".proto").rpartition("/")
    if folder != "google/protobuf" or module not in (*_WITH_PROTOBUF, *_MORE_WITH_PROTOBUF):
        raise BadMessage(f"imports {name}, which it does not refer to in the registry")
    file = import_module(f"google.protobuf.{module}_pb2").DESCRIPTOR
    for needed in file.dependencies:
        _add_built_in(pool, needed.name, there)
    pool.AddSerializedFile(file.serialized_pb)


_PYTHON_TYPES: dict[int, type] = {
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
    FieldDescriptor.CPPTYPE_FLOAT: float,
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_STRING: str,
}


def python_type(field: FieldDescriptor) -> type | None:
    """The Python type of a field's values as they are; None where they have to be converted."""
    if field.is_repeated or field.type == FieldDescriptor.TYPE_BYTES:
        return None
    return _PYTHON_TYPES.get(field.cpp_type)


def is_list_of_plain(field: FieldDescriptor) -> bool:
    """Whether the field is a list of texts, integers or booleans, of which JSON says the same."""
    plain = None if field.message_type or field.enum_type else _PYTHON_TYPES.get(field.cpp_type)
    return field.is_repeated and plain in (int, bool, str) and field.type != FieldDescriptor.TYPE_BYTES


def message_class(descriptor: Descriptor) -> Any:
    """Makes messages of this type."""
    return GetMessageClass(descriptor)


def is_plain_message(field: FieldDescriptor) -> bool:
    """Whether the field is one message whose own fields can be read: no map, no list, none of free form."""
    return field.message_type is not None and not field.is_repeated and field.message_type.full_name not in _FREE


def is_plain_list(field: FieldDescriptor) -> bool:
    """Whether the field is a list of messages whose own fields can be read."""
    kind = field.message_type
    return (
        kind is not None and field.is_repeated and not kind.GetOptions().map_entry and kind.full_name not in _MESSAGES
    )


def value_of(field: FieldDescriptor, leaf: Leaf) -> Value:
    """How the field's value becomes a Python value for a column."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        one = _one(value, leaf)
        written = str if key.cpp_type != FieldDescriptor.CPPTYPE_BOOL else lambda flag: "true" if flag else "false"
        return lambda found: {written(name): one(found[name]) for name in found}
    one = _one(field, leaf)
    return (lambda found: [one(each) for each in found]) if field.is_repeated else one


def _one(field: FieldDescriptor, leaf: Leaf) -> Value:
    if field.enum_type is not None:
        return _enum(field, leaf)
    if field.message_type is not None:
        return _MESSAGES.get(field.message_type.full_name, _object)(leaf)
    return lambda found: found


def whole_message(descriptor: Descriptor, leaf: Leaf) -> Value:
    """How a message itself becomes a value for a column."""
    return _MESSAGES.get(descriptor.full_name, _object)(leaf)


def _enum(field: FieldDescriptor, leaf: Leaf) -> Value:
    """Its name; its number in a column of integers, and in JSON where the schema has no name for it."""
    names: dict[int, str] = {number: each.name for number, each in field.enum_type.values_by_number.items()}
    if leaf.takes == {int}:
        return lambda number: number
    if leaf.is_json:
        return lambda number: names.get(number, number)

    def read(number: int) -> str:
        if number not in names:
            raise BadMessage(f"{field.name}: {number} is no member of {field.enum_type.full_name}")
        return names[number]

    return read


def _object(leaf: Leaf) -> Value:
    """A message as an object. What knows that it was not set is left out."""
    inner = Leaf(frozenset(), leaf.convert, leaf.null)
    plans: dict[str, list[tuple[str, bool, Value]]] = {}

    def read(message: Any) -> dict[str, object]:
        kind = message.DESCRIPTOR
        if kind.full_name not in plans:
            plans[kind.full_name] = [(f.name, f.has_presence, value_of(f, inner)) for f in kind.fields]
        return {
            name: value(getattr(message, name))
            for name, may_be_unset, value in plans[kind.full_name]
            if not may_be_unset or message.HasField(name)
        }

    return read


def _timestamp(leaf: Leaf) -> Value:
    """For a date column to the microsecond, as a text's; else its text, which has all digits."""
    if dt.datetime not in leaf.takes:
        return _text

    def read(found: Any) -> dt.datetime:
        if not 0 <= found.nanos < 1_000_000_000:
            raise BadMessage(f"a timestamp has {found.nanos} nanoseconds")
        try:
            return _EPOCH + dt.timedelta(0, found.seconds, found.nanos // 1_000)
        except OverflowError:
            raise BadMessage(f"a timestamp is {found.seconds} s after 1970, outside the years 1 to 9999") from None

    return read


def _text(found: Any) -> str:
    try:
        text: str = found.ToJsonString()
        return text
    except ValueError as error:
        raise BadMessage(str(error)) from None


def _duration(leaf: Leaf) -> Value:
    """Seconds for a column of numbers, else its text (`1.5s`)."""
    if leaf.takes != {decimal.Decimal}:
        return _text
    return lambda found: decimal.Decimal(found.seconds) + decimal.Decimal(found.nanos).scaleb(-9)


def _wrapper(_leaf: Leaf) -> Value:
    return lambda found: found.value


def _struct(_leaf: Leaf) -> Value:
    return lambda found: {name: _json_value(value) for name, value in found.fields.items()}


def _list(_leaf: Leaf) -> Value:
    return lambda found: [_json_value(value) for value in found.values]


def _free(_leaf: Leaf) -> Value:
    return _json_value


def _json_value(value: Any) -> object:
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return _struct_of(value.struct_value)
    if kind == "list_value":
        return [_json_value(each) for each in value.list_value.values]
    found: object = getattr(value, kind)
    return found


def _struct_of(value: Any) -> dict[str, object]:
    return {name: _json_value(each) for name, each in value.fields.items()}


def _decimal(_leaf: Leaf) -> Value:
    return lambda found: decimal_of(found.value, found.scale)


def _date(_leaf: Leaf) -> Value:
    def read(found: Any) -> dt.date:
        try:
            return dt.date(found.year, found.month, found.day)
        except ValueError:
            raise BadMessage(f"{found.year}-{found.month}-{found.day} is no date") from None

    return read


def _time(_leaf: Leaf) -> Value:
    def read(found: Any) -> dt.time:
        try:
            return dt.time(found.hours, found.minutes, found.seconds, found.nanos // 1_000)
        except ValueError:
            raise BadMessage(f"{found.hours}:{found.minutes}:{found.seconds} is no time of a day") from None

    return read


_FREE = frozenset(f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue"))
_MESSAGES: Mapping[str, Callable[[Leaf], Value]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _free,
    "confluent.type.Decimal": _decimal,
    "google.type.Date": _date,
    "google.type.TimeOfDay": _time,
    **{
        f"google.protobuf.{name}Value": _wrapper
        for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
