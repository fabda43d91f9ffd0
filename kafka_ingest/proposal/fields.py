"""The fields of messages by path, each with its values: what the decisions about columns are made of."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Path = tuple[str, ...]
Kind = Literal[
    "boolean", "integer", "number", "float", "text", "array", "object", "bytes", "instant", "day", "time", "uuid"
]

_NUMBERS: frozenset[Kind] = frozenset({"integer", "number", "float"})

OUTLIERS = 0.01
"""A part of a field's values up to which those of another kind do not change its column: they become dead letters."""
MIN_MESSAGES = 100
"""Fewer messages do not show that a field is always there, or that a value is rare."""

# Objects deeper than this, and those with more keys that come and go, are kept whole as JSON.
_MOST_LEVELS = 6
_MOST_KEYS = 40
_LEAST_FILLED = 0.25
_DATA_KEY = re.compile(r"[0-9]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9]{4}-[0-9]{2}-[0-9]{2}.*")


@dataclass(slots=True)
class Field:
    """One field: what a column could read."""

    path: Path
    numbers: list[int]
    """Places, among the messages that were looked at, of those in which it has a value other than null."""
    values: list[Any]
    """Those values."""
    kinds: Counter[Kind]

    @property
    def seen(self) -> int:
        """In how many messages it has a value."""
        return len(self.values)

    @property
    def label(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)

    def outlier_kinds(self) -> set[Kind]:
        """Kinds so rare that they do not change the column."""
        if self.seen < MIN_MESSAGES:
            return set()
        rare: set[Kind] = set()
        left = int(self.seen * OUTLIERS)
        for kind, count in sorted(self.kinds.items(), key=lambda item: item[1]):
            if count > left:
                break
            left -= count
            rare.add(kind)
        usual = set(self.kinds) - rare
        if usual <= _NUMBERS:
            return rare - _NUMBERS  # a number with decimals among integers says what the column is
        return rare - {"integer"} if usual == {"text"} else rare  # which a text column takes


def can_be_read(path: Path) -> bool:
    """Whether a model can read the field: the decoder has no such names."""
    return not any(character in '"\\' or character < " " for part in path for character in part)


def kind_of(value: object) -> Kind:
    """What a decoded value is. An integer of any size is one, also where the decoder gave a Decimal."""
    if isinstance(value, Decimal):
        return "integer" if value.is_finite() and value.as_tuple().exponent == 0 else "number"
    return _KINDS.get(type(value), "object")


_KINDS: Mapping[type, Kind] = {
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "text",
    list: "array",
    dict: "object",
    bytes: "bytes",
    dt.datetime: "instant",
    dt.date: "day",
    dt.time: "time",
    uuid.UUID: "uuid",
}


def fields_of(messages: Sequence[Mapping[str, Any]], whole: Collection[Path] = ()) -> list[Field]:
    """All fields with values, in the order in which they first stand in a message; objects taken apart.

    An object stays whole, as JSON, where it is empty, is kept deep, or has keys that are data; so does a field that is an object
    in some messages and something else in others, and each path of `whole`.
    """
    found: list[Field] = []
    _walk((), list(range(len(messages))), list(messages), frozenset(whole), found)
    return found


def _walk(path: Path, numbers: list[int], values: list[Any], whole: frozenset[Path], found: list[Field]) -> None:
    kinds: Counter[Kind] = Counter(map(kind_of, values))
    if not path or (kinds["object"] and path not in whole and _is_structure(path, kinds, values)):
        children: dict[str, tuple[list[int], list[Any]]] = {}
        for number, value in zip(numbers, values, strict=True):
            if type(value) is dict:
                for key, each in value.items():
                    own = children.setdefault(key, ([], []))
                    if each is not None:
                        own[0].append(number)
                        own[1].append(each)
        for key, (some, own_values) in children.items():
            _walk((*path, key), some, own_values, whole, found)
        return
    found.append(Field(path, numbers, values, kinds))


def _is_structure(path: Path, kinds: Counter[Kind], values: Sequence[Any]) -> bool:
    """Whether a field that is an object is one with fields of its own."""
    objects = [value for value in values if type(value) is dict]
    others = len(values) - len(objects)
    if others and (len(values) < MIN_MESSAGES or others > len(values) * OUTLIERS):
        return False
    filled = Counter(key for value in objects for key in value)
    if not filled or len(path) >= _MOST_LEVELS or all(_DATA_KEY.fullmatch(key) for key in filled):
        return False
    return len(filled) <= _MOST_KEYS or sum(filled.values()) >= _LEAST_FILLED * len(filled) * len(objects)
