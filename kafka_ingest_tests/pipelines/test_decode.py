# A row of a table is one line.
# ruff: noqa: E501
"""What becomes of a message: one row of a table for each rule of decode.py and of validate.py."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.streams.json_schema import is_too_deep
from kafka_ingest.streams.stream import RouteByField, RouteByHeader, RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, letters_of, one, outcomes, piped, raw_slice, rows_of
from kafka_ingest.testing.models import EVERYTHING, MIXED, Account, Booking, Event, Everything, Slot


def becomes(value: Any) -> dict[str, Any] | tuple[str, str]:
    """The row of one message of `everything`, or its dead letter's stage and error."""
    body = value if isinstance(value, bytes) else {"type": "e", "id": "x", **value}
    parsed = piped(EVERYTHING, one(body, topic="everything"))
    assert outcomes(parsed) == [0]
    rows = rows_of(parsed, Everything)
    return rows[0] if rows else letters_of(parsed)[0]


def stamp(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


DEEP = b"[" * 100_000 + b"]" * 100_000
SHALLOW = b"[" * 700 + b"]" * 700

TAKEN: list[tuple[str, Any, dict[str, Any]]] = [
    ("a full message", {"note": "n", "small": -1, "number": 5, "big": 1 << 40, "ratio": 0.5, "flag": True, "source": {"name": "s"}}, {"note": "n", "small": -1, "number": 5, "big": 1 << 40, "ratio": 0.5, "flag": True, "source": "s"}),
    ("missing fields are NULL", {}, {"note": None, "small": None, "price": None, "flag": None, "data": None, "source": None, "at": None}),
    ("nulls are NULL", {"note": None, "small": None, "price": None, "flag": None, "data": None, "source": None, "at": None}, {"note": None, "small": None, "price": None, "flag": None, "data": None, "source": None, "at": None}),
    ("a null above a path is NULL", {"source": {"name": None}}, {"source": None, "seen": None}),
    ("700 levels", b'{"type":"e","id":"x","more":' + SHALLOW + b"}", {"id": "x"}),
    ("brackets in texts are no levels", {"note": '["\\' * 2_000, "more": [[1]] * 2_000}, {"note": '["\\' * 2_000}),
    ("extra fields are skipped", {"more": [1, {"a": 2}], "number": 1}, {"number": 1}),
    ("an integer in a text column is its digits", {"id": 12, "note": 12345678901234567890123}, {"id": "12", "note": "12345678901234567890123"}),
    ("minus zero in a text column is zero", {"id": 0}, {"id": "0"}),
    ("a name with a dot is one name", {"a.b": "dotted", "a": {"b": "nested"}}, {"dotted": "dotted"}),
    ("a default stands for a missing value", {}, {"level": 7}),
    ("a default stands for a null", {"level": None}, {"level": 7}),
    ("a value goes before the default", {"level": 0}, {"level": 0}),
    ("of duplicate keys the last counts", b'{"type":"x","type":"e","id":"1","id":"2","number":1,"number":null}', {"id": "2", "number": None}),
    ("a byte order mark is skipped", b'\xef\xbb\xbf{"type":"e","id":"x","number":1}', {"id": "x", "number": 1}),
    ("white space around", b' \r\n\t{"type" : "e" , "id" : "x"}\n ', {"id": "x"}),
    ("the empty text is no NULL", {"id": "", "note": ""}, {"id": "", "note": ""}),
    ("every character", {"id": "é😀\U0010ffff", "note": "\u0000\u2028\\N"}, {"id": "é😀\U0010ffff", "note": "\u0000\u2028\\N"}),
    ("text as long as the column in characters", {"id": "😀" * 8}, {"id": "😀" * 8}),
    ("escapes are read", b'{"type":"e","id":"\\ud83d\\ude00\\u00e9\\n"}', {"id": "😀é\n"}),
    ("the largest small integers", {"small": 32767, "number": 2147483647, "big": 2**63 - 1}, {"small": 32767, "number": 2147483647, "big": 2**63 - 1}),
    ("the smallest integers", {"small": -32768, "number": -2147483648, "big": -(2**63)}, {"small": -32768, "number": -2147483648, "big": -(2**63)}),
    ("an integer in a float column", {"ratio": 3}, {"ratio": 3.0}),
    ("decimals are exact", b'{"type":"e","id":"x","price":12345678.1234}', {"price": "12345678.1234"}),
    ("decimals keep no zeros nobody needs", b'{"type":"e","id":"x","price":1.50000000000000000000000000000000000}', {"price": "1.5"}),
    ("decimals in other clothes", b'{"type":"e","id":"x","price":1.25e2}', {"price": "125"}),
    ("a decimal zero, however it is written", b'{"type":"e","id":"x","price":-0e-9999999}', {"price": "0"}),
    ("a decimal written as text", {"price": "-0.0001"}, {"price": "-0.0001"}),
    ("JSON as it came", b'{"type":"e","id":"x","data": {"b" : [1, 1.50, "\xc3\xa9"],"a":null} }', {"data": '{"b" : [1, 1.50, "é"],"a":null}'}),
    ("JSON scalars", {"data": "text"}, {"data": '"text"'}),
    ("a naive date is in the column's zone", {"at": "2026-01-01 08:00:00"}, {"at": stamp("2026-01-01 00:00:00")}),
    ("a naive date without a zone is in the stream's", {"source": {"seen": "2026-01-01 09:00:00"}}, {"seen": stamp("2026-01-01 00:00:00")}),
    ("an epoch is a date", {"at": 1767225600}, {"at": stamp("2026-01-01 00:00:00")}),
    ("an unreadable date may be NULL where the column says so", {"source": {"seen": "soon"}}, {"seen": None}),
    ("invalid UTF-8 in a field nobody reads", b'{"type":"e","id":"x","more":"\xff"}', {"id": "x"}),
    ("numbers without bounds in a field nobody reads", b'{"type":"e","id":"x","more":[1e999,1e99999999999999999999,' + b"9" * 5_000 + b"]}", {"id": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), [c[1:] for c in TAKEN], ids=[c[0] for c in TAKEN])
def test_a_message_becomes_a_row(value: Any, expected: dict[str, Any]) -> None:
    row = becomes(value)
    assert isinstance(row, dict), row
    assert {name: row[name] for name in expected} == expected


REFUSED: list[tuple[str, Any, str, str]] = [
    ("an empty value", b"", "decode", "the value is empty"),
    ("white space only", b" \n ", "decode", "the value is empty"),
    ("no JSON", b"hello", "decode", "not JSON"),
    ("half a message", b'{"type":"e","id":"x"', "decode", "ends in the middle, after 20 bytes"),
    ("two messages in one", b'{"type":"e","id":"x"}{}', "decode", "several JSON values in one message, one behind the other"),
    ("an array", b'[{"type":"e"}]', "decode", "Expected `object`, got `array`"),
    ("a text", b'"e"', "decode", "Expected `object`, got `str`"),
    ("a JSON null", b"null", "decode", "Expected `object`, got `null`"),
    ("UTF-16", '{"type":"e","id":"x"}'.encode("utf-16"), "decode", "the value is text in UTF-16"),
    ("NaN", b'{"type":"e","id":"x","ratio":NaN}', "decode", "NaN is no JSON"),
    ("infinity", b'{"type":"e","id":"x","ratio":Infinity}', "decode", "Infinity is no JSON"),
    ("NaN in JSON", b'{"type":"e","id":"x","data":[NaN]}', "decode", "NaN is no JSON"),
    ("a float that is too large", b'{"type":"e","id":"x","ratio":1e999}', "decode", "out of range.*ratio"),
    ("a comment", b'{"type":"e","id":"x"/* */}', "decode", "not JSON"),
    ("a raw control character", b'{"type":"e","id":"\x01"}', "decode", "not JSON"),
    ("nesting without end", b'{"type":"e","id":"x","more":' + DEEP + b"}", "decode", "nested too deep"),
    ("nesting without end in JSON", b'{"type":"e","id":"x","data":' + DEEP + b"}", "decode", "nested too deep"),
    ("1,400 levels", b'{"type":"e","id":"x","more":' + b"[" * 700 + SHALLOW + b"]" * 700 + b"}", "decode", "nested too deep"),
    ("invalid UTF-8", b'{"type":"e","id":"a\xff"}', "decode", "not UTF-8, from byte 19 on: read as Windows-1252"),
    ("invalid UTF-8 in JSON", b'{"type":"e","id":"x","data":["\xff"]}', "validate", "data: not UTF-8, from byte 2 on: read as Windows-1252"),
    ("a surrogate encoded as UTF-8", b'{"type":"e","id":"\xed\xa0\x80"}', "decode", "not UTF-8"),
    ("a lone surrogate", b'{"type":"e","id":"\\ud800"}', "decode", r"a lone surrogate, \\ud800, at byte 18"),
    ("a lone surrogate in a field nobody reads", b'{"type":"e","id":"x","more":"\\ud800"}', "decode", "a lone surrogate"),
    ("a number for an object above a path", {"source": 5}, "decode", r"Expected `object \| null`, got `int` - at `\$.source`"),
    ("a text for an object above a path", {"source": "s"}, "decode", r"got `str` - at `\$.source`"),
    ("an array for an object above a path", {"source": [1]}, "decode", r"got `array` - at `\$.source`"),
    ("a float in a text column", {"note": 1.5}, "decode", r"got `float` - at `\$.note`"),
    ("a bool in a text column", {"note": True}, "decode", r"got `bool` - at `\$.note`"),
    ("an object in a text column", {"note": {}}, "decode", r"got `object` - at `\$.note`"),
    ("a text in an integer column", {"number": "5"}, "decode", r"got `str` - at `\$.number`"),
    ("a float in an integer column", {"number": 5.0}, "decode", r"got `float` - at `\$.number`"),
    ("a bool in an integer column", {"number": True}, "decode", r"got `bool` - at `\$.number`"),
    ("a text in a float column", {"ratio": "0.5"}, "decode", r"got `str` - at `\$.ratio`"),
    ("a number in a boolean column", {"flag": 1}, "decode", r"got `int` - at `\$.flag`"),
    ("a word in a decimal column", {"price": "cheap"}, "decode", r"'cheap' is no number; it is written as in JSON: .* - at `\$.price`"),
    ("a bool in a decimal column", {"price": True}, "decode", r"bool in a number column - at `\$.price`"),
    ("an object in a decimal column", {"price": {"scale": 2, "value": "AQ=="}}, "decode", r"object in a number column - at `\$.price`"),
    ("an array in a decimal column", {"price": [1]}, "decode", r"array in a number column - at `\$.price`"),
    ("a decimal beyond what Python reads", b'{"type":"e","id":"x","price":1e99999999999999999999}', "decode", "exponent beyond any column"),
    ("a decimal beyond what Python reads, as text", {"price": "1e99999999999999999999"}, "decode", r"exponent beyond any column - at `\$.price`"),
    ("a bool for a date", {"at": True}, "dates", "at: True is neither text nor a number"),
    ("an object for a date", {"at": {"$date": 1}}, "dates", r"at: {'\$date': 1} is neither text nor a number"),
    ("an array that is no date", {"at": [2024, "5", 1]}, "dates", r"at: \[2024, '5', 1\] is neither text nor a number"),
    ("a number that says no date", {"at": 19844}, "dates", "at: 19844 is a number that says no date by itself: say what it counts with unit="),
    ("an integer of five thousand digits", b'{"type":"e","id":"x","number":' + b"9" * 5_000 + b"}", "decode", "out of range"),
    ("five thousand digits for a text", b'{"type":"e","id":"x","note":' + b"9" * 5_000 + b"}", "decode", "out of range"),
    ("five thousand digits for a date", b'{"type":"e","id":"x","at":' + b"9" * 5_000 + b"}", "decode", "out of range"),
    ("a small integer that is too large", {"small": 32768}, "validate", "small: 32768 does not fit 16 bits"),
    ("an integer that is too small", {"number": -2147483649}, "validate", "number: -2147483649 does not fit 32 bits"),
    ("a big integer that is too large", {"big": 2**63}, "validate", "big: 9223372036854775808 does not fit 64 bits"),
    ("a huge integer", {"small": 10**40}, "validate", "small: 1000.* does not fit 16 bits"),
    ("text longer than the column", {"id": "é" * 9}, "validate", "id: 9 characters, and the column holds 8"),
    ("a number longer than the text column", {"id": 123456789}, "validate", "id: 9 characters, and the column holds 8"),
    ("a decimal that would be rounded", b'{"type":"e","id":"x","price":0.00001}', "validate", r"price: 0.00001 does not fit DECIMAL\(12,4\)"),
    ("a decimal that would be rounded at the thirtieth digit", b'{"type":"e","id":"x","price":1.00000000000000000000000000001}', "validate", "does not fit DECIMAL"),
    ("a decimal that is too large", b'{"type":"e","id":"x","price":123456789}', "validate", "does not fit DECIMAL"),
    ("a decimal beyond every exponent", b'{"type":"e","id":"x","price":1e9999999}', "validate", "does not fit DECIMAL"),
    ("a decimal below every exponent", b'{"type":"e","id":"x","price":1e-9999999}', "validate", "does not fit DECIMAL"),
    ("no number in a decimal column", {"price": "NaN"}, "decode", r"'NaN' is no number.* - at `\$.price`"),
    ("a signalling NaN", {"price": "sNaN"}, "decode", "'sNaN' is no number"),
    ("infinity in a decimal column", {"price": "-Infinity"}, "decode", "'-Infinity' is no number"),
    ("nothing in a column that must not be NULL", {"id": None}, "validate", "id: missing or null, and the column is NOT NULL"),
    ("an unreadable date", {"at": "soon"}, "dates", "at: "),
    ("a date the database cannot hold", {"at": "0999-12-31"}, "dates", "at: "),
    ("no type", b'{"id":"x"}', "route", "field 'type' is missing, so no route takes the message"),
    ("a null type", {"type": None}, "route", "field 'type' is missing"),
    ("an unknown type", {"type": "f"}, "route", "no route for type 'f'; the stream has e"),
    ("an empty type", {"type": ""}, "route", "no route for type ''"),
    ("a type that is no text", {"type": ["e"]}, "route", r"got `array` - at `\$.type`"),
    ("a bool for a type", {"type": True}, "route", r"got `bool` - at `\$.type`"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "stage", "error"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_message_becomes_a_dead_letter_that_says_why(value: Any, stage: str, error: str) -> None:
    found = becomes(value)
    assert isinstance(found, tuple), found
    assert found[0] == stage
    assert pd.Series([found[1]]).str.contains(error).all(), found[1]
    assert "\n" not in found[1]


def test_one_bad_message_among_many_is_refused_alone_whatever_its_place() -> None:
    for place in range(5):
        values: list[Any] = [{"type": "e", "id": str(n), "number": n} for n in range(5)]
        values[place] = b"broken"
        parsed = piped(EVERYTHING, one(*values, topic="everything"))
        assert list(letters_of(parsed)) == [place]
        assert [row["number"] for row in rows_of(parsed, Everything)] == [n for n in range(5) if n != place]


ALL_BODIES = [
    v if isinstance(v, bytes) else {"type": "e", "id": "x", **v}
    for v in [*(c[1] for c in TAKEN), *(c[1] for c in REFUSED)]
]


def test_what_becomes_of_a_message_does_not_depend_on_its_neighbours() -> None:
    together = piped(EVERYTHING, one(*ALL_BODIES, topic="everything"))
    assert outcomes(together) == list(range(len(ALL_BODIES)))
    letters = letters_of(together)
    rows = iter(rows_of(together, Everything))
    for number, body in enumerate(ALL_BODIES):
        alone = becomes(body) if isinstance(body, bytes) else becomes(dict(body))
        assert alone == (letters[number] if number in letters else next(rows))


@pytest.mark.parametrize("size", [1, 900, 20_000], ids=["small", "wide", "large"])
def test_rows_stand_in_order_of_their_messages_whatever_is_decoded_at_a_time(size: int) -> None:
    """Messages of two tables and bad ones, interleaved over several pieces; how many are a piece goes by their size."""
    kinds = [{"type": "event", "name": "{}-"}, {"type": "account", "id": "{}-"}, {"type": "nobody"}]
    count = 9_001 if size == 1 else 2_500 if size == 900 else 501
    raw = raw_slice(
        Part([Msg({k: v.format(n) for k, v in kinds[n % 3].items()} | {"more": "x" * size}) for n in range(count)])
    )
    parsed = StreamDecoder(MIXED).decode(raw)
    for table, (column, first) in {"event": ("name", 0), "account": ("id", 1)}.items():
        (rows,) = (frame for target, frame in parsed.rows.items() if MIXED.route_of(target) == table)
        assert rows.index.tolist() == list(range(first, count, 3))
        assert rows[column].tolist() == [f"{n}-" for n in rows.index]
        assert rows["_kafka_offset"].tolist() == rows.index.tolist()
    assert sorted(letter.number for letter in parsed.dead_letters) == list(range(2, count, 3))


def test_a_row_carries_the_position_it_came_from() -> None:
    parsed = piped(
        MIXED,
        raw_slice(
            Part([Msg({"type": "event", "name": "a"})], start=41, partition=2),
            Part([Msg({"type": "event", "name": "b"}, timestamp_ms=-1)], topic="mixed2", start=7),
            Part([Msg({"type": "event", "name": "c"}, timestamp_ms=2**62)], topic="mixed2", partition=1, start=9),
        ),
    )
    frame = parsed.rows[TargetTable.of(Event)]
    assert frame["_kafka_topic"].tolist() == ["mixed", "mixed2", "mixed2"]
    assert frame["_kafka_partition"].tolist() == [2, 0, 1]
    assert frame["_kafka_offset"].tolist() == [41, 7, 9]
    stamps = [None if pd.isna(s) else s for s in frame["_kafka_timestamp"]]
    assert stamps == [pd.Timestamp(MORNING_MS + 41_000, unit="ms"), None, None]


# --- routes


def test_messages_are_routed_by_a_nested_field_and_an_integer_is_its_digits() -> None:
    stream = Stream(name="s", topics="t", routes={"1": Event, "acc": Account}, route_by=RouteByField("meta.kind"))
    parsed = piped(
        stream,
        one(
            {"meta": {"kind": 1}, "name": "a"},
            {"meta": {"kind": "acc"}, "id": "k"},
            {"meta": {"kind": "1"}, "name": "b"},
            {"meta": 5, "name": "c"},
            {"meta": {}, "name": "d"},
            {"name": "e"},
        ),
    )
    assert [r["name"] for r in rows_of(parsed, Event)] == ["a", "b"]
    assert [r["id"] for r in rows_of(parsed, Account)] == ["k"]
    assert {n: stage for n, (stage, _) in letters_of(parsed).items()} == dict.fromkeys((3, 4, 5), "route")
    assert "field 'meta.kind' is missing" in letters_of(parsed)[5][1]


def test_messages_are_routed_by_the_last_header_of_a_name() -> None:
    stream = Stream(name="s", topics="t", routes={"event": Event}, route_by=RouteByHeader("kind"))

    def message(*headers: tuple[str, bytes | None]) -> Msg:
        return Msg({"name": "a", "type": "ignored"}, headers=list(headers))

    parsed = piped(
        stream,
        one(
            message(("kind", b"event")),
            message(("kind", b"x"), ("kind", b"event"), ("other", b"y"), ("kind", None)),
            message(("kind", b"\xff")),
            message(("Kind", b"event")),
            Msg({"name": "a"}),
        ),
    )
    assert parsed.rows[TargetTable.of(Event)].index.tolist() == [0, 1]
    errors = {n: error for n, (_, error) in letters_of(parsed).items()}
    assert "no route for type '\ufffd'" in errors[2]
    assert errors[3] == errors[4] == "header 'kind' is missing, so no route takes the message"


def test_messages_are_routed_by_topic() -> None:
    stream = Stream(
        name="s", topics=("mixed", "mixed2"), routes={"mixed": Event, "mixed2": Slot}, route_by=RouteByTopic()
    )
    parsed = piped(stream, raw_slice(Part([Msg({"name": "a"})]), Part([Msg({"room": "r", "hour": 3})], topic="mixed2")))
    assert [r["name"] for r in rows_of(parsed, Event)] == ["a"]
    assert [(r["room"], r["hour"]) for r in rows_of(parsed, Slot)] == [("r", 3)]


def test_two_routes_to_one_model_are_one_table_and_each_dead_letter_names_a_route_of_it() -> None:
    parsed = piped(
        MIXED, one({"type": "evt", "name": "a"}, {"type": "event", "name": "b"}, {"type": "evt", "name": 1.5})
    )
    assert [r["name"] for r in rows_of(parsed, Event)] == ["a", "b"]
    assert [(d.number, d.route) for d in parsed.dead_letters] == [(2, "evt")]


def test_a_stream_may_ignore_what_no_route_takes_but_not_what_is_broken() -> None:
    stream = Stream(name="s", topics="mixed", routes={"event": Event}, unrouted="ignore")
    parsed = piped(
        stream,
        one({"type": "other"}, {"no": "type"}, b"broken", {"type": "event", "name": "a"}, Msg(None), {"type": [1]}),
    )
    assert parsed.ignored.tolist() == [0, 1, 4]
    assert sorted(letters_of(parsed)) == [2, 5]
    assert outcomes(parsed) == list(range(6))


# --- tombstones: whose they are (test_tombstones.py has what their keys say)


def test_a_tombstone_no_model_takes_is_a_dead_letter_or_ignored() -> None:
    stream = Stream(name="s", topics="mixed", routes={"event": Event, "slot": Slot})
    parsed = piped(stream, one(Msg(None, key=b"x")))
    assert "no model it could belong to deletes on tombstones" in letters_of(parsed)[0][1]
    assert letters_of(parsed)[0][0] == "route"


def test_by_topic_or_header_a_tombstone_finds_its_own_model() -> None:
    stream = Stream(
        name="s", topics="t", routes={"a": Account, "b": Booking, "e": Event}, route_by=RouteByHeader("kind")
    )
    parsed = piped(
        stream,
        one(
            Msg(None, key=b"k", headers=[("kind", b"a")]),
            Msg(None, key=b'{"room":"r","hour":1}', headers=[("kind", b"b")]),
            Msg(None, key=b"k", headers=[("kind", b"e")]),
            Msg(None, key=b"k"),
        ),
    )
    assert {t.label: f.index.tolist() for t, f in parsed.deletes.items()} == {"t_account": [0], "t_booking": [1]}
    assert {n: stage for n, (stage, _) in letters_of(parsed).items()} == {2: "route", 3: "route"}


def test_a_decoder_is_made_once_and_used_for_many_slices() -> None:
    decoder = StreamDecoder(MIXED)
    first = decoder.decode(one({"type": "event", "name": "a"}, Msg(None, key=b"k")))
    second = decoder.decode(one(b"x"))
    empty = decoder.decode(one())
    assert [outcomes(parsed) for parsed in (first, second, empty)] == [[0, 1], [0], []]


def test_dates_come_out_as_instants_in_utc_to_the_microsecond() -> None:
    row = becomes({"at": "2026-05-01T12:30:15.123456+02:00"})
    assert isinstance(row, dict)
    assert row["at"] == dt.datetime(2026, 5, 1, 10, 30, 15, 123456)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"[" * 900 + b"]" * 900, False),
        (b"[" * 901 + b"]" * 901, True),
        (b'{"a":' * 901 + b"1" + b"}" * 901, True),
        (b"[]" * 2_000, False),
        (b'"' + b"[" * 2_000 + b'"', False),
        (b'["\\"' + b"[" * 2_000 + b'"]', False),
        (b'["\\\\",' + b"[" * 900 + b"]" * 901, True),
        (b'"' + b"[" * 2_000, False),
    ],
)
def test_levels_are_counted_outside_of_texts(value: bytes, expected: bool) -> None:
    assert is_too_deep(value) is expected
