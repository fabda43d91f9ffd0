"""The type of a column, by the values of its field: as narrow as it is certain, with room for what is still to come.

| values | column |
|---|---|
| true, false | Boolean |
| integers | Integer; BigInteger where they are large or an id; Numeric or text beyond 64 bits |
| decimals, also among integers or as text | Numeric with room for more decimals; Float where they have a double's digits |
| texts | String of twice the longest, Text from 2,000 characters on; Uuid; a date (dates.py) |
| integers and texts | String: an integer is stored as its digits |
| arrays, objects that stay whole, anything mixed | JSON |

Values of another kind that are fewer than one in a hundred do not change the column; they become dead letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kafka_ingest.proposal.code import Code, code, text_literal
from kafka_ingest.proposal.dates import DateForm, Undecided, date_form
from kafka_ingest.proposal.fields import MIN_MESSAGES, OUTLIERS, Field, Kind, kind_of
from kafka_ingest.proposal.names import snake_case
from kafka_ingest.streams.numbers import read_number

SQL, ORM, OURS = "sqlalchemy", "sqlalchemy.orm", "kafka_ingest"
# Of the module, not the names themselves: columns are called `date` and `time`, and would hide them.
DT_TIME, DT_DATE, DT_DATETIME = (
    Code(f"dt.{name}", frozenset({("datetime", "dt")})) for name in ("time", "date", "datetime")
)

_LENGTHS = (16, 32, 64, 128, 255, 500, 1000, 2000)
KEY_CHARACTERS = 255
"""Of a text that is a key: MySQL's keys hold 3,072 bytes."""
_MEDIUM, _LONG = 4_000_000, (1 << 30) - 1
_TEXT_BYTES = (1 << 16) - 1
# An id grows up to twenty times before it is too large.
_INTEGER_MOST = 100_000_000
_MOST_DIGITS, _MOST_DECIMALS = 65, 30  # of MySQL's DECIMAL
_WHOLE_ROOM, _LEAST_WHOLE = 4, 14
# A double written as a decimal has up to 17 digits, most of them meaningless.
_FLOAT_DECIMALS = 8
_ID = re.compile(r"(^|_)id$")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DECIMAL_TEXT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column is declared as."""

    python: Code
    """In `Mapped[…]`, without `| None`."""
    type: Code | None
    """None where `date_field()` knows it."""
    is_date: bool = False
    options: tuple[tuple[str, Code], ...] = ()
    notes: tuple[str, ...] = ()
    """What a person has to decide, or should know."""
    row_bytes: int = 9
    """What it takes in a row of InnoDB at most, outside of pages of its own."""
    characters: int | None = None
    """Of a String."""


def type_of(field: Field) -> ColumnType:
    """The type of a field's column. The field has a value at least."""
    dates = date_form(field)
    if isinstance(dates, DateForm):
        return date_type(dates)
    notes: tuple[str, ...] = (dates.note,) if isinstance(dates, Undecided) else ()
    rare = field.outlier_kinds()
    kinds = set(field.kinds) - rare
    values = field.values if not rare else [value for value in field.values if kind_of(value) in kinds]
    found = _of_kinds(field, kinds, values)
    if rare:
        count = sum(field.kinds[kind] for kind in rare)
        notes += (f"{count:,} of {field.seen:,} values are {' or '.join(sorted(rare))}: dead letters",)
    return _with_notes(found, *notes)


def _of_kinds(field: Field, kinds: set[Kind], values: Sequence[Any]) -> ColumnType:
    if kinds == {"boolean"}:
        return ColumnType(code("bool"), code("Boolean", Boolean=SQL), row_bytes=1)
    if kinds == {"integer"}:
        return _integer(values, is_id=_ID.search(snake_case(field.path[-1])) is not None)
    if kinds <= {"integer", "number"}:
        return numeric([Decimal(value) for value in values])
    if kinds <= {"integer", "number", "float"}:
        return FLOAT
    if kinds == {"text"}:
        return _text(values)
    if kinds == {"integer", "text"}:
        return _with_notes(text_type(values), "texts and integers: an integer is stored as its digits")
    if kinds == {"bytes"}:
        return BINARY
    if kinds == {"time"}:
        return TIME
    if kinds == {"uuid"}:
        return UUID
    return json_type(values, kinds)


def _with_notes(found: ColumnType, *notes: str) -> ColumnType:
    return ColumnType(
        found.python,
        found.type,
        found.is_date,
        found.options,
        (*found.notes, *notes),
        found.row_bytes,
        found.characters,
    )


FLOAT = ColumnType(code("float"), code("Float", Float=SQL))
BINARY = ColumnType(code("bytes"), code("LargeBinary", LargeBinary=SQL), row_bytes=40)
TIME = ColumnType(DT_TIME, code("Time", Time=SQL))
UUID = ColumnType(code("str"), code("Uuid", Uuid=SQL), row_bytes=37)
BOOLEAN = ColumnType(code("bool"), code("Boolean", Boolean=SQL), row_bytes=1)
INTEGER = ColumnType(code("int"), code("Integer", Integer=SQL), row_bytes=4)
BIG_INTEGER = ColumnType(code("int"), code("BigInteger", BigInteger=SQL), row_bytes=8)


def _integer(values: Sequence[Any], *, is_id: bool) -> ColumnType:
    fitting = [int(value) for value in values if -(1 << 63) <= value < 1 << 63]
    beyond = len(values) - len(fitting)
    if not beyond or (len(values) >= MIN_MESSAGES and beyond <= len(values) * OUTLIERS):
        most = max(map(abs, fitting))
        found = BIG_INTEGER if is_id or most > _INTEGER_MOST else INTEGER
        return _with_notes(
            found, *([f"{beyond:,} of {len(values):,} have more than 64 bits: dead letters"] if beyond else [])
        )
    digits = max(len(str(abs(int(value)))) for value in values)
    if digits + _WHOLE_ROOM > _MOST_DIGITS:
        return _with_notes(
            text_type(values), f"integers of up to {digits} digits, more than a DECIMAL has: stored as text"
        )
    return decimal_of(digits + _WHOLE_ROOM, 0)


def numeric(values: Sequence[Decimal]) -> ColumnType:
    """Decimals: exact, unless they have the digits of doubles."""
    decimals = max(max(0, -_exponent(value)) for value in values)
    whole = max(max(0, value.adjusted() + 1) for value in values)
    if decimals > _FLOAT_DECIMALS and all(_is_double(value) for value in values):
        return _with_notes(
            FLOAT, f"numbers of up to {decimals} decimals, as doubles have them; Numeric keeps every digit"
        )
    room = decimals + (2 if decimals % 2 == 0 else 1)
    scale = min(room, _MOST_DECIMALS)
    if decimals > _MOST_DECIMALS or whole + scale > _MOST_DIGITS:
        number = Code("Cast(from_number=True)", frozenset({(OURS, "Cast")}))
        longest = text_type([f"{value:f}" if abs(value.adjusted()) < 200 else str(value) for value in values])
        note = "numbers with more digits than a DECIMAL has: stored as text"
        return ColumnType(
            longest.python, longest.type, False, (("cast", number),), (note,), longest.row_bytes, longest.characters
        )
    precision = min(_MOST_DIGITS, max(_LEAST_WHOLE, whole + _WHOLE_ROOM) + scale)
    return decimal_of(precision, scale)


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _is_double(value: Decimal) -> bool:
    return Decimal(repr(float(value))) == value


def decimal_of(precision: int, scale: int) -> ColumnType:
    """A decimal of these digits, as far as MySQL has them."""
    precision, scale = min(precision, _MOST_DIGITS), min(scale, _MOST_DECIMALS)
    return ColumnType(
        code("Decimal", Decimal="decimal"),
        code(f"Numeric({precision}, {scale})", Numeric=SQL),
        row_bytes=precision // 2 + 2,
    )


def _text(values: Sequence[str]) -> ColumnType:
    if all(map(_UUID.fullmatch, values)):
        return UUID
    if any("." in value for value in values) and all(map(_DECIMAL_TEXT.fullmatch, values)):
        return _with_notes(numeric([read_number(value) for value in values]), "numbers written as texts")
    return text_type(values)


def text_type(values: Iterable[Any]) -> ColumnType:
    """A text column with room: twice the longest value."""
    texts = [value if type(value) is str else str(value) for value in values]
    return text_of(
        max(map(len, texts), default=0), max((len(text.encode("utf-8", "replace")) for text in texts), default=0)
    )


def text_of(characters: int, size: int) -> ColumnType:
    """A text column for texts of up to so many characters, or bytes, with room for twice as many."""
    python = code("str")
    length = next((each for each in _LENGTHS if each >= 2 * characters), None)
    if length is not None:
        return ColumnType(
            python, code(f"String({length})", String=SQL), row_bytes=min(4 * length, 40), characters=length
        )
    if 2 * size <= _TEXT_BYTES:
        return ColumnType(python, code("Text", Text=SQL), row_bytes=40)
    most = _MEDIUM if 2 * characters <= _MEDIUM else _LONG
    return ColumnType(python, code(f"Text({most:_})", Text=SQL), row_bytes=40)


def json_type(values: Sequence[Any], kinds: set[Kind]) -> ColumnType:
    """A column that takes anything."""
    notes: tuple[str, ...] = ()
    if not kinds <= {"array", "object"}:
        notes = (f"{', '.join(sorted(kinds))} in turn: kept as JSON",)
    elif kinds == {"array"} and any(values) and all(type(each) is dict for value in values for each in value):
        notes = ("objects in an array: a model with explode has a row for each",)
    if any(map(_is_changed_by_mysql, values)):
        kind = Code(
            'JSON().with_variant(LONGTEXT(), "mysql")',
            frozenset({(SQL, "JSON"), (f"{SQL}.dialects.mysql", "LONGTEXT")}),
        )
        return ColumnType(
            _ANY, kind, notes=(*notes, "as text: MySQL's JSON would change some of its numbers"), row_bytes=40
        )
    return ColumnType(_ANY, code("JSON", JSON=SQL), notes=notes, row_bytes=40)


_ANY = code("Any", Any="typing")


def _is_changed_by_mysql(value: Any) -> bool:
    """Whether MySQL's JSON, which has integers of 64 bits and doubles, would change a number in it."""
    if isinstance(value, Decimal):
        return not (_is_double(value) or (_exponent(value) == 0 and -(1 << 63) <= value < 1 << 64))
    if isinstance(value, dict):
        return any(map(_is_changed_by_mysql, value.values()))
    return isinstance(value, list) and any(map(_is_changed_by_mysql, value))


def date_type(form: DateForm) -> ColumnType:
    """A column of dates."""
    options: list[tuple[str, Code]] = []
    if form.unit is not None:
        options.append(("unit", code(text_literal(form.unit))))
    if form.formats:
        options.append(("formats", code(f"[{', '.join(map(text_literal, form.formats))}]")))
    if form.day_first:
        options.append(("day_first", code("True")))
    notes = form.notes
    if form.unreadable:
        notes += (f'{form.unreadable:,} are no date, and dead letters; on_error="null" makes them NULL',)
    python, kind = (DT_DATE, code("Date", Date=SQL)) if form.is_day else (DT_DATETIME, None)
    return ColumnType(python, kind, True, tuple(options), notes, 8)
