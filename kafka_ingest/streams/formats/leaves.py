"""What each kind of column takes of a decoded value that is a Python object: the rules that JSON's decoder keeps by its types.

Nothing is guessed. An integer in a text column is its digits, and a date, a time or a UUID its one text (ISO 8601); an integer in
a float column is a float; a column of JSON takes anything, as JSON text with every digit of its numbers. What else does not fit
is a dead letter.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.json_schema import DATE_KIND
from kafka_ingest.streams.kept import ABSENT
from kafka_ingest.streams.numbers import read_number

Path = tuple[str, ...]
Fields = Sequence[tuple[Path, tuple[object, object]]]
"""What is read of a message: paths, and the JSON type and default of each (`streams/json_schema.py`)."""


class Node(dict[str, "Node"]):
    """Fields that are wanted of an object, each with what is wanted of it in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[int] = []
        """The fields of the model that this value itself is."""
        self.elements: Node | None = None
        """What is wanted of each element, where the value is an array that is exploded."""

    def below(self) -> list[int]:
        """The fields that this value and what it holds are."""
        own = self.elements.below() if self.elements is not None else ()
        return [*self.places, *own, *(place for each in self.values() for place in each.below())]

    @property
    def has_elements(self) -> bool:
        """Whether it or what it holds is an array that is exploded."""
        return self.elements is not None or any(each.has_elements for each in self.values())

    def at(self, path: Path) -> Node:
        """What is wanted of what stands at a path in it."""
        node = self
        for part in path:
            node = node.setdefault(part, Node())
        return node

    def paths(self) -> list[tuple[Path, int]]:
        """Of what it holds: where it stands, and the field that it is."""
        found = [((name,), place) for name, each in self.items() for place in each.places]
        return found + [((name, *path), place) for name, each in self.items() for path, place in each.paths()]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader of messages is made for."""

    name: str
    """The model's, for errors."""
    fields: Fields
    """One with an empty path is the whole message."""
    bare: str | None = None
    """The field that a message is which is no object, such as a text; None where it has to be one."""
    is_all: bool = True
    """Whether a message is also checked behind the last of these fields; not where another reader does so."""

    def tree(self) -> Node:
        """The fields by the objects they stand in."""
        top = Node()
        for place, (path, _) in enumerate(self.fields):
            top.at(path).places.append(place)
        return top


encode_json = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Leaf:
    """How one field becomes its column's value."""

    takes: frozenset[type]
    """What is taken as it is."""
    convert: Callable[[object], object]
    """The column's value of anything else but None. Raises BadMessage."""
    null: object = None
    """What stands for a value that is null."""
    absent: object = None
    """What stands for one that is missing: the same, but for a kept column ABSENT."""

    @property
    def is_json(self) -> bool:
        """Whether the column holds JSON, which takes anything."""
        return self.null is not None

    def read(self, value: object) -> object:
        """The column's value. Raises BadMessage where it takes no such thing."""
        if value is None:
            return self.null
        if value is ABSENT:
            return self.absent
        return value if type(value) in self.takes else self.convert(value)


def leaf_at(path: Path, field: tuple[object, object]) -> Leaf:
    """The rule of the column that reads this path; its errors name it."""
    kind = _KINDS[field[0]]
    absent = ABSENT if field[1] is ABSENT else kind.null
    return Leaf(kind.takes, partial(_located, ".".join(path), kind.convert), kind.null, absent)


def _located(path: str, convert: Callable[[object], object], value: object) -> object:
    try:
        return convert(value)
    except BadMessage as error:
        raise BadMessage(f"{path}: {error}") from None


def json_text(value: object) -> bytes:
    """The value as JSON: decimals as numbers with all their digits, bytes as base64, dates as ISO 8601.

    Raises BadMessage for what JSON has no word for, such as NaN.
    """
    try:
        text = encode_json(value)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise BadMessage(f"has no JSON text: {error}") from None
    if b"null" in text and _has_infinity(value):  # msgspec writes null for them
        raise BadMessage("has a number that is not finite, and JSON has none")
    return b"" if text == b"null" else text


def _has_infinity(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    return isinstance(value, list) and any(map(_has_infinity, value))


def _text(value: object) -> str:
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise _unfit(value, "text")


def _number(value: object) -> decimal.Decimal:
    if isinstance(value, bytes | dict | list):
        raise _unfit(value, "number")
    try:
        return read_number(value)
    except (TypeError, ValueError) as error:
        raise BadMessage(str(error)) from None


def _float(value: object) -> float:
    if type(value) is float:
        if not math.isfinite(value):  # a step, or pandas itself, would take NaN for a missing value
            raise BadMessage(f"{value} is not finite")
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise BadMessage("does not fit a double") from None
    raise _unfit(value, "float")


def _no(what: str) -> Callable[[object], object]:
    def refuse(value: object) -> object:
        raise _unfit(value, what)

    return refuse


_NAMES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    str: "text",
    dict: "object",
    list: "array",
    decimal.Decimal: "decimal",
    dt.datetime: "timestamp",
}


def type_name(value: object) -> str:
    """What a decoded value is, for people."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def _unfit(value: object, what: str) -> BadMessage:
    return BadMessage(f"{type_name(value)} in a column of type {what}")


def _uuid(value: object) -> str:
    """Of columns of UUIDs, times and bytes, each of which takes one of them; `validate` says which does not."""
    if isinstance(value, uuid.UUID):
        return str(value)
    raise _unfit(value, "text, time or bytes")


def _any(value: object) -> object:
    """Of columns of dates, and those with a cast: the step that translates dates, or the cast, says what is none. Bytes are no
    date; they would be taken for their text."""
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    raise _unfit(value, "date")


_PLAIN = frozenset({str, int, bool, decimal.Decimal, dict, list, dt.datetime, dt.date, dt.time})
_KINDS: dict[object, Leaf] = {
    msgspec.Raw: Leaf(frozenset(), json_text, b""),
    bool | None: Leaf(frozenset({bool}), _no("boolean")),
    int | None: Leaf(frozenset({int}), _no("integer")),
    float | None: Leaf(frozenset(), _float),
    object | None: Leaf(frozenset({decimal.Decimal}), _number),
    str | int | None: Leaf(frozenset({str, int}), _text),
    int | bool | None: Leaf(frozenset({int, bool}), _no("integer")),
    str | None: Leaf(frozenset({str, bytes, dt.time}), _uuid),
    DATE_KIND: Leaf(_PLAIN, _any),
    Any: Leaf(_PLAIN | {bytes}, _any),
}


ANY_VALUE: tuple[object, object] = (Any, None)
"""The type and default of a field that is taken as it is."""


def pick(fields: Fields) -> Callable[[object], tuple[Any, ...]]:
    """Reads the fields out of a decoded message made of dicts, lists and plain values. It raises BadMessage."""
    wanted = [(path, leaf_at(path, field)) for path, field in fields]

    def read(message: object) -> tuple[Any, ...]:
        return tuple([leaf.read(value_at(message, path)) for path, leaf in wanted])

    return read


def value_at(message: object, path: Path) -> object:
    """The value at a path; ABSENT where it or an object above it is missing, None where it or such an object is null. Raises
    BadMessage for what is no object."""
    value: Any = message
    for place, part in enumerate(path):
        if value is None or value is ABSENT:
            return value
        if not isinstance(value, dict):
            raise BadMessage(f"{'.'.join(path[:place]) or 'the message'}: {_unfit(value, 'object')}")
        value = value.get(part, ABSENT)
    return value
