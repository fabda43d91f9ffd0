"""ENUM and SET columns take their members, character for character, and nothing a database would make of anything else."""

from __future__ import annotations

import enum
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import letters_of, one, outcomes, piped, rows_of


class Colour(enum.Enum):
    """Its names are stored, not its values."""

    RED = "r"
    DARK_RED = "dr"


class Listed(AppendModel):
    """A column of each kind; `number` has members that are digits, as MySQL's own numbers for members."""

    __tablename__ = "t_listed"
    size: Mapped[str | None] = field(sa.Enum("small", "medium", "large"))
    number: Mapped[str | None] = field(mysql.ENUM("0", "2", "1", ""))
    colour: Mapped[Any | None] = field(sa.Enum(Colour))
    marks: Mapped[str | None] = field(mysql.SET("red", "green", "blue", "1"))
    varied: Mapped[str | None] = field(sa.String(20).with_variant(mysql.ENUM("a", "b"), "mysql", "mariadb"))
    many: Mapped[str | None] = field(sa.Enum(*(f"member {n}" for n in range(300))))


LISTED = Stream(name="s", topics="t", routes={"row": Listed})
SIZES = "is not one of 'small', 'medium', 'large'"


def stored(stream: Stream = LISTED, **fields: Any) -> list[Any]:
    """Every given field as its row has it, or the error without the field's name."""
    bodies: list[Any] = [{"type": "row", name: value} for name, values in fields.items() for value in values]
    names = [name for name, values in fields.items() for _ in values]
    parsed = piped(stream, one(*bodies))
    assert outcomes(parsed) == list(range(len(bodies)))
    rows, letters = rows_of(parsed, Listed), letters_of(parsed)
    good = iter(rows)
    found: list[Any] = []
    for number, name in enumerate(names):
        if number in letters:
            assert letters[number][0] == "validate"
            found.append(letters[number][1].removeprefix(f"{name}: "))
        else:
            found.append(next(good)[name])
    return found


def test_a_member_is_stored_as_it_is() -> None:
    assert stored(size=["small", "large", None]) == ["small", "large", None]
    assert stored(number=["0", "1", "2", ""]) == ["0", "1", "2", ""]
    assert stored(colour=["RED", "DARK_RED"]) == ["RED", "DARK_RED"]
    assert stored(varied=["a", "b"]) == ["a", "b"]
    assert stored(many=["member 299"]) == ["member 299"]


@pytest.mark.parametrize(
    "value",
    [
        *("2", "0", "", "1", "Small", "small ", " small", "\uff53mall", "sma\u0301ll", "small,large", "small\u0000", "null"),
        *(2, 0, 3, -1),
    ],
)  # fmt: skip
def test_anything_else_is_a_dead_letter_that_names_the_members(value: Any) -> None:
    """Integers too: what MySQL takes for a member's number, and what Debezium's connectors gave for members (debezium pull
    requests 88 and 201, python-mysql-replication 267, vitess 15750, airbyte 41282)."""
    assert stored(size=[value]) == [f"{value!r} {SIZES}"]
    assert stored(size=["small", value, "large"]) == ["small", f"{value!r} {SIZES}", "large"]


def test_an_integer_is_no_member_also_where_its_digits_are() -> None:
    assert stored(number=[2, "2"]) == ["2 is not one of '0', '2', '1', ''", "2"]
    assert stored(marks=[1, "1"]) == ["1 is not one of 'red', 'green', 'blue', '1'", "1"]


def test_a_python_enum_is_written_by_its_names() -> None:
    assert stored(colour=["r"]) == ["'r' is not one of 'RED', 'DARK_RED'"]


def test_an_enum_in_mysql_only_is_one() -> None:
    assert stored(varied=["c", "1", 1]) == [f"{value!r} is not one of 'a', 'b'" for value in ("c", "1", 1)]


def test_a_long_list_of_members_is_cut() -> None:
    (error,) = stored(many=["x" * 1_000])
    assert error.startswith(f"'{'x' * 59} is not one of 'member 0', 'member 1', ")
    assert error.endswith("… (300 members)")
    assert len(error) < 320


def test_a_set_is_its_members_joined_by_commas_in_the_order_of_the_declaration() -> None:
    given = ["", "red", "red,blue", "blue,red", "1,blue,green,red", None]
    assert stored(marks=given) == ["", "red", "red,blue", "red,blue", "red,green,blue,1", None]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("pink", "'pink'"),
        ("red,pink", "'pink'"),
        ("Red", "'Red'"),
        ("red, blue", "' blue'"),
        ("red,", "''"),
        (",red", "''"),
        ("red,,blue", "''"),
        ("3", "'3'"),
        (" ", "' '"),
        (3, "3"),
        (0, "0"),
    ],
)
def test_what_is_no_set_of_members_is_a_dead_letter_that_names_them(value: Any, wrong: str) -> None:
    assert stored(marks=[value]) == [f"{wrong} is not one of 'red', 'green', 'blue', '1'"]


def test_a_member_twice_is_a_dead_letter() -> None:
    assert stored(marks=["red,blue,red"]) == ["'red,blue,red' names a member twice"]


def test_what_a_step_puts_there_follows_the_same_rule() -> None:
    values: list[Any] = ["small", 2, "2", None, "large"]

    def put(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
        return rows.assign(size=pd.Series(values, index=rows.index, dtype=object), marks="blue,red")

    stream = Stream(name="s", topics="t", routes={"row": Listed}, steps=(put,))
    assert stored(stream, size=["small"] * 5) == ["small", f"2 {SIZES}", f"'2' {SIZES}", None, "large"]
    values[1:3] = [["small"], b"small"]
    assert stored(stream, size=["small"] * 5) == ["small", f"['small'] {SIZES}", f"b'small' {SIZES}", None, "large"]
    assert rows_of(piped(stream, one(*[{"type": "row"}] * 5)), Listed)[0]["marks"] == "red,blue"


def test_a_key_of_members_stays_an_enum_or_set() -> None:
    class Keyed(UpsertModel):
        __tablename__ = "t_keyed_by_members"
        size: Mapped[str] = field(sa.Enum("s", "m"), primary_key=True)
        marks: Mapped[str] = field(mysql.SET("a", "b"), primary_key=True)

    kinds = [type(Keyed.__table__.c[name].type) for name in ("size", "marks")]
    assert kinds == [sa.Enum, mysql.SET]
