"""A tombstone's key and a row's field are read alike, whatever stands there."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import Model, UpsertModel, field
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, letters_of, one, outcomes, piped, rows_of

pytestmark = pytest.mark.slow


class ByText(UpsertModel):
    """Keyed by text."""

    __tablename__ = "p_text"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[str] = field(sa.String(5), primary_key=True)


class ByPlainText(UpsertModel):
    """Keyed by text that the message key is itself."""

    __tablename__ = "p_plain_text"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"
    id: Mapped[str] = field(sa.String(5), primary_key=True)


class ByInteger(UpsertModel):
    """Keyed by an integer."""

    __tablename__ = "p_integer"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[int] = field(sa.SmallInteger, primary_key=True)


class ByDecimal(UpsertModel):
    """Keyed by a decimal."""

    __tablename__ = "p_decimal"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[Decimal] = field(sa.Numeric(6, 2), primary_key=True)


class ByMember(UpsertModel):
    """Keyed by a member of an ENUM."""

    __tablename__ = "p_member"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[str] = field(sa.Enum("1", "2", "a", "null"), primary_key=True)


VALUES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-40_000, 40_000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-1_000_000, 1_000_000).map(lambda n: n / 100)
    | st.text(max_size=6)
    | st.integers(-9_999, 9_999).map(str)
    | st.sampled_from(["1", "2", "a", "null", "12 ", " 12", '"q"', "1_0", "1.10", "1e1", "01", "+1", "\u0663", ""])
    | st.lists(st.integers(), max_size=1)
    | st.dictionaries(st.just("id"), st.integers(), max_size=1)
)


def stream_of(model: type[Model]) -> Stream:
    return Stream(name="s", topics="mixed", routes={"row": model})


def fates(stream: Stream, model: type[Model], *messages: Msg) -> list[Any]:
    """Per message its key in the table, or None for a dead letter."""
    parsed = piped(stream, one(*messages))
    assert outcomes(parsed) == list(range(len(messages)))
    found: dict[int, Any] = dict.fromkeys(letters_of(parsed))
    target = TargetTable.of(model)
    if target in parsed.rows:
        found |= dict(zip(parsed.rows[target].index, (row["id"] for row in rows_of(parsed, model)), strict=True))
    if target in parsed.deletes:
        found |= dict(zip(parsed.deletes[target].index, parsed.deletes[target]["id"], strict=True))
    return [found[n] for n in range(len(messages))]


@pytest.mark.parametrize("model", [ByText, ByInteger, ByDecimal, ByMember])
@settings(max_examples=40)
@given(values=st.lists(VALUES, min_size=1, max_size=6))
@example(values=["12 ", "12", 12, 12.0, '"q"', "1.10", 1.1, "2", 2])
def test_a_json_key_deletes_the_row_of_the_same_field_and_where_there_is_none_it_is_a_dead_letter(
    model: type[UpsertModel], values: list[Any]
) -> None:
    rows = [Msg({"type": "row", "id": value}) for value in values]
    objects = [Msg(None, key=json.dumps({"id": value}).encode()) for value in values]
    bare = [Msg(None, key=json.dumps(value).encode()) for value in values if not isinstance(value, dict)]
    stream = stream_of(model)
    expected = fates(stream, model, *rows)
    assert fates(stream, model, *objects) == expected
    assert fates(stream, model, *bare) == [
        key for key, value in zip(expected, values, strict=True) if not isinstance(value, dict)
    ]


@given(texts=st.lists(st.text(max_size=6) | st.integers(-9_999, 9_999).map(str), min_size=1, max_size=6))
@example(texts=["12 ", '"q"', "{}", "null", ""])
def test_a_plain_key_deletes_the_row_of_the_same_text(texts: list[str]) -> None:
    stream = stream_of(ByPlainText)
    expected = fates(stream, ByPlainText, *(Msg({"type": "row", "id": text}) for text in texts))
    assert fates(stream, ByPlainText, *(Msg(None, key=text.encode()) for text in texts)) == expected


@given(
    model=st.sampled_from([ByText, ByPlainText, ByInteger, ByDecimal, ByMember]),
    keys=st.lists(st.binary(max_size=12), min_size=1, max_size=6),
)
def test_any_bytes_are_a_key_or_a_dead_letter_and_never_fail_the_batch(
    model: type[UpsertModel], keys: list[bytes]
) -> None:
    found = fates(stream_of(model), model, *(Msg(None, key=key) for key in keys))
    assert found == [fates(stream_of(model), model, Msg(None, key=key))[0] for key in keys]
