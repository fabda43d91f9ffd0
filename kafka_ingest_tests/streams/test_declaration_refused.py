"""Streams declared as data: what cannot be meant is refused where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kafka_ingest.errors import DeclarationError
from kafka_ingest.streams.declaration import declared_stream
from kafka_ingest_tests.support.declared import TABLE, stream, table

REFUSED: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "a word that there is not": (
        {"topic": "a"},
        "streams[0].topic",
        "is not known (is topics meant?); there may be name, topics,",
    ),
    "a word of the batch that there is not": ({"batch": {"rows": 1}}, "streams[0].batch.rows", "max_rows"),
    "what is out of bounds": (
        {"batch": {"max_rows": 0}},
        "streams[0].batch.max_rows",
        "is 0; it must be from 1 to 1000000",
    ),
    "a number where a text belongs": ({"topics": 7}, "streams[0].topics", "is 7, not a text or a list"),
    "YAML's true where a text belongs": ({"group_id": True}, "streams[0].group_id", "is true, not a text"),
    "a text where true or false belongs": ({"evolve": "no"}, "streams[0].evolve", "is 'no', not true or false"),
    "a list where a mapping belongs": ({"batch": []}, "streams[0].batch", "is a list, not a mapping"),
    "a choice that there is not": ({"unrouted": "drop"}, "streams[0].unrouted", "not 'dead_letter' or 'ignore'"),
    "a start without a zone": ({"start": "2026-01-01T00:00"}, "streams[0].start", "a time with a zone"),
    "a start that is a number": ({"start": "20260101"}, "streams[0].start", "'earliest', 'latest', 'group' or a time"),
    "a window without a zone": ({"window_start": "2026-01-01"}, "streams[0].window_start", "a time with a zone"),
    "a date that there is not": ({"window_start": "2026-13-01T00:00Z"}, "streams[0].window_start", "month"),
    "a length of time that is a number": ({"fresh_warn": 60}, "streams[0].fresh_warn", "such as {hours: 6}"),
    "a unit that there is not": ({"fresh_fail": {"hour": 1}}, "streams[0].fresh_fail.hour", "is hours meant?"),
    "both field and header": (
        {"route_by": {"field": "a", "header": "b"}},
        "streams[0].route_by",
        "either field or header",
    ),
    "a key that is no text": ({"routes": {7: TABLE}}, "streams[0].routes", "write it in quotes"),
    "an unknown time zone": ({"timezone": "Mars"}, "streams[0].timezone", "not a known IANA zone"),
    "what Stream refuses": ({"name": "a b"}, "streams[0].name", "letters, digits and _ only"),
    "no routes": ({"routes": {}}, "streams[0].routes", "map a message type to a model"),
    "a model that is none": (
        {"routes": {"quote": "kafka_ingest.field"}},
        "streams[0].routes.quote",
        "a function, not an AppendModel or UpsertModel",
    ),
    "a step that is none": ({"steps": ["kafka_ingest.__version__"]}, "streams[0].steps[0]", "a str, not a function"),
    "a step that there is not": ({"steps": ["kafka_ingest.clean"]}, "streams[0].steps[0]", "has no clean"),
    "one table declared in two ways": (
        {"routes": {"a": TABLE, "b": TABLE | {"comment": "x"}}},
        "streams[0].routes.b.table",
        "as that of route 'a'",
    ),
}
REFUSED_TABLES: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "a name without a letter": ({"table": ""}, "table", "at least 1 character"),
    "a missing word": ({"columns": {"price": {}}}, "columns.price.type", "is missing"),
    "a type that there is not": (
        {"columns": {"price": "MONEY"}},
        "columns.price.type",
        "write one of VARCHAR(n), TEXT",
    ),
    "a type in small letters": ({"columns": {"price": "json"}}, "columns.price.type", "write JSON"),
    "a type that a comma cut": ({"columns": {"price": {"type": "DECIMAL(12"}}}, "columns.price.type", "in quotes"),
    "a type that has another name here": ({"columns": {"price": "FLOAT"}}, "columns.price.type", "write DOUBLE"),
    "a date without its decimals": ({"columns": {"at": "DATETIME"}}, "columns.at.type", "write DATETIME(6), or"),
    "more decimals than there are": ({"columns": {"at": "TIME(7)"}}, "columns.at.type", "write TIME(6), or"),
    "more bits than there are": ({"columns": {"a": "BIT(65)"}}, "columns.a.type", "it has 1 to 64 bits"),
    "no bits at all": ({"columns": {"a": "BIT(0)"}}, "columns.a.type", "write BIT(1)"),
    "a path and a source": (
        {"columns": {"a": {"type": "TEXT", "path": "b", "source": "topic"}}},
        "columns.a",
        "from a path of the message or from the topic, not from both",
    ),
    "a source that there is not": (
        {"columns": {"a": {"type": "TEXT", "source": "value"}}},
        "columns.a.source",
        "is 'value', not 'key', 'topic'",
    ),
    "two sources": (
        {"columns": {"a": {"type": "TEXT", "source": {"key": "a", "header": "b"}}}},
        "columns.a.source",
        "must have one of key, header, envelope and constant",
    ),
    "a word of a source that there is not": (
        {"columns": {"a": {"type": "TEXT", "source": {"headers": "b"}}}},
        "columns.a.source.headers",
        "is header meant?",
    ),
    "a key that the database fills": (
        {"columns": {"a": {"type": "BIGINT", "source": "database", "primary_key": True}}},
        "",
        "the database cannot fill column 'a'",
    ),
    "a cast of a date": (
        {"columns": {"at": {"type": "DATE", "cast": {"from_text": True}}}},
        "columns.at.cast",
        "is not for dates",
    ),
    "a cast that means nothing": (
        {"columns": {"a": {"type": "TEXT", "cast": {"rounding": "down"}}}},
        "",
        "the cast's rounding means nothing",
    ),
    "options of a cast that contradict each other": (
        {"columns": {"a": {"type": "INT", "cast": {"thousands": ","}}}},
        "columns.a.cast",
        "it needs from_text=True",
    ),
    "a word of a cast that there is not": (
        {"columns": {"a": {"type": "INT", "cast": {"from_texts": True}}}},
        "columns.a.cast.from_texts",
        "is from_text meant?",
    ),
    "a cast that is no function": (
        {"columns": {"a": {"type": "INT", "cast": "kafka_ingest.__version__"}}},
        "columns.a.cast",
        "which is no function",
    ),
    "a default day that is none": (
        {"columns": {"at": {"type": "DATE", "default": "May"}}},
        "columns.at.default",
        "not a date: '2026-01-01'",
    ),
    "more decimals than digits": ({"columns": {"price": "DECIMAL(2,3)"}}, "columns.price.type", "is DECIMAL(2,3)"),
    "a member twice": ({"columns": {"side": "ENUM('a','a')"}}, "columns.side.type", "lists 'a' twice"),
    "a zone of what is no date": (
        {"columns": {"price": {"type": "JSON", "timezone": "UTC"}}},
        "columns.price.timezone",
        "is for dates",
    ),
    "a format that is none": (
        {"columns": {"at": {"type": "DATETIME(6)", "formats": ["x"]}}},
        "columns.at.formats",
        "strptime format",
    ),
    "a unit that is none": (
        {"columns": {"at": {"type": "DATETIME(6)", "unit": "seconds"}}},
        "columns.at.unit",
        "'days', 's', 'ms', 'us' or 'ns'",
    ),
    "an abbreviation that its zone does not use": (
        {"columns": {"at": {"type": "DATETIME(6)", "zones": {"CST": "Europe/Paris"}}}},
        "columns.at.zones",
        "is not used there, but CET, CEST",
    ),
    "a default date without a zone": (
        {"columns": {"at": {"type": "DATETIME(6)", "default": "2026-01-01"}}},
        "columns.at.default",
        "a time with a zone",
    ),
    "a column of ours": ({"columns": {"_kafka_offset": "BIGINT"}}, "columns._kafka_offset", "every table has"),
    "an order without a key": ({"order_by": "price"}, "order_by", "give a column primary_key: true"),
    "an order by nothing": (
        {"order_by": "x", "columns": {"id": {"type": "BIGINT", "primary_key": True}}},
        "order_by",
        "no integer, DateTime or Date column",
    ),
    "an index of no column": ({"indexes": {"i": ["symbol", "x"]}}, "indexes.i[1]", "no column of the table"),
    "a path through a value": (
        {"columns": {"a": {"type": "TEXT", "path": "x"}, "b": {"type": "TEXT", "path": ["x", "y"]}}},
        "",
        "lies inside 'x'",
    ),
}


@pytest.mark.parametrize(("given", "where", "what"), REFUSED.values(), ids=REFUSED)
def test_a_stream_is_refused_with(given: Mapping[str, Any], where: str, what: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        stream(**given)
    assert refused.value.setting == where
    assert str(refused.value).startswith(where)
    assert what in str(refused.value)


@pytest.mark.parametrize(("given", "where", "what"), REFUSED_TABLES.values(), ids=REFUSED_TABLES)
def test_a_table_is_refused_with(given: Mapping[str, Any], where: str, what: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        table(**given)
    assert refused.value.setting == f"streams[0].routes.quote.{where}".rstrip(".")
    assert what in str(refused.value)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (7, "streams[0] is 7, not a text or a mapping"),
        ("STREAM", "no path to an object in a module"),
        (".quotes.STREAM", "no package here"),
        ("no_such_module_anywhere.STREAM", "cannot be imported"),
        ("kafka_ingest.translate_dates", "is a function, not a Stream".removeprefix("is ")),
        ({"name": "a"}, "streams[0].topics is missing\nstreams[0].routes is missing"),
    ],
)
def test_what_is_no_stream_at_all_is_refused(given: object, what: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declared_stream(given, place=("streams", 0))
    assert what in str(refused.value)


def test_a_place_is_told_as_keys_and_as_text() -> None:
    with pytest.raises(DeclarationError) as refused:
        stream(routes={"a b": TABLE | {"columns": {"price": "X"}}})
    assert refused.value.place == ("streams", 0, "routes", "a b", "columns", "price", "type")
    assert refused.value.setting == "streams[0].routes['a b'].columns.price.type"
