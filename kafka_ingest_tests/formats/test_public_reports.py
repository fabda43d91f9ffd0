"""Messages of public bug reports of others who read these formats, each with where it was reported."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal
from typing import Any

import fastavro
import pytest

from kafka_ingest import Avro, ConnectJson, JsonSchema, Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest_tests.formats.test_connect_json import field, message
from kafka_ingest_tests.formats.world import avro_message, avro_schema, becomes, framed, knows, record


def test_a_microtimestamp_of_debezium_keeps_its_leading_zero() -> None:
    """confluentinc/kafka-connect-bigquery#345: 10:22:47.048491 came as 10:22:47.484910."""
    expected = dt.datetime(2023, 7, 26, 2, 22, 47, 48491)  # the column's zone is eight hours ahead
    schema = field("int64", "io.debezium.time.MicroTimestamp")
    assert becomes("date", ConnectJson(), message(schema, 1690366967048491)) == expected
    avro = record({"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"})
    assert (
        becomes("date", Avro(), avro_message(avro, {"f": 1690366967048491}), knows({1: avro_schema(avro)})) == expected
    )


def test_a_date_of_debezium_is_a_date_and_no_integer() -> None:
    """confluentinc/kafka-connect-jdbc#1190: dates of MySQL came as the number of days."""
    found = becomes("date", ConnectJson(), message(field("int32", "io.debezium.time.Date"), 19129))
    assert found == dt.datetime(2022, 5, 16, 16)  # midnight of 2022-05-17 in Shanghai


def test_the_first_day_of_the_era_is_said_to_be_outside() -> None:
    """risingwavelabs/risingwave#16895: 0001-01-01 became a day of 0001 before Christ."""
    schema = field("int64", "io.debezium.time.MicroTimestamp")
    stage, error = becomes("date", ConnectJson(), message(schema, -62135596800000000))
    assert stage == "dates"
    assert "is outside the years 1000 to 9999" in error


@pytest.mark.parametrize("index", [b"\x01", b"\x02\x01", b"\x02\x7f", b"\x02\xc8\x01"])
def test_a_message_index_that_is_negative_or_beyond_the_file_is_no_other_message(index: bytes) -> None:
    """confluentinc/confluent-kafka-python#2271, confluentinc/confluent-kafka-javascript#467: read as another type, a crash."""
    text = 'syntax = "proto3"; message M { string f = 1; } message N { string f = 1; }'
    value = framed(index + b"\x0a\x01x")
    stage, _ = becomes("text", Protobuf(), value, knows({1: RegisteredSchema(1, "PROTOBUF", text)}))
    assert stage == "decode"


def test_a_message_of_protobuf_without_any_bytes_is_one_of_defaults() -> None:
    """apache/seatunnel#12037: refused with an invalid tag."""
    text = 'syntax = "proto3"; message M { string f = 1; }'
    assert becomes("text", Protobuf(), framed(b"\0"), knows({1: RegisteredSchema(1, "PROTOBUF", text)})) == ""


def test_a_decimal_with_more_digits_than_its_schema_says_is_not_cut() -> None:
    """fastavro/fastavro#452: 123456789012345.1 with precision 4 lost digits as it was read."""
    schema = record({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2})
    unscaled = int(Decimal("123456789012345.10").scaleb(2)).to_bytes(8, "big")
    value = framed(bytes([2 * len(unscaled)]) + unscaled)
    assert becomes("number", Avro(), value, knows({1: avro_schema(schema)})) == "123456789012345.1"


def test_a_precision_that_is_a_text_is_no_reason_to_stop() -> None:
    """fastavro/fastavro#261: a TypeError for `"precision": "5"`. The standard has it ignored: bytes are no number."""
    schema = record({"type": "bytes", "logicalType": "decimal", "precision": "5", "scale": 2})
    found = becomes("number", Avro(), framed(b"\x02\x01"), knows({1: avro_schema(schema)}))
    assert found == ("decode", "f: bytes in a column of type number")


@pytest.mark.parametrize("milliseconds", [-1, 253402300799999, 1596630011123, 4102444800001])
def test_each_millisecond_is_itself(milliseconds: int) -> None:
    """fastavro/fastavro#458: some came a millisecond off, by way of floats."""
    schema = record({"type": "long", "logicalType": "timestamp-millis"})
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(record("long")), {"f": milliseconds})
    found = becomes("date", Avro(), framed(out.getvalue()), knows({1: avro_schema(schema)}))
    assert found == dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)


def test_avro_without_a_prefix_whose_first_field_is_null_is_not_read_by_a_wrong_schema() -> None:
    """Apicurio/apicurio-registry#1479: its first byte is 0, as a prefix's is."""
    stage, error = becomes("text", Avro(), b"\x00\x06abc\x02", knows({1: avro_schema(record("string"))}))
    assert stage == "decode"
    assert error == f"the schema registry has no schema with id {0x06616263}, which the message names"


PLAIN: dict[str, Any] = {"Item": "600019", "f": 8.24, "Order Date": 15025}


@pytest.mark.parametrize("value", [PLAIN, {"schema": None, "payload": PLAIN}])
def test_json_without_a_schema_is_read_where_one_is_looked_for(value: dict[str, Any]) -> None:
    """confluentinc/kafka-connect-jdbc#266, #574, #903: "requires "schema" and "payload" fields"."""
    assert becomes("float", ConnectJson(), json.dumps(value).encode()) == 8.24


def test_json_behind_a_prefix_is_no_utf_32() -> None:
    """confluentinc/kafka-connect-jdbc#922: "Invalid UTF-32 character"."""
    value = framed(b'{"f": "x"}', 2213)
    assert becomes("text", JsonSchema(), value, knows({2213: RegisteredSchema(2213, "JSON", "{}")})) == "x"
