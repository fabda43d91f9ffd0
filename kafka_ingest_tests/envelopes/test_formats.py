"""Change events in Avro and Protobuf: the paths of an envelope are those of any nested value."""

from __future__ import annotations

from typing import Any

from kafka_ingest import Avro, Protobuf
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.testing.messages import Msg, letters_of, one, outcomes
from kafka_ingest_tests.envelopes.world import TOPIC, Ordered, stream
from kafka_ingest_tests.formats.world import avro_message, avro_schema, framed, knows

VALUE: dict[str, Any] = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "first_name", "type": "string", "default": ""},
    ],
}
ENVELOPE: dict[str, Any] = {
    "type": "record",
    "name": "Envelope",
    "namespace": "dbserver1.inventory.customers",
    "fields": [
        {"name": "before", "type": ["null", VALUE], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "fields": [
                    {"name": "table", "type": "string"},
                    {"name": "lsn", "type": ["null", "long"], "default": None},
                ],
            },
        },
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
}
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}


def test_events_in_avro_are_rows_and_deletes() -> None:
    def event(op: str, before: Any, after: Any, number: int) -> Msg:
        source = {"table": "customers", "lsn": 5}
        found = {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1}
        return Msg(avro_message(ENVELOPE, found, 1), key=avro_message(KEY, {"id": number}, 2))

    used = stream(Ordered, value_format=Avro(), key_format=Avro())
    find = knows({1: avro_schema(ENVELOPE, 1), 2: avro_schema(KEY, 2)})
    raw = one(
        event("c", None, {"id": 1, "first_name": "Anne"}, 1),
        event("d", {"id": 2, "first_name": ""}, None, 2),
        event("d", None, None, 3),
        event("x", None, None, 4),
        topic=TOPIC,
    )
    parsed = run_pipeline(StreamDecoder(used, find).decode(raw), used)
    (rows,), (deletes,) = parsed.rows.values(), parsed.deletes.values()
    assert arrow_column(rows, "first_name").to_pylist() == ["Anne"]
    assert list(zip(*(arrow_column(deletes, name).to_pylist() for name in ("id", "lsn")), strict=True)) == [
        (2, 5),
        (3, 5),
    ]
    assert list(letters_of(parsed)) == [3]
    assert outcomes(parsed) == [0, 1, 2, 3]


PROTO = """
syntax = "proto3";
message Envelope { Value before = 1; Value after = 2; Source source = 3; string op = 4; }
message Value { int32 id = 1; string first_name = 2; }
message Source { int64 lsn = 1; }
"""


def test_events_in_protobuf_are_rows_and_deletes() -> None:
    used = stream(Ordered, value_format=Protobuf(), key_format=Protobuf())
    find = knows({1: RegisteredSchema(1, "PROTOBUF", PROTO)})
    source = b"\x1a\x02\x08\x05"  # lsn 5
    created = b"\x12\x08\x08\x01\x12\x04Anne" + source + b"\x22\x01c"
    deleted = b"\x0a\x02\x08\x02" + source + b"\x22\x01d"
    raw = one(*(framed(b"\0" + each) for each in (created, deleted)), topic=TOPIC)
    parsed = run_pipeline(StreamDecoder(used, find).decode(raw), used)
    assert letters_of(parsed) == {}
    (rows,), (deletes,) = parsed.rows.values(), parsed.deletes.values()
    assert [arrow_column(rows, name).to_pylist() for name in ("id", "first_name", "lsn")] == [[1], ["Anne"], [5]]
    assert [arrow_column(deletes, name).to_pylist() for name in ("id", "lsn")] == [[2], [5]]
