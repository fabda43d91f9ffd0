"""Column types as SQL writes them, as the types that `field` and `date_field` take: `VARCHAR(16)` is `String(16)`.

| declared | in Python |
|---|---|
| `VARCHAR(n)`, `TEXT`, `TEXT(n)` | `String(n)`, `Text`, `Text(n)` |
| `TINYTEXT`, `MEDIUMTEXT`, `LONGTEXT` | MySQL's |
| `SMALLINT`, `INTEGER` or `INT`, `BIGINT` | `SmallInteger`, `Integer`, `BigInteger` |
| `TINYINT`, `MEDIUMINT`, and all of them with ` UNSIGNED`; `YEAR`, `BIT(n)` | MySQL's |
| `DOUBLE` | `Float` |
| `DECIMAL(p,s)` | `Numeric(p, s)` |
| `BOOLEAN` | `Boolean` |
| `ENUM('a','b')` | `Enum("a", "b")` |
| `SET('a','b')` | `String`, in MySQL and MariaDB `SET("a", "b")` |
| `JSON` | `JSON` |
| `UUID` | `Uuid` |
| `BINARY(n)`, `VARBINARY(n)`, `BLOB` | `BINARY(n)`, `VARBINARY(n)`, `LargeBinary` |
| `TINYBLOB`, `MEDIUMBLOB`, `LONGBLOB` | MySQL's |
| `TIME(n)` | MySQL's `TIME(fsp=n)` |
| `DATETIME(n)`, `TIMESTAMP(n)`, `DATE` | `date_field()` of MySQL's `DATETIME(fsp=n)` or `TIMESTAMP(fsp=n)`, or of `Date` |

MySQL's types are the narrowest that hold the same values on other databases, as in a model of Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.streams.model import MICROSECONDS
from kafka_ingest.type_names import SqlType

_MYSQL = ("mysql", "mariadb")
_MEMBERS = r"\(('(?:[^']|'')*'(?:, ?'(?:[^']|'')*')*)\)"
_MEMBER = re.compile(r"'((?:[^']|'')*)'")
_LENGTH = r"\(([1-9][0-9]*)\)"
_DECIMALS = r"\(([0-6])\)"
# MySQL manual, "Fixed-Point Types": 65 digits, 30 of them behind the point.
_MOST_DIGITS, _MOST_DECIMALS = 65, 30
_MOST_BITS = 64


@dataclass(frozen=True, slots=True)
class _Kind:
    shown: str
    pattern: str
    make: Callable[..., SqlType]
    """Takes the groups of the pattern. Raises ValueError for what the pattern cannot tell."""


def _decimal(digits: str, decimals: str | None) -> SqlType:
    precision, scale = int(digits), int(decimals or 0)
    if not 1 <= precision <= _MOST_DIGITS or scale > min(precision, _MOST_DECIMALS):
        raise ValueError(
            f"is DECIMAL({precision},{scale}); it has 1 to {_MOST_DIGITS} digits, at most {_MOST_DECIMALS} behind the point"
        )
    return sa.Numeric(precision, scale)


def _bit(length: str) -> SqlType:
    if int(length) > _MOST_BITS:
        raise ValueError(f"is BIT({length}); it has 1 to {_MOST_BITS} bits")
    return mysql.BIT(int(length))


def _datetime(decimals: str) -> SqlType:
    return MICROSECONDS if decimals == "6" else mysql.DATETIME(fsp=int(decimals))


def _set(listed: str) -> SqlType:
    members = _members(listed)
    return sa.String(sum(len(member) + 1 for member in members)).with_variant(mysql.SET(*members), *_MYSQL)


def _members(listed: str) -> list[str]:
    members = [member.replace("''", "'") for member in _MEMBER.findall(listed)]
    twice = next((member for at, member in enumerate(members) if member in members[:at]), None)
    if twice is not None:
        raise ValueError(f"lists {twice!r} twice")
    return members


def _named(name: str, make: Callable[[], SqlType]) -> _Kind:
    return _Kind(name, name, make)


def _sized(name: str, make: Callable[[int], SqlType]) -> _Kind:
    return _Kind(f"{name}(n)", name + _LENGTH, lambda length: make(int(length)))


_INTEGERS: tuple[tuple[str, Callable[..., SqlType], Callable[..., SqlType]], ...] = (
    ("TINYINT", mysql.TINYINT, mysql.TINYINT),
    ("SMALLINT", sa.SmallInteger, mysql.SMALLINT),
    ("MEDIUMINT", mysql.MEDIUMINT, mysql.MEDIUMINT),
    ("INTEGER", sa.Integer, mysql.INTEGER),
    ("INT", sa.Integer, mysql.INTEGER),
    ("BIGINT", sa.BigInteger, mysql.BIGINT),
)
_KINDS = (
    _sized("VARCHAR", sa.String),
    _named("TEXT", sa.Text),
    _sized("TEXT", sa.Text),
    *(_named(kind.__name__, kind) for kind in (mysql.TINYTEXT, mysql.MEDIUMTEXT, mysql.LONGTEXT)),
    *(_named(name, signed) for name, signed, _ in _INTEGERS),
    *(_named(f"{name} UNSIGNED", partial(unsigned, unsigned=True)) for name, _, unsigned in _INTEGERS),
    _named("YEAR", mysql.YEAR),
    _Kind("BIT(n)", f"BIT{_LENGTH}", _bit),
    _named("DOUBLE", sa.Float),
    _Kind("DECIMAL(p,s)", r"DECIMAL\(([0-9]+)(?:, ?([0-9]+))?\)", _decimal),
    _named("BOOLEAN", sa.Boolean),
    _Kind("ENUM('a','b')", f"ENUM{_MEMBERS}", lambda listed: sa.Enum(*_members(listed))),
    _Kind("SET('a','b')", f"SET{_MEMBERS}", _set),
    _named("JSON", sa.JSON),
    _named("UUID", sa.Uuid),
    _sized("BINARY", sa.BINARY),
    _sized("VARBINARY", sa.VARBINARY),
    _named("BLOB", sa.LargeBinary),
    *(_named(kind.__name__, kind) for kind in (mysql.TINYBLOB, mysql.MEDIUMBLOB, mysql.LONGBLOB)),
    _Kind("TIME(n)", f"TIME{_DECIMALS}", lambda decimals: mysql.TIME(fsp=int(decimals))),
    _Kind("DATETIME(n)", f"DATETIME{_DECIMALS}", _datetime),
    _Kind("TIMESTAMP(n)", f"TIMESTAMP{_DECIMALS}", lambda decimals: mysql.TIMESTAMP(fsp=int(decimals))),
    _named("DATE", sa.Date),
)

COLUMN_TYPES = tuple(kind.shown for kind in _KINDS)
"""What may be declared, as people read it."""
COLUMN_TYPE_PATTERN = "^({})$".format("|".join(re.sub("[(](.+)[)]", "[(].+[)]", shown) for shown in COLUMN_TYPES))
"""Regular expression of all of it for a JSON schema, where people read it: of what stands in brackets it says nothing."""

# What people write for one of them, and what to write here.
_INSTEAD = {
    "BOOL": "BOOLEAN",
    "NUMERIC": "DECIMAL(p,s)",
    "DECIMAL": "DECIMAL(p,s)",
    "FLOAT": "DOUBLE; MySQL's FLOAT would cut the digits of a JSON number",
    "REAL": "DOUBLE",
    "STRING": "VARCHAR(n)",
    "VARCHAR": "VARCHAR(n)",
    "CHAR": "VARCHAR(n); MySQL's CHAR loses trailing blanks",
    "DATETIME": "DATETIME(6), or with fewer decimals of a second",
    "TIMESTAMP": "TIMESTAMP(6), or with fewer decimals of a second",
    "TIME": "TIME(6), or with fewer decimals of a second",
    "BIT": "BIT(1)",
    "BINARY": "BINARY(n)",
    "VARBINARY": "VARBINARY(n)",
    "BYTEA": "BLOB",
}


def column_type(text: str) -> SqlType:
    """The type that a text names. Raises ValueError: what is wrong, and what may be written."""
    for kind in _KINDS:
        found = re.fullmatch(kind.pattern, text)
        if found is not None:
            return kind.make(*found.groups())
    raise ValueError(f"is {text[:60]!r}, no column type: {_advice(text)}")


def _advice(text: str) -> str:
    if text.count("(") > text.count(")"):
        return 'inside { } a comma ends a text: write the type in quotes, "DECIMAL(12,2)"'
    if any(re.fullmatch(kind.pattern, text.upper()) for kind in _KINDS):
        return f"write {text.upper()}"
    name = re.match(r"\w*", text.upper())
    instead = _INSTEAD.get(name[0]) if name is not None else None
    return f"write {instead}" if instead is not None else f"write one of {', '.join(COLUMN_TYPES)}"


def is_date(kind: SqlType) -> bool:
    """Whether a column of this type is one of dates (`date_field`)."""
    return isinstance(kind, sa.DateTime | sa.Date)
