"""The same rows as elsewhere: each value of each kind as SQLite has it, on a real PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import one
from kafka_ingest.testing.models import EVERYTHING, Everything
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.services.postgresql.steps import at, pin
from kafka_ingest_tests.support.loads import account, balances, gone

pytestmark = pytest.mark.services

EVERY_COLUMN = ("id", "note", "small", "number", "big", "ratio", "price", "flag", "data", "level", "at", "seen")


AWKWARD: list[dict[str, Any]] = [
    {"id": "plain", "note": "n", "small": -32768, "number": 2**31 - 1, "big": -(2**63), "ratio": 0.1, "price": 1.2345},
    {"id": "zero", "small": 0, "ratio": -0.0, "price": 0, "flag": False, "level": 0},
    {"id": "none"},
    {"id": "exp", "ratio": 1e308, "price": 12_345_678.0001, "big": 2**63 - 1, "flag": True},
    {"id": "tiny", "ratio": 5e-324},
    {"id": "third", "ratio": 1 / 3},
    {"id": "json", "data": {"b": [1, None, "x\ny", {"é": 1.10}], "a": 1e5}},
    {"id": "text", "data": "x"},
    {"id": "dates", "at": "2024-02-29 23:59:59.999999", "source": {"seen": "1000-01-01T00:00:00Z"}},
    {"id": "last", "at": "9999-12-31T23:59:59.999999Z"},
]
AWKWARD += [
    {"id": f"t{number}", "note": text}
    for number, text in enumerate(
        [
            "",
            " ",
            "a ",
            "NULL",
            "\\N",
            "\\.",
            "\n\\.\n",
            '"',
            "\r\n",
            "\t",
            "\x1d",
            "\x1d\x1f\x1d",
            "'; --",
            "%s %%",
            "naïve 中文 😀",
        ]
    )
]


def test_a_slice_gives_the_rows_that_it_gives_on_sqlite(url: sa.URL) -> None:
    found = []
    for sink in (PostgreSQLSink(url), SQLiteSink(sa.make_url("sqlite://"))):
        target = Target(EVERYTHING, sink)
        pin(target, TopicPartition("everything", 0))
        result = target.load(one(*({"type": "e", **fields} for fields in AWKWARD), topic="everything"))
        assert (result.total("rows"), result.total("dead_letters")) == (len(AWKWARD), 0)
        found.append([plain(row) for row in target.rows(Everything, *EVERY_COLUMN)])
        sink.close()
    assert found[0] == found[1]


def plain(row: Sequence[Any]) -> tuple[Any, ...]:
    """A value however its driver gives it: SQLite has no type for dates, decimals, booleans and JSON."""

    def one_value(name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in ("at", "seen"):
            return dt.datetime.fromisoformat(str(value))
        return Decimal(str(value)) if name == "price" else int(value) if name == "flag" else value

    return tuple(one_value(name, value) for name, value in zip(EVERY_COLUMN, row, strict=True))


def test_json_is_stored_to_the_letter(url: sa.URL) -> None:
    target = Target(EVERYTHING, PostgreSQLSink(url))
    pin(target, TopicPartition("everything", 0))
    texts = ['{"b": 1.10, "a": 1e400,  "b": 0.1}', "18446744073709551616.000", '"\\u0000"', "[]"]
    target.load(
        one(*(b'{"type": "e", "id": "x", "data": ' + text.encode() + b"}" for text in texts), topic="everything")
    )
    assert [data for (data,) in target.rows(Everything, "data")] == texts
    target.sink.close()


def test_text_that_cannot_be_stored_is_a_dead_letter_with_its_bytes(url: sa.URL) -> None:
    target = Target(EVERYTHING, PostgreSQLSink(url))
    pin(target, TopicPartition("everything", 0))
    bad = b'{"type": "e", "id": "x", "note": "a\\u0000b"}'
    result = target.load(one({"type": "e", "id": "a"}, bad, {"type": "e", "id": "b"}, topic="everything"))
    assert (result.total("rows"), result.total("dead_letters")) == (2, 1)
    assert target.dead_letters() == [("everything[0]@1", "database", "e", bad)]
    [(error,)] = target.all("SELECT error FROM kafka_ingest_dead_letters")
    assert "cannot hold U+0000" in error
    target.sink.close()


def test_keys_are_told_apart_by_case_accents_and_blanks(target: Target) -> None:
    spellings = ["a", "A", "a ", " a", "á", "a\u0301", "ａ", ""]
    target.load(at(0, *(account(key, number) for number, key in enumerate(spellings))))
    assert balances(target) == {key: number for number, key in enumerate(spellings)}
    target.load(at(0, gone("A"), start=len(spellings)))
    assert sorted(balances(target)) == sorted(set(spellings) - {"A"})


class Kinds(UpsertModel):
    __tablename__ = "t_kinds%"
    id: Mapped[int] = field(sa.BigInteger, primary_key=True)
    colour: Mapped[str | None] = field(sa.Enum("red", "it's", "50%"))
    body: Mapped[str | None] = field(sa.Text(4_000_000))
    data: Mapped[Any | None] = field(sa.JSON)
    at: Mapped[dt.datetime | None] = date_field()


KINDS = Stream(name="kinds", topics="kinds", routes={"kinds": Kinds}, route_by=RouteByTopic())


def test_enumerations_long_texts_and_names_with_a_percent_sign(url: sa.URL) -> None:
    target = Target(KINDS, PostgreSQLSink(url))
    pin(target, TopicPartition("kinds", 0))
    long = "长" * 100_000
    messages = [
        {"id": 1, "colour": "50%", "body": long},
        {"id": 2, "colour": "blue"},
        {"id": 1, "colour": "it's", "body": long},
    ]
    result = target.load(one(*messages, topic="kinds"))
    assert (result.total("rows"), result.total("dead_letters")) == (2, 1)
    assert target.all('SELECT id, colour, body FROM "t_kinds%%"') == [(1, "it's", long)]
    target.sink.close()
