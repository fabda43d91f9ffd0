"""Casts: how a value of another JSON type than the column's becomes the column's, where a model asks for it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.column_types import BINARIES, INTEGERS
from kafka_ingest.type_names import SqlType


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """What else than its own JSON type a column takes; all is strict by default. What cannot be read so is a dead letter.

    Raises ConfigError for options that contradict each other.
    """

    from_text: bool = False
    """A text is read as the column's type: a number (blanks around it, a plus sign and leading zeros are fine), or a boolean
    (`true`, `false`, `1`, `0`, in any case)."""
    from_number: bool = False
    """Of the numbers 0 and 1 a boolean column makes false and true; of any number a text column makes its digits, zeros at their
    end included."""
    thousands: str = ""
    """What separates thousands in a number's text: `","` for `1,234.50`. A blank stands for no-break ones, too."""
    decimal_point: Literal[".", ","] = "."
    """What stands before the decimals in a number's text."""
    empty_as_null: bool = False
    """A text that is empty, or of nothing but blanks, is NULL."""
    rounding: Literal["half_up", "half_even", "down"] | None = None
    """A number with more decimals than the column is rounded, half away from zero or to the even neighbour, or cut."""
    bytes_from: Literal["base64", "hex", "uuid"] | None = None
    """How a binary column's bytes are written in a text. A UUID is its sixteen bytes in order."""
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    """A number in a Time column counts these since midnight."""

    def __post_init__(self) -> None:
        if self.thousands and not self.from_text:
            raise ConfigError("Cast: thousands separates the digits of a number in a text; it needs from_text=True")
        if len(self.thousands) > 1 or self.thousands.isalnum() or (self.thousands and self.thousands in "+-"):
            raise ConfigError(f"Cast: thousands={self.thousands!r} is no separator of one character")
        if self.decimal_point != "." and not self.from_text:
            raise ConfigError("Cast: decimal_point is that of a number in a text; it needs from_text=True")
        if self.thousands == self.decimal_point:
            raise ConfigError(f"Cast: {self.thousands!r} cannot be both the thousands separator and the decimal point")


CastRule = Cast | Callable[[Any], Any]
"""A `Cast`, or a function from the decoded value (str, int, Decimal, bool, list, dict, or bytes of a format that has them; never
None) to one that the column takes, or None. It raises ValueError or TypeError for what is no such value."""


def check_cast(model: str, column: str, kind: SqlType, cast: CastRule) -> None:
    """Raises ConfigError for a cast that does nothing for a column of this type, or that cannot be handed to another process."""
    if not isinstance(cast, Cast):
        _check_function(model, column, cast)
        return
    is_number = isinstance(kind, (*INTEGERS, sa.Numeric, sa.Float))
    applies = {
        "from_text": is_number or isinstance(kind, sa.Boolean),
        "from_number": not (is_number or isinstance(kind, (*BINARIES, sa.Time))),
        "thousands": is_number,
        "rounding": is_number and not isinstance(kind, sa.Float),
        "bytes_from": isinstance(kind, BINARIES),
        "time_unit": isinstance(kind, sa.Time),
    }
    for option, does in applies.items():
        if getattr(cast, option) and not does:
            raise ConfigError(
                f"model {model}: column {column!r} is {kind!r}, for which the cast's {option} means nothing",
                model=model,
            )


def _check_function(model: str, column: str, cast: object) -> None:
    if not callable(cast):
        raise ConfigError(f"model {model}: the cast of column {column!r} is neither a Cast nor a function", model=model)
    try:
        pickle.dumps(cast)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"model {model}: the cast of column {column!r} cannot be handed to another process ({error}); define it as a "
            "function of a module",
            model=model,
        ) from error
