"""How messages are written, and what else they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any

import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.json_schema import json_schema
from kafka_ingest.testing.messages import Msg
from kafka_ingest_tests.formats.world import avro_message, framed
from kafka_ingest_tests.support.proposing import columns, kind, only_model, propose, times


def test_connects_json_is_read_by_the_schema_in_it() -> None:
    fields = [
        {"field": "id", "type": "int64", "optional": False},
        {"field": "day", "type": "int32", "name": "io.debezium.time.Date", "optional": True},
        {
            "field": "amount",
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": "2", "connect.decimal.precision": "10"},
        },
        {"field": "name", "type": "string", "optional": True, "doc": "Of the customer"},
    ]
    schema = {"type": "struct", "fields": fields}
    some = [{"schema": schema, "payload": {"id": n, "day": 19844, "amount": "AMg=", "name": None}} for n in range(5)]
    proposal = propose(*some)
    assert "value_format=ConnectJson()," in proposal.text
    assert {name: kind(proposal, name) for name in columns(proposal)} == {
        "id": "BigInteger",
        "day": "Date",
        "amount": "Numeric(10, 2)",
        "name": "Text",
    }
    assert 'comment="Of the customer"' in proposal.text
    assert proposal.rows["things"][0] == {"id": 0, "day": "2024-05-01", "amount": "2", "name": None}


def test_connects_json_without_a_schema_is_read_too() -> None:
    proposal = propose(*times(3, {"schema": None, "payload": {"id": 1}}))
    assert list(columns(proposal)) == ["id"]
    assert proposal.outcomes.dead == 0


def registry(**schemas: RegisteredSchema) -> Any:
    known = {schema.id: schema for schema in schemas.values()}

    def find(ids: Set[int]) -> Mapping[int, RegisteredSchema]:
        return {number: known[number] for number in ids if number in known}

    return find


AVRO = {
    "type": "record",
    "name": "T",
    "fields": [
        {"name": "id", "type": "long", "doc": "The trade's number"},
        {"name": "side", "type": {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {"name": "createdAt", "type": "long"},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "parent", "type": ["null", "T"]},
        {"name": "note", "type": ["null", "string"]},
        {"name": "either", "type": ["string", "long"]},
    ],
}


def test_avro_is_read_by_the_registrys_schema_and_a_plain_number_may_still_be_a_date() -> None:
    value = {
        "id": 1,
        "side": "BUY",
        "price": Decimal("1.50"),
        "createdAt": 1_714_550_400_000,
        "tags": {"a": "b"},
        "parent": None,
        "note": "x",
        "either": 7,
    }
    find = registry(t=RegisteredSchema(3, "AVRO", json.dumps(AVRO)))
    proposal = propose(*[avro_message(AVRO, value, 3)] * 120, find_schemas=find)
    assert {name: (kind(proposal, name), column.is_nullable) for name, column in columns(proposal).items()} == {
        "id": ("BigInteger", False),
        "side": ("String(16)", False),
        "price": ("Numeric(10, 2)", False),
        "created_at": ("date_field()", False),
        "tags": ("JSON", False),
        "parent": ("JSON", True),
        "note": ("String(16)", True),
        "either": ("JSON", False),
    }
    assert "value_format=Avro()," in proposal.text
    assert proposal.rows["things"][0]["created_at"] == "2024-05-01 08:00:00.000000"
    assert proposal.outcomes.dead == 0


PROTO = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Order {
  int64 id = 1;
  Customer customer = 2;
  google.protobuf.Timestamp placed_at = 3;
  repeated string tags = 4;
  optional string note = 5;
  uint64 big = 6;
  message Customer { string name = 1; bool vip = 2; }
}"""


def test_protobuf_is_read_by_the_registrys_schema() -> None:
    find = registry(o=RegisteredSchema(4, "PROTOBUF", PROTO))
    body = b"\0\x08\x07\x12\x05\x0a\x03Ada\x1a\x06\x08\x80\xd8\xc7\xb1\x06"
    proposal = propose(*[framed(body, 4)] * 3, find_schemas=find)
    assert {name: (kind(proposal, name), column.is_nullable) for name, column in columns(proposal).items()} == {
        "id": ("BigInteger", False),
        "customer_name": ("String(16)", True),
        "customer_vip": ("Boolean", True),
        "placed_at": ("date_field()", True),
        "tags": ("JSON", True),
        "note": ("Text", True),
        "big": ("Numeric(20, 0)", False),
    }
    assert proposal.outcomes.dead == 0


def test_json_behind_the_registrys_prefix_is_read_by_its_schema_kafka_connects_types_among_it() -> None:
    some = [framed(json.dumps({"id": 7, "at": "2024-05-01T10:00:00Z", "fee": "AMg="}).encode(), 5)] * 3
    document = {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {"type": "integer"},
            "at": {"type": "string", "format": "date-time", "description": "When"},
            "address": {"$ref": "#/definitions/address"},
            "score": {"oneOf": [{"type": "null"}, {"type": "number"}]},
            "fee": {
                "type": "number",
                "title": "org.apache.kafka.connect.data.Decimal",
                "connect.type": "bytes",
                "connect.parameters": {"scale": "2"},
            },
        },
        "definitions": {"address": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 60}}}},
    }
    find = registry(s=RegisteredSchema(5, "JSON", json.dumps(document)))
    proposal = propose(*some, find_schemas=find)
    assert {name: (kind(proposal, name), column.is_nullable) for name, column in columns(proposal).items()} == {
        "id": ("BigInteger", False),
        "at": ("date_field()", True),
        "address_city": ("String(64)", True),
        "score": ("Float", True),
        "fee": ("Numeric(38, 2)", True),
    }
    assert proposal.outcomes.dead == 0
    assert 'comment="When"' in proposal.text


def test_a_message_that_is_an_array_is_a_row_for_each_element() -> None:
    some = [Msg([{"id": 2 * n, "sku": "a"}, {"id": 2 * n + 1, "sku": "b"}], b"key") for n in range(60)]
    proposal = propose(*[Msg(json.dumps(each.value).encode(), each.key) for each in some], Msg(b"[]"))
    assert 'explode = "[]"' in proposal.text
    assert {name: column.path for name, column in columns(proposal).items()} == {"id": ("id",), "sku": ("sku",)}
    assert only_model(proposal).is_upsert, "the id is that of an element"
    assert (proposal.outcomes.rows, proposal.outcomes.ignored, proposal.outcomes.dead) == ({"things": 120}, 1, 0)
    plain = propose(b'[{"sku": "a"}, {"sku": "b"}]', b'[{"sku": "a"}]')
    assert "class Things(AppendModel):" in plain.text
    assert "Each element of a message is a row" in plain.text
    assert plain.outcomes.rows == {"things": 3}


def test_an_array_of_objects_in_a_message_is_json_and_said_to_be_rows_for_a_model_that_wants_them() -> None:
    proposal = propose(*times(3, {"id": 1, "lines": [{"sku": "a"}]}))
    assert kind(proposal, "lines_") == "JSON"
    assert columns(proposal)["lines_"].all_notes == ("objects in an array: a model with explode has a row for each",)


def test_lines_of_text_are_one_column() -> None:
    proposal = propose(b"a line of a log", "eine Zeile mit ü".encode())
    assert list(columns(proposal)) == ["value"]
    assert "import kafka_ingest\n" in proposal.text
    assert "value_format=kafka_ingest.Text()," in proposal.text
    assert proposal.outcomes.rows == {"things": 2}
    assert proposal.plan.notes[0].startswith("the messages are texts, not JSON")


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        ('{"a": 1}'.encode("utf-16"), "is text in UTF-16"),
        (gzip.compress(b'{"a": 1}', mtime=0), "is compressed with gzip"),
        (b"[1, 2]", "are JSON arrays without an object"),
        (json.dumps('{"a": 1}').encode(), "JSON in a JSON string (encoded twice)"),
        (b"<a/>", "the value is XML"),
        (b"{'a': 1}", "a Python dict as its text"),
        (b'{"a": 1}\n{"a": 2}', "a line each (NDJSON)"),
        (b"42", "the value is a JSON number"),
        (b"{}", "have no field with a value"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_it_is(value: bytes, refusal: str) -> None:
    with pytest.raises(ConfigError) as caught:
        propose(value, value)
    assert refusal in str(caught.value)


def test_ids_that_the_registry_does_not_know_are_refused() -> None:
    with pytest.raises(ConfigError, match="has no schema under them"):
        propose(framed(b"\x02", 9), find_schemas=registry())


def test_an_empty_topic_is_refused_in_a_sentence_unless_a_schema_says_what_its_messages_are() -> None:
    with pytest.raises(ConfigError, match="topic 'things' is empty, so nothing says what its messages are"):
        propose()
    proposal = propose(schema=RegisteredSchema(3, "AVRO", json.dumps(AVRO)))
    assert "value_format=Avro()," in proposal.text
    assert len(only_model(proposal).columns) == 8
    with pytest.raises(ConfigError, match="no message with a value among the 1 that were read"):
        propose(Msg(None, b"k"))


def test_change_events_of_debezium_are_rows_of_their_table_with_its_key() -> None:
    def event(op: str, before: Any, after: Any, key: Any) -> Msg:
        value = {"op": op, "before": before, "after": after, "source": {"lsn": 1}, "ts_ms": 1}
        return Msg(value, json.dumps(key).encode())

    some = [event("u", None, {"id": n % 40, "name": "x"}, {"id": n % 40}) for n in range(120)]
    proposal = propose(*some, event("d", {"id": 3}, None, {"id": 3}), Msg(None, b'{"id": 3}'))
    assert "    envelope=Debezium(),\n" in proposal.text
    assert "    deletes = True\n" in proposal.text
    assert {name: column.is_key for name, column in columns(proposal).items()} == {"id": True, "name": False}
    assert (proposal.outcomes.rows, proposal.outcomes.deletes, proposal.outcomes.dead) == ({"things": 120}, 2, 0)


def test_change_events_in_connects_json_have_keys_in_it_too() -> None:
    row = {"type": "struct", "optional": True, "fields": [{"field": "id", "type": "int32"}]}
    fields = [{"field": "after", **row}, {"field": "op", "type": "string"}, {"field": "source", "type": "struct"}]
    schema = {"type": "struct", "fields": fields}

    def event(n: int) -> Msg:
        payload = {"op": "c", "before": None, "after": {"id": n}, "source": {"lsn": 1}}
        key = {"schema": {"type": "struct", "fields": row["fields"]}, "payload": {"id": n}}
        return Msg({"schema": schema, "payload": payload}, json.dumps(key).encode())

    proposal = propose(*map(event, range(120)))
    assert "    value_format=ConnectJson(),\n    key_format=ConnectJson(),\n    envelope=Debezium(),\n" in proposal.text
    assert [column.name for column in only_model(proposal).columns if column.is_key] == ["id"]
    assert proposal.outcomes.rows == {"things": 120}


@pytest.mark.parametrize(
    ("message", "envelope", "explode"),
    [
        ({"database": "d", "table": "t", "type": "insert", "ts": 1, "data": {"id": 1}}, "Maxwell()", None),
        (
            {"database": "d", "table": "t", "type": "INSERT", "es": 1, "isDdl": False, "data": [{"id": 1}]},
            "Canal()",
            "[]",
        ),
        ({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"id": 1}}, "CloudEvents()", None),
    ],
)
def test_other_envelopes_are_recognised(message: dict[str, Any], envelope: str, explode: str | None) -> None:
    proposal = propose(*times(3, message))
    assert f"    envelope={envelope},\n" in proposal.text
    assert list(columns(proposal)) == ["id"]
    assert only_model(proposal).explode == explode
    assert proposal.outcomes.rows == {"things": 3}


def test_cloud_events_in_binary_mode_have_no_envelope_and_are_said_to_be() -> None:
    proposal = propose(*[Msg({"a": 1}, headers=[("ce_specversion", b"1.0")])] * 3)
    assert proposal.plan.notes[0].startswith("CloudEvents in binary mode")
    assert "envelope=" not in proposal.text


def test_a_json_field_of_an_object_that_is_missing_or_null_is_null() -> None:
    proposal = propose({"a": {"list": [1]}}, {"a": None}, {})
    assert [row["a_list"] for row in proposal.rows["things"]] == ["[1]", None, None]


def test_a_path_that_no_decoder_takes_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="Renamed field names must not contain"):
        json_schema("M", [(('a"b',), (int | None, None))])
