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

from kafka_ingest.errors import ConfigError
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
    (sa.Integer, int | None, None),
    (sa.Float, float | None, None),
    (sa.Numeric, object | None, None),
    (sa.String, str | int | None, None),
    (ExactText, str | int | None, None),
)
_DATE_TYPE: tuple[object, object] = (str | int | float | None, None)
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


class _Node(dict[str, "_Node | tuple[object, object]"]):
    """One level of the message: JSON name → its type and default, or the level below."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """Decodes one message type.

    decode: bytes → struct; raises one of DECODE_ERRORS.
    paths: where each requested field stands in the struct, as attribute names.
    """

    decode: Callable[[bytes], object]
    paths: tuple[tuple[str, ...], ...]

    def column(self, structs: Sequence[object], which: int) -> list[Any]:
        """Field `which` of every struct; None where it or an object above it is missing or null."""
        values = list(structs)
        for depth, attribute in enumerate(self.paths[which]):
            get = attrgetter(attribute)
            values = list(map(get, values)) if depth == 0 else [None if v is None else get(v) for v in values]
        return values


def json_schema(name: str, fields: Sequence[tuple[tuple[str, ...], tuple[object, object]]]) -> JsonSchema:
    """Schema that reads `fields` (path, (type, default)) and skips everything else.

    Raises ConfigError where one path is both a value and an object with fields of its own.
    """
    root = _Node()
    for path, leaf in fields:
        node = root
        for part in path[:-1]:
            below = node.setdefault(part, _Node())
            if not isinstance(below, _Node):
                raise ConfigError(f"{name}: {'.'.join(path)!r} lies inside {part!r}, which is read as a value itself")
            node = below
        if node.setdefault(path[-1], leaf) != leaf:
            raise ConfigError(f"{name}: field {'.'.join(path)!r} is read in two ways")
    return JsonSchema(
        decode=json_decoder(_struct(name, root)),
        paths=tuple(_attributes(root, path) for path, _ in fields),
    )


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


def model_schema(target: TargetTable) -> JsonSchema:
    """Schema of a table's messages; its fields are `target.bound`, in order. Raises ConfigError where it cannot be read."""
    fields = [(bound.rule.path, column_type(target.model_name, bound)) for bound in target.bound]
    return json_schema(target.model_name, fields)


def column_type(model: str, bound: BoundColumn) -> tuple[object, object]:
    """JSON type and default of a column. Raises ConfigError for a column type that JSON does not give."""
    if bound.rule.dates is not None:
        return _DATE_TYPE
    for kind, json_type, default in _JSON_TYPES:
        if isinstance(bound.column.type, kind):
            return json_type, default
    raise ConfigError(
        f"model {model}: column {bound.name!r} has type {bound.column.type!r}, which has no rule for JSON values; use "
        "String, Text, Integer, BigInteger, SmallInteger, Float, Numeric, Boolean, JSON, or date_field() for dates",
        model=model,
    )


def _struct(name: str, node: _Node) -> type[msgspec.Struct]:
    fields: list[tuple[str, object, object]] = []
    rename: dict[str, str] = {}
    for number, (json_name, below) in enumerate(node.items()):
        attribute = f"f{number}"
        rename[attribute] = json_name
        if isinstance(below, _Node):
            fields.append((attribute, _struct(f"{name}.{json_name}", below) | None, None))
        else:
            fields.append((attribute, *below))
    # gc=False: a slice makes millions of structs, none of them in a reference cycle.
    return msgspec.defstruct(name, fields, rename=rename, gc=False)


def _attributes(root: _Node, path: tuple[str, ...]) -> tuple[str, ...]:
    attributes = []
    node: Any = root
    for part in path:
        attributes.append(f"f{list(node).index(part)}")
        node = node[part]
    return tuple(attributes)
