# A row of a table is one line.
# ruff: noqa: E501
"""Columns from a message's key, headers and place, and constants; a message whose key cannot be read is a dead letter."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.sources import Constant, Database, Header, Key, Offset, Partition, Timestamp, Topic
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, letters_of, outcomes, piped, raw_slice, rows_of
from kafka_ingest_tests.support.made import Make


class Sourced(AppendModel):
    __tablename__ = "t_sourced"
    id: Mapped[int | None] = field(sa.Integer, source=Key("order.id"))
    data: Mapped[Any | None] = field(sa.JSON, source=Key("data"))
    keyed_at: Mapped[dt.datetime | None] = date_field(source=Key("at"), timezone="Asia/Shanghai")
    trace: Mapped[str | None] = field(sa.String(8), source=Header("trace"))
    attempt: Mapped[int | None] = field(sa.Integer, source=Header("attempt"), cast=Cast(from_text=True))
    raw: Mapped[bytes | None] = field(sa.VARBINARY(8), source=Header("raw"))
    sent_at: Mapped[dt.datetime | None] = date_field(source=Header("sent"))
    topic: Mapped[str] = field(sa.String(20), source=Topic())
    partition: Mapped[int] = field(sa.Integer, source=Partition())
    offset: Mapped[int] = field(sa.BigInteger, source=Offset())
    stamp: Mapped[dt.datetime | None] = date_field(source=Timestamp())
    stamp_ms: Mapped[int | None] = field(sa.BigInteger, source=Timestamp())
    region: Mapped[str] = field(sa.String(4), source=Constant("eu"))
    note: Mapped[str | None] = field(sa.String(8))
    filled: Mapped[int] = field(sa.Integer, source=Database())


class Whole(UpsertModel):
    """Keyed by the whole key and the topic."""

    __tablename__ = "t_whole"
    delete_on_tombstone = True
    id: Mapped[str] = field(sa.String(8), primary_key=True, source=Key())
    topic: Mapped[str] = field(sa.String(8), primary_key=True, source=Topic())
    note: Mapped[str | None] = field(sa.String(8))


class Parted(UpsertModel):
    """Keyed by fields of the key, and a header."""

    __tablename__ = "t_parted"
    delete_on_tombstone = True
    id: Mapped[int] = field(sa.Integer, primary_key=True, source=Key("order.id"))
    tenant: Mapped[str] = field(sa.String(8), primary_key=True, source=Header("tenant"))


STREAM = Stream(
    name="sourced",
    topics=("sourced", "whole", "other", "parted"),
    route_by=RouteByTopic(),
    routes={"sourced": Sourced, "whole": Whole, "other": Whole, "parted": Parted},
)


def test_a_column_comes_from_where_the_model_says() -> None:
    headers: list[tuple[str, bytes | None]] = [
        ("trace", b"old"), ("trace", "tr\u00e4".encode()), ("attempt", b"3"), ("raw", b"\xff\x00"), ("sent", b"2026-01-01T08:00:00+08:00"),
    ]  # fmt: skip
    key = b'{"order":{"id":7},"data":{"n":1.10},"at":"2026-01-01 08:00:00"}'
    raw = raw_slice(
        Part([Msg({"note": "n", "id": 99, "topic": "no"}, key, headers)], topic="sourced", partition=2, start=5)
    )
    (row,) = rows_of(piped(STREAM, raw), Sourced)
    at = dt.datetime(2026, 1, 1)
    stamp = dt.datetime(2026, 1, 1, 7, 0, 5)
    assert row == {
        "id": 7, "data": '{"n":1.10}', "keyed_at": at, "trace": "tr\u00e4", "attempt": 3, "raw": "FF00", "sent_at": at, "topic": "sourced",
        "partition": 2, "offset": 5, "stamp": stamp, "stamp_ms": MORNING_MS + 5_000, "region": "eu", "note": "n",
    }  # fmt: skip


def test_what_is_not_there_is_null() -> None:
    raw = raw_slice(Part([Msg({}, None, [("trace", None)], timestamp_ms=-1), Msg({}, b"{}")], topic="sourced"))
    first, second = rows_of(piped(STREAM, raw), Sourced)
    missing = ("id", "data", "keyed_at", "trace", "attempt", "raw", "sent_at", "note")
    assert {first[name] for name in missing} == {second[name] for name in missing} == {None}
    assert (first["stamp"], first["stamp_ms"]) == (None, None)


@pytest.mark.parametrize(
    ("key", "headers", "stage", "expected"),
    [
        (b"7", [], "decode", "the message's key is no JSON object with order.id, data, at: Expected `object`"),
        (b'{"order":{"id":"7"}}', [], "decode", "got `str` - at `$.order.id`"),
        (b"\xff", [], "decode", "the message's key is no JSON object"),
        (None, [("trace", b"\xff")], "decode", "trace: header trace is not UTF-8"),
        (None, [("attempt", b"three")], "decode", "attempt: 'three' is no number"),
        (None, [("trace", b"123456789")], "validate", "trace: 9 characters, and the column holds 8"),
        (None, [("raw", b"123456789")], "validate", "raw: 9 bytes, and the column holds 8"),
        (None, [("sent", b"soon")], "dates", "sent_at: "),
    ],
)
def test_a_key_or_a_header_that_does_not_fit_is_a_dead_letter(
    key: Any, headers: Any, stage: str, expected: str
) -> None:
    raw = raw_slice(Part([Msg({}, key, headers), Msg({}, b"{}")], topic="sourced"))
    parsed = piped(STREAM, raw)
    assert outcomes(parsed) == [0, 1]
    assert len(rows_of(parsed, Sourced)) == 1
    found, error = letters_of(parsed)[0]
    assert found == stage
    assert expected in error
    assert parsed.dead_letters[0].route == "sourced"


def test_a_tombstone_names_its_row_by_the_whole_key_and_the_topic() -> None:
    raw = raw_slice(
        Part([Msg({"note": "n"}, b"k1"), Msg(None, b"k1"), Msg(None, None)], topic="whole"),
        Part([Msg({"note": "n"}, b'"q"'), Msg(None, b'"q"')], topic="other"),
    )
    parsed = piped(STREAM, raw)
    target = TargetTable.of(Whole)
    keys = [("k1", "whole"), ('"q"', "other")]
    assert [tuple(row[n] for n in ("id", "topic")) for row in rows_of(parsed, Whole)] == keys
    assert list(parsed.deletes[target][["id", "topic"]].itertuples(index=False, name=None)) == keys
    assert letters_of(parsed)[2] == ("decode", "tombstone: the message has no key, so nothing says which row to delete")


def test_a_tombstone_names_its_row_by_a_field_of_its_key_and_a_header() -> None:
    key = b'{"order":{"id":7}}'
    headers: list[tuple[str, bytes | None]] = [("tenant", b"a")]
    raw = raw_slice(Part([Msg({}, key, headers), Msg(None, key, headers), Msg(None, key)], topic="parted"))
    parsed = piped(STREAM, raw)
    assert rows_of(parsed, Parted) == [{"id": 7, "tenant": "a"}]
    assert parsed.deletes[TargetTable.of(Parted)][["id", "tenant"]].to_numpy().tolist() == [[7, "a"]]
    assert "tenant: missing or null" in letters_of(parsed)[2][1]


def test_a_column_that_the_database_fills_is_never_written() -> None:
    target = TargetTable.of(Sourced)
    assert "filled" not in target.columns
    assert "filled" not in [bound.name for bound in target.bound]


def test_a_column_has_one_source(made: Make) -> None:
    with pytest.raises(ConfigError, match="not from both"):
        field(sa.Integer, path="a", source=Key())
    with pytest.raises(ConfigError, match="by which rows are told apart"):
        TargetTable.of(
            made("t_filled_key", UpsertModel, columns={"n": field(sa.Integer, primary_key=True, source=Database())})
        )
    unnamed = made(
        "t_unnamed", UpsertModel, id=field(sa.String(8), primary_key=True, source=Topic()), delete_on_tombstone=True
    )
    with pytest.raises(ConfigError, match="a tombstone names no row"):
        Stream(name="u", topics="u", route_by=RouteByTopic(), routes={"u": unnamed})
