# A row of a table is one line.
# ruff: noqa: E501
"""Each common cause of a message that cannot be read has a sentence of its own; inputs are those of public reports."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped

from kafka_ingest.pipelines.diagnosis import foreign_text, lone_surrogate
from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, letters_of, one, outcomes, piped, raw_slice, rows_of


class Told(AppendModel):
    __tablename__ = "told_diagnosis"
    id: Mapped[str | None] = field(String(200))
    city: Mapped[str | None] = field(Text, path="address.city")


class Keyed(UpsertModel):
    __tablename__ = "keyed_diagnosis"
    id: Mapped[str] = field(String(20), primary_key=True)


STREAM = Stream(name="told", topics="told", route_by=RouteByTopic(), routes={"told": Told})
BY_FIELD = Stream(name="told", topics="told", routes={"t": Told})
BODY = json.dumps({"type": "t", "id": "x"}).encode()

CAUSES: list[tuple[str, bytes, str]] = [
    ("UTF-16 with a mark", b"\xff\xfe" + BODY.decode().encode("utf-16-le"), "text in UTF-16; let the producer encode it as UTF-8"),
    ("UTF-16, big end first", BODY.decode().encode("utf-16-be"), "text in UTF-16"),
    ("UTF-16, little end first", BODY.decode().encode("utf-16-le"), "text in UTF-16"),
    ("UTF-32 with a mark", BODY.decode().encode("utf-32"), "text in UTF-32"),
    ("UTF-32", BODY.decode().encode("utf-32-be"), "text in UTF-32"),
    # apache/openwhisk-package-kafka#132: the producer's own gzip.
    ("gzip", gzip.compress(BODY), "compressed with gzip inside the message: Kafka's own compression (compression.type) is undone"),
    # SOHU-Co/kafka-node#1203: an lz4 frame that no client undoes.
    ("lz4", b"\x04\x22\x4d\x18`@\x82&\0\0\0\x16", "compressed with lz4"),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\x00", "compressed with zstd"),
    ("snappy frames", b"\xff\x06\0\0sNaPpY\x01", "compressed with snappy"),
    ("snappy of Java", b"\x82SNAPPY\0\0\0\0\x01", "compressed with snappy"),
    ("zlib", zlib.compress(BODY), "compressed with zlib"),
    # confluentinc/kafka-connect-storage-cloud#229, kafkajs/confluent-schema-registry#182.
    ("Avro of a registry", b"\0\0\0\0\x2a\x02\x06abc", "magic byte 0 and schema id 42: it was written with a schema registry's serializer; declare the stream with value_format=Avro() or Protobuf()"),
    ("JSON Schema of a registry", b"\0\0\0\0\x05" + BODY, "schema id 5: it was written with a schema registry's serializer; declare the stream with value_format=JsonSchema()"),
    ("AWS Glue", b"\x03\0" + bytes(16) + b"\x02", "AWS Glue's schema registry"),
    ("an Avro file", b"Obj\x01\x04", "an Avro file"),
    ("a Java object", b"\xac\xed\0\x05t\0\x01x", "a serialized Java object"),
    ("GBK", '{"id":"订单已发货"}'.encode("gbk"), "not UTF-8, from byte 7 on: read as GBK it says '订单已发货"),
    ("GBK with a backslash for a second byte", '{"id":"誠信订单"}'.encode("gbk"), "read as GBK it says '誠信订单"),
    ("Big5", '{"id":"訂單已經發貨"}'.encode("big5"), "read as Big5 it says '訂單已經發貨"),
    ("Shift_JIS", '{"id":"ご注文ありがとう"}'.encode("cp932"), "read as Shift_JIS it says 'ご注文ありがとう"),
    ("Latin-1", '{"id":"Köln"}'.encode("latin-1"), "read as Windows-1252 or Latin-1 it says 'öln"),
    ("cut within a character", '{"id":"Kö'.encode()[:-1], "ends in the middle of a character, at byte 8"),
    ("cut", BODY[:-3], "ends in the middle, after 21 bytes; the producer has cut it"),
    ("JSON in a JSON string", json.dumps(BODY.decode()).encode(), "JSON in a JSON string (encoded twice)"),
    ("base64 in a JSON string", json.dumps(base64.b64encode(BODY).decode()).encode(), "JSON as base64 in a JSON string"),
    ("a text", b'"hello"', "the value is a JSON string; a message is one JSON object"),
    ("an array", b"[" + BODY + b"]", "the value is a JSON array; a message is one JSON object"),
    ("NDJSON", BODY + b"\n" + BODY + b"\n", "several JSON values in one message, a line each (NDJSON)"),
    ("two objects", BODY + BODY, "several JSON values in one message, one behind the other"),
    ("a C string", BODY + b"\0", "followed by a NUL byte"),
    ("a lone surrogate", rb'{"id":"a\ud83d b"}', r"a lone surrogate, \ud83d, at byte 8"),
    ("the second half", rb'{"id":"\\\ude00"}', r"a lone surrogate, \ude00, at byte 9"),
    ("CESU-8", b'{"id":"\xed\xa0\xbd\xed\xb8\x80"}', r"a surrogate (\ud83d) written as three bytes at byte 7, as CESU-8"),
    ("an object as its text", b'{"id":"x","address":"{\\"city\\":\\"Bonn\\"}"}', "at `$.address`: it is JSON in a JSON string"),
    ("XML", b"<order/>", "the value is XML"),
    ("a Python dict", b"{'id': 'x'}", "a Python dict as its text"),
    ("Connect's Struct", b"Struct{id=1}", "Kafka Connect Struct"),
    ("NaN", b'{"id":"x","value":NaN}', "NaN is no JSON (RFC 8259)"),
    # jcustenborder/kafka-connect-splunk#7: an escape that JSON has not.
    ("a foreign escape", rb'{"id":"Test \x0000"}', "not JSON: JSON is malformed: invalid escape character in string (byte 14)"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), [c[1:] for c in CAUSES], ids=[c[0] for c in CAUSES])
def test_a_dead_letter_names_what_is_wrong_with_the_bytes(value: bytes, expected: str) -> None:
    ((stage, error),) = letters_of(piped(STREAM, one(value, topic="told"))).values()
    assert stage == "decode"
    assert expected in error


def test_the_cause_is_named_too_where_the_type_is_read_first() -> None:
    for value in (
        gzip.compress(BODY),
        json.dumps(BODY.decode()).encode(),
        BODY + b"\n" + BODY,
        BODY.decode().encode("utf-16"),
    ):
        by_topic, by_field = (letters_of(piped(stream, one(value, topic="told"))) for stream in (STREAM, BY_FIELD))
        assert by_topic == by_field


def test_a_byte_order_mark_is_skipped_in_every_message_and_kept_in_a_dead_letter() -> None:
    mark = b"\xef\xbb\xbf"
    values: list[Any] = [mark + BODY, BODY, mark + b'{"type":"t","id":1.5}', mark, mark + BODY]
    for stream in (STREAM, BY_FIELD):
        raw = raw_slice(Part([Msg(value) for value in values], topic="told"))
        parsed = piped(stream, raw)
        assert [row["id"] for row in rows_of(parsed, Told)] == ["x", "x", "x"]
        assert [letter.number for letter in sorted(parsed.dead_letters, key=lambda each: each.number)] == [2, 3]
        assert [raw.values[number] for number in (0, 2)] == [values[0], values[2]]


@pytest.mark.parametrize(
    ("characters", "advice"),
    [
        (201, "String(400) or Text"),
        (3_214, "String(4000) or Text"),
        (16_000, "String(16383) or Text"),
        (20_000, "Text(1073741823)"),
    ],
)
def test_a_text_that_is_too_long_says_the_type_that_holds_it(characters: int, advice: str) -> None:
    ((stage, error),) = letters_of(piped(STREAM, one({"id": "长" * characters}, topic="told"))).values()
    assert (stage, error) == ("validate", f"id: {characters:,} characters, and the column holds 200: {advice}")


def test_a_key_that_is_too_long_is_told_no_type_that_no_key_can_have() -> None:
    stream = Stream(name="keyed", topics="told", route_by=RouteByTopic(), routes={"told": Keyed})
    errors = [letters_of(piped(stream, one({"id": "x" * n}, topic="told")))[0][1] for n in (21, 700, 800)]
    assert [error.split("holds 20")[1] for error in errors] == [
        ": String(40)",
        ": String(768)",
        ", and none that is a key holds more",
    ]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_row_or_a_dead_letter_with_a_sentence(value: bytes) -> None:
    for body in (value, b'{"id":"' + value + b'"}', b"\xef\xbb\xbf" + value):
        parsed = piped(STREAM, one(body, topic="told"))
        assert outcomes(parsed) == [0]
        assert all(len(error) > 10 for _, error in letters_of(parsed).values())


@given(st.text(max_size=30))
def test_what_is_utf_8_is_no_foreign_text_and_has_no_lone_surrogate(text: str) -> None:
    assert foreign_text(text.encode()) is None
    assert lone_surrogate(json.dumps(text).encode()) is None
