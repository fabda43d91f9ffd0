"""Column types as a model declares them: what they hold, and which type stands for one on a database that has no such.

MySQL's types are the reference, as models are mostly written for its tables; on the others each becomes the narrowest type that
holds the same values.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import _Binary

from kafka_ingest.type_names import SqlType

_MYSQL_NAMES = ("mysql", "mariadb")
MICROSECOND_DIGITS = 6

INTEGERS = (sa.Integer, mysql.BIT, mysql.YEAR)
"""Types whose values are whole numbers; `integer_bounds` has their bounds."""
BINARIES = (_Binary,)
"""Types whose values are bytes. SQLAlchemy has no public name for what BINARY, VARBINARY and the BLOBs have in common."""

_MYSQL_INTEGERS = (mysql.BIT, mysql.YEAR, mysql.TINYINT, mysql.SMALLINT, mysql.MEDIUMINT, mysql.INTEGER, mysql.BIGINT)
_BITS: tuple[tuple[type[SqlType], int], ...] = (
    (mysql.TINYINT, 8),
    (mysql.MEDIUMINT, 24),
    (sa.SmallInteger, 16),
    (sa.BigInteger, 64),
    (sa.Integer, 32),
)
# Manual, "The YEAR Type". A 0 is 0000 or 2000, by how it is written.
_YEARS = (1901, 2155)
_LONG_TEXTS = (mysql.TINYTEXT, mysql.MEDIUMTEXT, mysql.LONGTEXT)
_BLOB_BYTES: tuple[tuple[type[SqlType], int], ...] = (
    (mysql.TINYBLOB, (1 << 8) - 1),
    (mysql.MEDIUMBLOB, (1 << 24) - 1),
    (mysql.LONGBLOB, (1 << 32) - 1),
)


class ExactUuid(sa.types.TypeDecorator[str]):
    """A UUID, as its text of 36 characters in lower case: CHAR(36) in MySQL, UUID in PostgreSQL."""

    impl = sa.CHAR(36)
    cache_ok = True


def integer_bounds(kind: SqlType) -> tuple[int, int] | None:
    """The least and the greatest value of an integer type; None for any other type."""
    if isinstance(kind, mysql.YEAR):
        return _YEARS
    if isinstance(kind, mysql.BIT):
        return 0, (1 << (kind.length or 1)) - 1
    bits = next((bits for cls, bits in _BITS if isinstance(kind, cls)), None)
    if bits is None:
        return None
    if getattr(kind, "unsigned", False):
        return 0, (1 << bits) - 1
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def binary_bytes(kind: SqlType) -> tuple[int, int | None]:
    """The fewest and the most bytes of a binary type; None for as many as the database takes."""
    length = getattr(kind, "length", None)
    if isinstance(kind, sa.BINARY):
        return length or 1, length or 1  # a shorter value would be filled up with zeros
    if isinstance(kind, sa.VARBINARY):
        return 0, length
    return 0, next((most for cls, most in _BLOB_BYTES if isinstance(kind, cls)), None)


def second_digits(kind: SqlType) -> int:
    """Decimals of a second that a type of times or instants has."""
    if isinstance(kind, mysql.DATETIME | mysql.TIMESTAMP | mysql.TIME):
        return kind.fsp or 0
    if isinstance(kind, postgresql.TIMESTAMP | postgresql.TIME) and kind.precision is not None:
        return kind.precision
    return MICROSECOND_DIGITS


def portable(kind: SqlType) -> SqlType:
    """The type, with one for each database that does not have it. A variant the model gives itself stays."""
    if isinstance(kind, sa.Uuid):
        text = mysql.CHAR(36, charset="ascii", collation="ascii_bin")
        return _instead(_instead(ExactUuid(), postgresql.UUID(as_uuid=False), "postgresql"), text, *_MYSQL_NAMES)
    if isinstance(kind, INTEGERS):
        return _portable_integer(kind)
    if isinstance(kind, BINARIES):
        return _instead(_instead(kind, postgresql.BYTEA(), "postgresql"), sa.LargeBinary(), "sqlite")
    if isinstance(kind, _LONG_TEXTS):
        return _instead(kind, sa.Text(), "postgresql", "sqlite")
    if isinstance(kind, mysql.TIME):
        return _instead(kind, postgresql.TIME(precision=second_digits(kind)), "postgresql")
    if isinstance(kind, mysql.DATETIME | mysql.TIMESTAMP):
        return _instead(kind, postgresql.TIMESTAMP(precision=second_digits(kind)), "postgresql")
    if isinstance(kind, sa.TIMESTAMP):
        return _instead(kind, mysql.TIMESTAMP(fsp=MICROSECOND_DIGITS), *_MYSQL_NAMES)
    if isinstance(kind, sa.DateTime):
        return _instead(kind, mysql.DATETIME(fsp=MICROSECOND_DIGITS), *_MYSQL_NAMES)
    if isinstance(kind, sa.Time):
        return _instead(kind, mysql.TIME(fsp=MICROSECOND_DIGITS), *_MYSQL_NAMES)
    return kind


def _portable_integer(kind: SqlType) -> SqlType:
    bounds = integer_bounds(kind)
    if not isinstance(kind, _MYSQL_INTEGERS):
        return kind
    assert bounds is not None  # noqa: S101  of an integer type
    narrowest: SqlType = sa.Numeric(20, 0)
    for candidate in (sa.BigInteger(), sa.Integer(), sa.SmallInteger()):
        low, high = integer_bounds(candidate) or (0, 0)
        if low <= bounds[0] and bounds[1] <= high:
            narrowest = candidate
    return _instead(_instead(kind, narrowest, "postgresql"), sa.Integer(), "sqlite")


def _instead(kind: SqlType, other: SqlType, *dialects: str) -> SqlType:
    try:
        return kind.with_variant(other, *dialects)
    except sa.exc.ArgumentError:  # it has one
        return kind


def binary_columns(table: sa.Table) -> frozenset[str]:
    """Names of the columns that hold bytes. Frames have them as text in capital hexadecimal digits."""
    return frozenset(column.name for column in table.columns if isinstance(column.type, BINARIES))


def bit_columns(table: sa.Table) -> frozenset[str]:
    """Names of the BIT columns. Frames have them as numbers."""
    return frozenset(column.name for column in table.columns if isinstance(column.type, mysql.BIT))
