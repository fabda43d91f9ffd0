"""A model as a JSON schema: typed msgspec decoders, and columns out of what they decode."""

from __future__ import annotations

import decimal
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.column_types import BINARIES, ExactUuid
from kafka_ingest.streams.kept import ABSENT
from kafka_ingest.streams.model import BoundColumn, ExactText
from kafka_ingest.streams.numbers import decode_number
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlType

# What each column type takes from JSON. Nothing is guessed: the one conversion is an integer into a text column,
# which is exact. Longer classes first, as JSON is no Text and Boolean no Integer. `object` makes msgspec ask
# `decode_number`, as its own Decimal takes texts such as "1_000"; nothing but numbers is declared so.
_JSON_TYPES: tuple[tuple[type[SqlType], object, object], ...] = (
    (sa.JSON, msgspec.Raw, msgspec.Raw()),
    (sa.Boolean, bool | None, None),
    (mysql.BIT, int | bool | None, None),
    (mysql.YEAR, int | None, None),
    (sa.Integer, int | None, None),
    (sa.Float, float | None, None),
    (sa.Numeric, object | None, None),
    (sa.String, str | int | None, None),
    (ExactText, str | int | None, None),
    (ExactUuid, str | None, None),
    (sa.Time, str | None, None),
    *((kind, str | None, None) for kind in BINARIES),
)
# A cast decides itself: a number with decimals comes as a Decimal.
_ANY_TYPE: tuple[object, object] = (Any, None)
# Of any type: a number comes with all its digits (a float would round 23:59:59.9999999 to the next day), and an array may be a
# date. What is none is refused where dates are read. To JSON it is the same as Any; formats that have bytes refuse them.
DATE_KIND: object = Any | None
_DATE_TYPE: tuple[object, object] = (DATE_KIND, None)
ROUTE_TYPE: tuple[object, object] = (str | int | None, None)

# InvalidOperation: a number with an exponent that no Decimal has.
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, decimal.InvalidOperation)

MAX_DEPTH = 900
"""Levels of objects and lists that a message or a key may have. Up to Python 3.13 the parser itself stops there, at 1,000 less
the calls it is in; from 3.14 on it goes by the size of the C stack and takes some 10,000: a message has to end the same way."""
# One without an end, too, so that nothing is read twice.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


class Node(dict[str, "Node | tuple[object, object]"]):
    """One level of the message: JSON name → its type and default, or the level below."""

    def has_kept(self) -> bool:
        """Whether it makes a difference if the object is missing or null."""
        return any(each.has_kept() if isinstance(each, Node) else each[1] is ABSENT for each in self.values())


Fields = Sequence[tuple[tuple[str, ...], tuple[object, object]]]
"""Paths, and the JSON type and default of each."""


@dataclass(frozen=True, slots=True)
class JsonReader:
    """Decodes one message type.

    decode: bytes → struct; raises one of DECODE_ERRORS.
    paths: where each requested field stands in the struct, as attribute names.
    defaults: what each is where an object above it is missing; ABSENT for those of kept columns.
    """

    decode: Callable[[bytes], object]
    paths: tuple[tuple[str, ...], ...]
    defaults: tuple[object, ...]

    @property
    def decode_long(self) -> Callable[[bytes], object]:
        """As `decode`, for values long enough to be nested too deep."""
        return depth_limited(self.decode)

    def json_of(self, value: bytes) -> bytes | None:
        """The value, which is JSON or was to be."""
        return value

    def column(self, structs: Sequence[object], which: int) -> list[Any]:
        """Field `which` of every struct; its default where it or an object above it is missing, and also, but where that is
        ABSENT, where it or such an object is null."""
        path, default = self.paths[which], self.defaults[which]
        values: list[Any] = list(map(attrgetter(path[0]), structs))
        if len(path) == 1:
            return values
        null = None if default is ABSENT else default
        for attribute in path[1:]:
            get = attrgetter(attribute)
            values = [v if v is None or v is ABSENT else get(v) for v in values]
        return [null if v is None else default if v is ABSENT else v for v in values]


def json_schema(name: str, fields: Fields) -> JsonReader:
    """Schema that reads `fields` (path, (type, default)) and skips everything else.

    Raises ConfigError where one path is both a value and an object with fields of its own.
    """
    root = tree_of(name, fields)
    return reader_of(struct_of(name, root), root, fields)


def reader_of(struct: type[msgspec.Struct], root: Node, fields: Fields) -> JsonReader:
    """Reads the fields of what is decoded into this struct, which is made of the tree of these fields."""
    return JsonReader(
        decode=json_decoder(struct),
        paths=tuple(attributes_of(root, path) for path, _ in fields),
        defaults=tuple(default for _, (_, default) in fields),
    )


def tree_of(name: str, fields: Fields) -> Node:
    """The fields by the objects they stand in. Raises ConfigError as `json_schema`."""
    root = Node()
    for path, kind in fields:
        leaf = _ANY_TYPE if kind == _DATE_TYPE else kind
        node = root
        for part in path[:-1]:
            below = node.setdefault(part, Node())
            if not isinstance(below, Node):
                raise ConfigError(f"{name}: {'.'.join(path)!r} lies inside {part!r}, which is read as a value itself")
            node = below
        if node.setdefault(path[-1], leaf) != leaf:
            raise ConfigError(f"{name}: field {'.'.join(path)!r} is read in two ways")
    return root


def json_decoder(kind: object) -> Callable[[bytes], object]:
    """Decoder of one type made of those above; raises one of DECODE_ERRORS."""
    # What is no integer of 64 bits goes through float_hook as its text, so that a decimal is never a float.
    return msgspec.json.Decoder(kind, dec_hook=decode_number, float_hook=decimal.Decimal).decode


def depth_limited(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The decoder, with a RecursionError for what has more than MAX_DEPTH levels, as the parser has before Python 3.14."""
    if sys.version_info < (3, 14):
        return decode

    def limited(value: bytes) -> Any:
        if is_too_deep(value):
            raise RecursionError(f"more than {MAX_DEPTH} levels")
        return decode(value)

    return limited


def is_too_deep(value: bytes) -> bool:
    """Whether the JSON has more than MAX_DEPTH levels. Most of it is answered by its length or the number of its brackets."""
    if len(value) <= 2 * MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    steps = _STEP[np.frombuffer(_STRING.sub(b"", value), np.uint8)]
    return bool(np.cumsum(steps, dtype=np.int64).max(initial=0) > MAX_DEPTH)


def model_fields(
    target: TargetTable, row: tuple[str, ...] = (), columns: Sequence[BoundColumn] | None = None
) -> list[tuple[tuple[str, ...], tuple[object, object]]]:
    """What is read of a table's messages, in which the row stands at the path `row`: `target.read`, or these columns of it, in
    order; the default of a kept column is ABSENT. Raises ConfigError for a column that cannot be read."""
    read = target.read if columns is None else columns
    types = [column_type(target.model_name, bound) for bound in read]
    return [
        (
            (*row, *bound.rule.path) if bound.rule.source is None else bound.rule.path,
            (kind, default if bound.rule.keep_absent is False else ABSENT),
        )
        for bound, (kind, default) in zip(read, types, strict=True)
    ]


def model_schema(target: TargetTable, row: tuple[str, ...] = ()) -> JsonReader:
    """Reader of a table's messages in JSON. Raises ConfigError where they cannot be read."""
    return json_schema(target.model_name, model_fields(target, row))


def column_type(model: str, bound: BoundColumn) -> tuple[object, object]:
    """JSON type and default of a column. Raises ConfigError for a column type that JSON does not give."""
    if bound.rule.dates is not None:
        return _DATE_TYPE
    if bound.rule.cast is not None:
        return _ANY_TYPE
    for kind, json_type, default in _JSON_TYPES:
        if isinstance(bound.column.type, kind):
            return json_type, default
    raise ConfigError(
        f"model {model}: column {bound.name!r} has type {bound.column.type!r}, which has no rule for JSON values; use "
        "String, Text, Enum, an integer type, Float, Numeric, Boolean, JSON, Uuid, Time, a binary type, or date_field() for "
        "dates",
        model=model,
    )


def struct_of(name: str, node: Node) -> type[msgspec.Struct]:
    """What an object with these fields is decoded into."""
    fields: list[tuple[str, object, object]] = []
    rename: dict[str, str] = {}
    for number, (json_name, below) in enumerate(node.items()):
        attribute = f"f{number}"
        rename[attribute] = json_name
        if isinstance(below, Node):
            inner: Any = struct_of(f"{name}.{json_name}", below) | None
            fields.append(
                (attribute, inner | msgspec.UnsetType, ABSENT) if below.has_kept() else (attribute, inner, None)
            )
        else:
            kind: Any = below[0]
            fields.append((attribute, kind | msgspec.UnsetType, ABSENT) if below[1] is ABSENT else (attribute, *below))
    try:
        # gc=False: a slice makes millions of structs, none of them in a reference cycle.
        return msgspec.defstruct(name, fields, rename=rename, gc=False)
    except ValueError as error:  # msgspec takes no names with quotes, backslashes or control characters
        raise ConfigError(f"{name}: {error}", setting="path") from error


def attributes_of(root: Node, path: tuple[str, ...]) -> tuple[str, ...]:
    """Where a field stands in such a struct."""
    attributes = []
    node: Any = root
    for part in path:
        attributes.append(f"f{list(node).index(part)}")
        node = node[part]
    return tuple(attributes)
