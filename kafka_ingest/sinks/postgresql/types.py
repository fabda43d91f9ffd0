"""Column types of PostgreSQL: whether a column of one type holds every value of another unchanged, or refuses it.

Types are compared as the server writes them (`format_type`) and as SQLAlchemy does in DDL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}
_FREE_TEXTS = ("text", "character varying")
# What else these are called (manual, "Data Types").
_SYNONYMS = {
    "varchar": "character varying",
    "char": "character",
    "bpchar": "character",
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "decimal": "numeric",
    "bool": "boolean",
    "float4": "real",
    "float8": "double precision",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
}
# FLOAT(p) is a double from here on (manual, "Floating-Point Types").
DOUBLE_FROM_BITS = 25
# A NUMERIC without precision is declared as that of ten digits, as everywhere in this package; the server's own holds all.
_DECLARED_DIGITS = (10, 0)
_MICROSECONDS = 6
_UUID_CHARACTERS = 36
_TYPE = re.compile(r"(.+?)\s*(?:\(\s*(-?\d+)\s*(?:,\s*(-?\d+)\s*)?\)(.*))?")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type taken apart. `length` is the first number in its brackets, `scale` the second."""

    name: str
    length: int | None = None
    scale: int | None = None
    members: tuple[str, ...] = ()
    """Of an enumeration."""

    @property
    def is_text(self) -> bool:
        return self.name in (*_FREE_TEXTS, "character", "citext")


def parse_type(text: str, members: tuple[str, ...] = ()) -> ColumnType:
    """A type as the server has it."""
    found = _TYPE.fullmatch(text if members else text.lower())
    assert found is not None  # noqa: S101  the expression takes any text
    name = " ".join(f"{found[1]}{found[4] or ''}".split())
    name = _SYNONYMS.get(name, name)
    numbers = (None if found[2] is None else int(found[2]), None if found[3] is None else int(found[3]))
    if name == "float":
        is_double = numbers[0] is None or numbers[0] >= DOUBLE_FROM_BITS
        return ColumnType("double precision" if is_double else "real")
    if name == "numeric" and numbers[0] is not None:
        return ColumnType(name, numbers[0], numbers[1] or 0)
    return ColumnType(name, *numbers, members)


def declared_type(text: str, members: tuple[str, ...] = ()) -> ColumnType:
    """A type as DDL has it. members: where only these are ever written, whatever the type."""
    found = parse_type(text)
    if found.name == "numeric" and found.length is None:
        return ColumnType(found.name, *_DECLARED_DIGITS)
    return ColumnType(found.name, found.length, found.scale, members)


def change(have: ColumnType, want: ColumnType) -> str | None:
    """What a column of type `have` would do to a value of type `want`; None where it holds or refuses every one unchanged."""
    if want.name in _INTEGER_BITS:
        return _integer(have, want)
    if want.name in ("numeric", "real", "double precision"):
        return _number(have, want)
    if want.name in ("json", "jsonb"):
        # Neither the order of names nor blanks count in JSON; numbers are exact in both.
        return None if have.name in ("json", "jsonb") else "JSON would be kept as something else"
    if want.is_text:
        return _text(have, want)
    if want.name.startswith("timestamp"):
        return _instant(have, want)
    if want.name == "time without time zone":
        return _time(have, want)
    if want.name == "uuid" and have.is_text:
        return _text(have, ColumnType("character varying", _UUID_CHARACTERS))
    same = (have.name, have.length, have.scale) == (want.name, want.length, want.scale)
    return None if same else "a value would be kept as something else"


def _integer(have: ColumnType, want: ColumnType) -> str | None:
    if have.name not in _INTEGER_BITS:
        return "a number would be kept as something else"
    bits = _INTEGER_BITS[have.name]
    return (
        None if bits >= _INTEGER_BITS[want.name] else f"it holds {-(1 << (bits - 1))} to {(1 << (bits - 1)) - 1} only"
    )


def _number(have: ColumnType, want: ColumnType) -> str | None:
    if want.name == "numeric":
        if have.name != "numeric":
            return "decimals would be rounded or kept as something else"
        if have.length is None:
            return None
        assert want.length is not None  # noqa: S101  as declared
        scale, wanted = have.scale or 0, want.scale or 0
        if scale < wanted:
            return f"decimals would be rounded to {scale}"
        return (
            None
            if have.length - scale >= want.length - wanted
            else f"only {have.length - scale} digits fit before the point"
        )
    if have.name in ("double precision", want.name):
        return None
    if have.name == "real":
        return "a number would be rounded: 16777217 to 16777216"
    return "a number would be rounded or kept as something else"


def _text(have: ColumnType, want: ColumnType) -> str | None:
    if have.members:
        if not want.members:
            return "only its members fit"
        lacking = [member for member in want.members if member not in have.members]
        return f"it lacks {', '.join(map(repr, lacking))}" if lacking else None
    if not have.is_text:
        return "text would be refused, or kept as something else: '0930' as 930, '240501' as 2024-05-01"
    if have.name == "character":
        return "blanks at the end would be cut or added"
    if have.length is None:
        return None
    longest = max(map(len, want.members)) if want.members else want.length
    if longest is None or have.length < longest:
        return f"longer text does not fit {have.length} characters, and blanks at its end would be cut without a word"
    return None


def _time(have: ColumnType, want: ColumnType) -> str | None:
    if have.name != want.name:
        return "a time would be kept as something else"
    digits, wanted = (_MICROSECONDS if kind.length is None else kind.length for kind in (have, want))
    return f"23:59:59.999999 would be rounded to {digits} decimals" if digits < wanted else None


def _instant(have: ColumnType, want: ColumnType) -> str | None:
    if not have.name.startswith("timestamp"):
        return "an instant would be cut or kept as something else"
    digits, wanted = (_MICROSECONDS if kind.length is None else kind.length for kind in (have, want))
    if digits < wanted:
        return f"23:59:59.999999 would be rounded to {digits} decimals, into the next day or year even"
    return None
