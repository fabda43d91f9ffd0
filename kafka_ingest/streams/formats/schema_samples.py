"""What a writer's schema may give a column: a few values of each kind that a field has, as the format's reader gives them.

For saying beforehand, without a message, whether a column takes a field: it takes a kind of value if it takes one of its samples.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.avro_types import (
    Array,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Type,
    Union,
    parse_schema,
)
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.connect_values import conversion_of
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.json_schema_types import JsonSchemaTypes, connect_schema_of
from kafka_ingest.streams.formats.leaves import Leaf, Path
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

# An epoch of seconds and one of milliseconds, and dates in digits, beside a number that fits everywhere.
_NUMBERS = (1, 1_714_566_600, 1_714_566_600_000, 20_240_501)
_TEXTS = ("1",)
_MOST_BYTES = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value that a field may have."""

    shown: str
    """As the schema calls it, for people."""
    samples: tuple[object, ...]

    @property
    def is_text(self) -> bool:
        """Whether it may be any text, such as a number, a date or a UUID: of the sample no more is meant than its type."""
        return self.samples == _TEXTS


SamplesAt = Callable[[Path, Leaf], list[Kind] | None]
"""The kinds of a field at a path, null left out; None where the schema has no such field. Leaf: the column that reads it."""


def samples_of(schema: RegisteredSchema, format_: Format) -> list[SamplesAt]:
    """One for each message that the schema may mean. Raises BadMessage for a schema that is none, or not of the format."""
    if isinstance(format_, Avro):
        _check_kind(schema, "AVRO")
        root = parse_schema(schema)
        return [lambda path, _leaf: _avro(root, path)]
    if isinstance(format_, Protobuf):
        _check_kind(schema, "PROTOBUF")
        return [_protobuf_at(descriptor) for descriptor in _messages(schema)]
    _check_kind(schema, "JSON")
    types = JsonSchemaTypes(schema)
    return [lambda path, _leaf: _json(types, path)]


def _check_kind(schema: RegisteredSchema, kind: str) -> None:
    if schema.kind != kind:
        raise BadMessage(f"schema {schema.id} is of type {schema.kind}, and the stream's format is {kind}")


def _avro(kind: Type, path: Path) -> list[Kind] | None:
    if isinstance(kind, Union):
        found = [each for branch in kind.branches if (each := _avro(branch, path)) is not None]
        return [kind for each in found for kind in each] if found else None
    if not path:
        return _avro_kinds(kind)
    if isinstance(kind, Record):
        below = dict(kind.fields).get(path[0])
        return None if below is None else _avro(below, path[1:])
    return _avro(kind.values, path[1:]) if isinstance(kind, Map) else None


def _avro_kinds(kind: Type) -> list[Kind]:
    if isinstance(kind, Primitive):
        if kind.kind == "null":
            return []
        samples: Sequence[Any] = _OF_PRIMITIVES[kind.kind]
        return [Kind(kind.kind, _converted(samples, kind.convert))]
    if isinstance(kind, Fixed):
        return [Kind(f"fixed({kind.size})", _converted([bytes(kind.size)], kind.convert))]
    if isinstance(kind, Enum):
        return [Kind("enum", tuple(kind.symbols))]
    return [
        Kind("array", ([],))
        if isinstance(kind, Array)
        else Kind("record" if isinstance(kind, Record) else "map", ({},))
    ]


_BYTES = tuple(b"\1" * count for count in range(1, _MOST_BYTES))
_OF_PRIMITIVES: dict[str, Sequence[object]] = {
    "boolean": (True,),
    "int": _NUMBERS[:2] + _NUMBERS[3:],
    "long": _NUMBERS,
    "float": (1.5,),
    "double": (1.5,),
    "bytes": _BYTES,
    "string": _TEXTS,
}
_OF_JSON: Mapping[str, tuple[object, ...]] = {
    "boolean": (True,),
    "integer": _NUMBERS,
    "number": (1.5, *_NUMBERS),
    "string": _TEXTS,
    "array": ([],),
    "object": ({},),
}


def _converted(samples: Sequence[Any], convert: Callable[[Any], object] | None) -> tuple[object, ...]:
    """The samples as a logical type has them, those that it has."""
    if convert is None:
        return tuple(samples)
    found = []
    for sample in samples:
        try:
            found.append(convert(sample))
        except (BadMessage, ValueError, IndexError, TypeError, KeyError, OverflowError):
            continue
    return tuple(found)


def _json(types: JsonSchemaTypes, path: Path) -> list[Kind] | None:
    kinds = types.kinds(path)
    return None if kinds is None else [found for kind in kinds for found in _json_kinds(kind)]


def _json_kinds(kind: Mapping[str, Any]) -> list[Kind]:
    """None where the schema leaves the type open."""
    listed = kind.get("enum")
    if isinstance(listed, list):
        return [Kind("enum", tuple(value for value in listed if value is not None))]
    named = kind.get("type")
    names = [str(name) for name in (named if isinstance(named, list) else [named]) if name in _OF_JSON]
    convert = conversion_of(connect_schema_of(kind))
    if convert is None:
        return [Kind(name, _OF_JSON[name]) for name in names]
    shown = str(kind.get("title") or "bytes").rpartition(".")[2]
    return [Kind(shown, _converted((*_NUMBERS, *map(_base64, _BYTES)), convert))]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _messages(schema: RegisteredSchema) -> list[Descriptor]:
    """The messages that the file declares, but for those inside others."""
    from kafka_ingest.streams.formats.protobuf_values import message_of

    file = message_of(schema, [0]).file
    return list(file.message_types_by_name.values())


def _protobuf_at(descriptor: Descriptor) -> SamplesAt:
    return lambda path, leaf: _protobuf(descriptor, path, leaf)


def _protobuf(descriptor: Descriptor, path: Path, leaf: Leaf) -> list[Kind] | None:
    from kafka_ingest.streams.formats.protobuf_values import is_plain_message, value_of

    field = descriptor.fields_by_name.get(path[0]) if path else None
    if field is None:
        return None
    if len(path) == 1:
        read = value_of(field, leaf)
        return [Kind(_protobuf_name(field), _converted(_protobuf_raw(field), read))]
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map and len(path) == 2:
        return _protobuf(field.message_type, ("value",), leaf)
    return _protobuf(field.message_type, path[1:], leaf) if is_plain_message(field) else None


def _protobuf_name(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    name = field.type if named is None else named.full_name
    shown = _PROTOBUF_TYPES.get(name, str(name)) if isinstance(name, int) else name
    return f"repeated {shown}" if field.is_repeated else shown


_PROTOBUF_TYPES = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    6: "fixed64",
    7: "fixed32",
    8: "bool",
} | {
    9: "string",
    12: "bytes",
    13: "uint32",
    15: "sfixed32",
    16: "sfixed64",
    17: "sint32",
    18: "sint64",
}
"""By the numbers of FieldDescriptor.TYPE_…"""


def _protobuf_raw(field: FieldDescriptor) -> Sequence[object]:
    """Values as a message has them."""
    from kafka_ingest.streams.formats.protobuf_values import message_class, python_type

    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return [{} if is_map else []]
    if field.enum_type is not None:
        return [each.number for each in field.enum_type.values]
    if field.message_type is None:
        plain = python_type(field)
        return _BYTES if plain is None else _OF_PYTHON[plain]
    made = message_class(field.message_type)
    name = field.message_type.full_name
    if name == "google.type.Date":
        return [made(year=2024, month=5, day=1)]
    if name.startswith("google.protobuf.") and name.endswith("Value") and "value" in field.message_type.fields_by_name:
        return [made(value=each) for each in _fitting(field.message_type.fields_by_name["value"])]
    return [made()]


def _fitting(field: FieldDescriptor) -> Sequence[object]:
    return [each for each in _protobuf_raw(field) if not isinstance(each, int) or each < 1 << 31]


_OF_PYTHON: dict[type, Sequence[object]] = {bool: (True,), int: _NUMBERS, float: (1.5,), str: _TEXTS}
