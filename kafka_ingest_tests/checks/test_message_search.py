"""What a text means, which messages it means, and how much of the log is read for it."""

from __future__ import annotations

import datetime as dt
import struct
from typing import Any

import pytest

from kafka_ingest.checks.message_search import AtOffset, OfKey, WithField, as_text, wanted_of
from kafka_ingest.errors import ConfigError
from kafka_ingest.testing.messages import MORNING_MS, Msg
from kafka_ingest_tests.support.searched import Searched

MORNING = dt.datetime.fromtimestamp(MORNING_MS / 1000, dt.timezone.utc)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Searched:
    return Searched(monkeypatch)


@pytest.mark.parametrize(
    ("text", "meant", "wanted"),
    [
        ("12", None, AtOffset(12)),
        ("3:12", None, AtOffset(12, 3)),
        ("mixed[3]@12", None, AtOffset(12, 3)),
        ("12", "key", OfKey("12")),
        ("9" * 30, None, OfKey("9" * 30)),
        ("a17", None, OfKey("a17")),
        ("", None, OfKey("")),
        ("a=b=c", None, WithField("a", "b=c")),
        ("source.name=", None, WithField("source.name", "")),
        ("a=b", "key", OfKey("a=b")),
        ('{"id": "a=b"}', None, OfKey('{"id": "a=b"}')),
        ("12=1", None, WithField("12", "1")),
    ],
)
def test_a_text_is_an_offset_a_field_or_a_key(text: str, meant: Any, wanted: object) -> None:
    assert wanted_of("mixed", text, meant) == wanted
    assert as_text(wanted_of("mixed", text, meant)).split()[0] in ("offset", "field", "key")


@pytest.mark.parametrize(
    ("text", "meant", "refusal"),
    [
        ("other[0]@1", None, "position in topic other, and the search is in mixed"),
        ("a17", "offset", r"no offset: write N, PARTITION:N or mixed\[PARTITION\]@N"),
        ("a17", "field", "no field: write PATH=VALUE"),
    ],
)
def test_what_is_no_offset_and_no_field_is_refused_with_what_is_one(text: str, meant: Any, refusal: str) -> None:
    with pytest.raises(ConfigError, match=refusal):
        wanted_of("mixed", text, meant)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"", ""),
        (b"k1", "k1"),
        ("né\u202e".encode(), "né\u202e"),
        (b"\x00\xff", "0x00ff"),
        (b"0x00ff", "0x00ff"),
        (b'"k1"', "k1"),
        (b'"k1"', '"k1"'),
        (b'"\\u006b1"', "k1"),
        (b'{"id":"k1","n":1}', '{"n": 1, "id": "k1"}'),
        (b'{"id":"a=b"}', '{"id":"a=b"}'),
        (struct.pack(">q", 17), "17"),
        (struct.pack(">i", -17), "-17"),
        (b"17", "17"),
    ],
)
def test_a_key_is_found_in_every_notation_and_no_other_is(topic: Searched, key: bytes, text: str) -> None:
    others = [None, b"\xfe{", b"{", b'"', b"[[[" * 2_000, b"other", b'{"id":"other"}', b'"other"']
    topic.send(*(Msg({}, other) for other in others), Msg({}, key))
    assert topic.offsets(text, meant="key") == [len(others)]


def test_an_empty_key_is_not_a_missing_one(topic: Searched) -> None:
    topic.send(Msg({}, None), Msg({}, b""))
    assert topic.offsets("") == [1]
    assert topic.offsets("null") == topic.offsets("None") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"type": "x", "unknown": "u"}, "unknown=u"),
        ({"source": {"name": "N"}}, "source.name=N"),
        ({"source.name": "N"}, "source.name=N"),
        ({"a": {"b.c": {"d": "N"}}}, "a.b.c.d=N"),
        ({"n": 12}, "n=12"),
        ({"n": "12"}, "n=12"),
        ({"n": 1.50}, "n=1.5"),
        (b'{"n": 12345678901234567890.25}', "n=12345678901234567890.25"),
        ({"b": True}, "b=true"),
        ({"b": None}, "b=null"),
        ({"l": [1, {"x": 2}]}, 'l=[1, {"x": 2}]'),
        ({"e": ""}, "e="),
        (b'{"n": 1, "n": 2}', "n=2"),
    ],
)
def test_a_field_is_found_by_its_value_whether_a_model_names_it_or_not(topic: Searched, value: Any, text: str) -> None:
    others: list[Any] = [
        None,
        b"",
        b"\xff",
        b"[" * 5_000,
        [1],
        "text",
        {"b": 1, "n": True},
        {"source": "N", "a": {"b": 1}},
    ]
    topic.send(*(Msg(other) for other in others), Msg(value))
    answer = topic.answer(text)
    assert [each.position.offset for each in answer.found] == [len(others)]
    assert answer.reading.undecodable == 3  # the empty one, the one that is no UTF-8, the deep one


def test_the_last_offsets_of_each_partition_are_searched_or_a_stretch_of_time(topic: Searched) -> None:
    for partition in (0, 1):
        topic.send(*(Msg({"n": "x"}) for _ in range(10)), partition=partition)
    assert topic.offsets("n=x", last=3) == [7, 8, 9, 7, 8, 9]
    second = dt.timedelta(seconds=1)
    assert topic.offsets("n=x", since=MORNING + 8 * second) == [8, 9, 8, 9]
    assert topic.offsets("n=x", until=MORNING + second) == [0, 0]
    assert topic.offsets("n=x", since=MORNING + 2 * second, until=MORNING + 9 * second, last=1) == [8, 8]
    assert topic.offsets("n=x", since=MORNING + 60 * second) == []
    with pytest.raises(ConfigError, match="not before to"):
        topic.answer("n=x", since=MORNING, until=MORNING)


def test_of_many_messages_the_newest_are_kept_and_all_are_counted(topic: Searched) -> None:
    topic.send(*(Msg({"n": "x"}) for _ in range(30)))
    answer = topic.answer("n=x", limit=3)
    assert [each.position.offset for each in answer.found] == [27, 28, 29]
    assert (answer.reading.matched, answer.reading.messages) == (30, 30)


def test_a_timestamp_that_no_date_holds_is_left_out(topic: Searched) -> None:
    topic.send(Msg({}, b"k", timestamp_ms=-1), Msg({}, b"k", timestamp_ms=2**60))
    assert [each.timestamp for each in topic.answer("k").found] == [None, None]
