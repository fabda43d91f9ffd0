"""Avro schemas as objects that read and skip values (Avro 1.12, "Schema Declaration" and "Binary Encoding")."""

from __future__ import annotations

import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from kafka_ingest.streams.formats.avro_values import logical_reader
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.formats.zigzag import read_long

SMALL_LENGTHS = [-1 if byte & 1 or byte > 127 else byte >> 1 for byte in range(256)]
"""Of a length's first byte; -1 where it has more bytes or is none."""
SMALL_NUMBERS = [None if byte > 127 else (byte >> 1) ^ -(byte & 1) for byte in range(256)]
"""Of a number's first byte; None where it has more."""
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_MOST_EMPTY_ITEMS = 1_000
"""Items without bytes, such as nulls, that an array may have beyond the message's size: else one byte could ask for 2**60."""


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """The length at a place, and where it ends. Raises BadMessage where more than the message has is asked for."""
    byte, second = data[at], data[at + 1] if at + 1 < len(data) else 0
    if byte > 127 > second and not byte & 1:  # up to 8,191, at once
        length, at = (byte & 127 | second << 7) >> 1, at + 2
    else:
        length, at = read_long(data, at)
    if not 0 <= length <= len(data) - at:
        raise BadMessage(f"a text or bytes of length {length} at byte {at}, and the message has {len(data)}")
    return length, at


class Type(ABC):
    """One type of a schema. `read` gives the value at a place of the message and where it ends, `skip` only that."""

    @abstractmethod
    def read(self, data: bytes, at: int) -> tuple[Any, int]: ...

    def skip(self, data: bytes, at: int) -> int:
        return self.read(data, at)[1]


class Primitive(Type):
    """A type by its name, with or without a logical type."""

    def __init__(self, kind: str, convert: Callable[[Any], object] | None) -> None:
        self.kind = kind
        self.convert = convert
        self._raw = _READERS[kind]

    def read(self, data: bytes, at: int) -> tuple[Any, int]:
        value, at = self._raw(data, at)
        return (value if self.convert is None else self.convert(value)), at

    def skip(self, data: bytes, at: int) -> int:
        return self._raw(data, at)[1]


def _read_null(_data: bytes, at: int) -> tuple[None, int]:
    return None, at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise BadMessage(f"a boolean is {data[at]}, not 0 or 1")
    return data[at] == 1, at + 1


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_length(data, at)
    return data[at : at + length], at + length


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    length, at = read_length(data, at)
    return str(data[at : at + length], "utf-8"), at + length


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    return _FLOAT.unpack_from(data, at)[0], at + 4


def _read_double(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE.unpack_from(data, at)[0], at + 8


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """As `read_long`, of 32 bits."""
    value, at = read_long(data, at)
    if not -(1 << 31) <= value < 1 << 31:
        raise BadMessage(f"an int is {value}, which has more than 32 bits")
    return value, at


_READERS: Mapping[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": read_int,
    "long": read_long,
    "float": _read_float,
    "double": _read_double,
    "bytes": _read_bytes,
    "string": _read_string,
}


class Fixed(Type):
    def __init__(self, size: int, convert: Callable[[Any], object] | None) -> None:
        self.size = size
        self.convert = convert

    def read(self, data: bytes, at: int) -> tuple[Any, int]:
        end = self.skip(data, at)
        value = data[at:end]
        return (value if self.convert is None else self.convert(value)), end

    def skip(self, data: bytes, at: int) -> int:
        if at + self.size > len(data):
            raise BadMessage(f"{self.size} bytes at byte {at}, and the message has {len(data)}")
        return at + self.size


class Enum(Type):
    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols

    def read(self, data: bytes, at: int) -> tuple[str, int]:
        place, at = read_long(data, at)
        if not 0 <= place < len(self.symbols):
            raise BadMessage(f"symbol {place} of an enum that has {len(self.symbols)}")
        return self.symbols[place], at


class Union(Type):
    def __init__(self, branches: list[Type]) -> None:
        self.branches = branches

    def branch(self, data: bytes, at: int) -> tuple[Type, int]:
        place, at = read_long(data, at)
        if not 0 <= place < len(self.branches):
            raise BadMessage(f"branch {place} of a union that has {len(self.branches)}")
        return self.branches[place], at

    def read(self, data: bytes, at: int) -> tuple[Any, int]:
        branch, at = self.branch(data, at)
        return branch.read(data, at)

    def skip(self, data: bytes, at: int) -> int:
        branch, at = self.branch(data, at)
        return branch.skip(data, at)


def read_count(data: bytes, at: int) -> tuple[int, int]:
    """How many items a block of an array or a map has; where that is negative, the block's size in bytes follows."""
    count, at = read_long(data, at)
    if count < 0:
        count = -count
        _, at = read_long(data, at)
    if count > len(data) + _MOST_EMPTY_ITEMS:
        raise BadMessage(f"{count} items in a message of {len(data)} bytes")
    return count, at


class Array(Type):
    def __init__(self, items: Type) -> None:
        self.items = items

    def read(self, data: bytes, at: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        read = self.items.read
        while True:
            count, at = read_count(data, at)
            if count == 0:
                return found, at
            for _ in range(count):
                value, at = read(data, at)
                found.append(value)


class Map(Type):
    def __init__(self, values: Type) -> None:
        self.values = values

    def read(self, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        while True:
            count, at = read_count(data, at)
            if count == 0:
                return found, at
            for _ in range(count):
                key, at = _read_string(data, at)
                found[key], at = self.values.read(data, at)


class Record(Type):
    def __init__(self) -> None:
        self.fields: list[tuple[str, Type]] = []

    def read(self, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        for name, kind in self.fields:
            found[name], at = kind.read(data, at)
        return found, at

    def skip(self, data: bytes, at: int) -> int:
        for _, kind in self.fields:
            at = kind.skip(data, at)
        return at


def parse_schema(schema: RegisteredSchema) -> Type:
    """The schema's type, with the named types of those it refers to. Raises BadMessage where it is no Avro schema."""
    names: dict[str, Type] = {}
    try:
        return _parse_all(schema, names)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise BadMessage(f"schema {schema.id} of the registry is no Avro schema: {what}") from None


def _parse_all(schema: RegisteredSchema, names: dict[str, Type]) -> Type:
    for _, needed in schema.references:
        _parse_all(needed, names)
    return _Parser(names).parse(json.loads(schema.text), "")


class _Parser:
    def __init__(self, names: dict[str, Type]) -> None:
        self._names = names

    def parse(self, schema: Any, space: str) -> Type:
        if isinstance(schema, list):
            return Union([self.parse(each, space) for each in schema])
        if isinstance(schema, str):
            return Primitive(schema, None) if schema in _READERS else self._named(schema, space)
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.parse(kind, space)
        if kind in _READERS:
            return Primitive(kind, logical_reader(kind, schema, None))
        if kind == "array":
            return Array(self.parse(schema["items"], space))
        if kind == "map":
            return Map(self.parse(schema["values"], space))
        return self._define(kind, schema, space)

    def _named(self, name: str, space: str) -> Type:
        for full in (f"{space}.{name}" if space and "." not in name else name, name):
            if full in self._names:
                return self._names[full]
        raise ValueError(f"type {name!r} is not defined")

    def _define(self, kind: str, schema: Any, space: str) -> Type:
        if kind not in ("record", "error", "enum", "fixed"):
            return self._named(kind, space)
        name = schema["name"]
        if "." in name:
            space = name.rpartition(".")[0]
        else:
            space = schema.get("namespace", space) or ""
            name = f"{space}.{name}" if space else name
        found: Type
        if kind == "enum":
            found = Enum(list(schema["symbols"]))
        elif kind == "fixed":
            found = Fixed(int(schema["size"]), logical_reader(kind, schema, int(schema["size"])))
        else:
            found = Record()
        self._names[name] = found  # before the fields, as a record may hold records of its own kind
        if isinstance(found, Record):
            found.fields = [(field["name"], self.parse(field["type"], space)) for field in schema["fields"]]
        return found
