"""Columns that keep their value where a message does not carry them (`field(keep_absent=…)`), and whose message gave each.

Of a kept column the row has the value of the last message, in the total order over messages (sinks/latest_per_key.py), among
those that carried it. So each has, beside it, the place in that order of the message that gave its value:

NULL       the value is not NULL and comes from the row's own message, which the row's `_kafka_*` columns name
OWN_NULL   the row's own message has set it to NULL
NEVER      no message has carried it since the row was made; it is the column's default, or NULL
a text     the place of an earlier message, which compares as the messages do, byte by byte

A row that was written before the column was kept has NULL there: where its value is NULL, too, nothing says that a message has
carried it, and any message may give it one.

The text is the model's own order field where it has one, then order, topic, partition and offset. A number that is not negative
is written with a letter before its digits that says how many they are, so that a larger one sorts behind: 7 is `A7`, 10 is `B10`.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from kafka_ingest.slices import NO_ORDER, Position
from kafka_ingest.type_names import SqlType

ABSENT = msgspec.UNSET
"""What a reader of messages gives for a kept column's field that the message does not carry; None is an explicit null.

A format of your own marks a field so by leaving it out of its object, or by this as its value.
"""

OWN_NULL, NEVER = "=", ""

PLACE_PREFIX = "_kafka_place_"
# Between topic and partition: before every character of a topic's name.
SEPARATOR = " "
# Of the own order field, in this order: NULL; a number below zero, as what it is above the least of 64 bits; another number, or
# an instant or a day.
OWN_IS_NULL, OWN_NEGATIVE, OWN_VALUE = "-", "n", "p"
NEGATIVE_DIGITS = 19
DAY_CHARACTERS = 10
_TEXT_LENGTHS = ((sa.DateTime, 26), (sa.Date, DAY_CHARACTERS))
# Added to an order, of which the least is NO_ORDER, so that it is not negative.
ORDER_SHIFT = -NO_ORDER
BEFORE_A = 64


def place_column(column: str) -> str:
    """The name of the column that says where a kept column's value comes from."""
    return f"{PLACE_PREFIX}{column}"


def place_text(order: int, position: Position, own: str = "") -> str:
    """A message's place. own: `own_text` where the model has an order field of its own."""
    topic, partition, offset = position
    return f"{own}{_counted(order + ORDER_SHIFT)}{topic}{SEPARATOR}{_counted(partition)}{_counted(offset)}"


def own_text(value: int | str | None) -> str:
    """The value of the model's own order field, an instant as `YYYY-MM-DD HH:MM:SS.ffffff`, a day as `YYYY-MM-DD`."""
    if value is None:
        return OWN_IS_NULL
    if isinstance(value, str):
        return f"{OWN_VALUE}{value}"
    return f"{OWN_VALUE}{_counted(value)}" if value >= 0 else f"{OWN_NEGATIVE}{value + (1 << 63):0{NEGATIVE_DIGITS}}"


def _counted(number: int) -> str:
    digits = str(number)
    return f"{chr(BEFORE_A + len(digits))}{digits}"


def source_text(place: str | None, own: str, *, is_null: bool) -> str:
    """The place of the message that gave a value; NEVER where none has. place: of the column's row; own: of the row's message."""
    if place is None:
        return NEVER if is_null else own
    return own if place == OWN_NULL else place


def position_in(place: str, own: SqlType | None) -> Position:
    """The position of the message at a place. own: the type of the model's order field; None where it has none."""
    at = 0
    if own is not None:
        sign, at = place[0], 1
        if sign == OWN_NEGATIVE:
            at += NEGATIVE_DIGITS
        elif sign == OWN_VALUE:
            length = next((length for kind, length in _TEXT_LENGTHS if isinstance(own, kind)), None)
            at = _after(place, at) if length is None else at + length
    topic, _, rest = place[_after(place, at) :].rpartition(SEPARATOR)
    middle = _after(rest, 0)
    return Position(topic, int(rest[1:middle]), int(rest[middle + 1 :]))


def _after(text: str, at: int) -> int:
    """Behind the counted number that begins here."""
    return at + 1 + ord(text[at]) - BEFORE_A
