# A message is one line.
"""Arrays of public reports about exploding them elsewhere, each with where it was reported."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.json import Json
from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice, rows_of
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.formats.world import avro_message, avro_schema, knows

TEXT, NUMBER = sa.String(40), sa.Integer


def columns(**paths: tuple[Any, str | list[str]]) -> dict[str, Any]:
    return {name: field(kind, path=path) for name, (kind, path) in paths.items()}


def plain(name: str, base: type[Model], explode: str, body: dict[str, Any]) -> type[Model]:
    """A model without the column that made ones have."""
    metadata = sa.MetaData()
    return type(name, (base,), {"__tablename__": name, "metadata": metadata, "explode": explode, **body})


def target(model: type[Model], form: Format | None = None) -> Target:
    return Target(
        Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic(), value_format=form or Json())
    )


def test_a_nested_array_goes_into_a_table() -> None:
    """confluentinc/kafka-connect-jdbc#601: "type doesn't have a mapping to the SQL database column type"."""
    model = plain(
        "stuff",
        AppendModel,
        "stuff",
        columns(name=(TEXT, "name"), id=(NUMBER, "stuff.id"), color=(TEXT, "stuff.color")),
    )
    found = target(model)
    found.receive({"name": "Bob", "stuff": [{"id": 1, "color": "red"}, {"id": 2, "color": "blue"}]})
    assert found.rows(model, "name", "id", "color") == [("Bob", 1, "red"), ("Bob", 2, "blue")]


def test_two_elements_that_are_equal_are_two_rows() -> None:
    """confluentinc/kafka-connect-jdbc#821: "it means 2 records add into the database"."""
    model = plain("log", AppendModel, "log", columns(user_id=(TEXT, "user_id"), roll=(sa.Float, "log.roll")))
    found = target(model)
    element = {"timestamp": 132991613189, "roll": -0.06393359659461391, "pitch": -0.17433374048812103}
    found.receive({"user_id": "9b17", "firearm_id": "5db8", "log": [element, element]})
    assert found.rows(model, "user_id", "roll", "_kafka_index") == [
        ("9b17", element["roll"], 0),
        ("9b17", element["roll"], 1),
    ]


def test_a_message_that_is_an_array_is_rows() -> None:
    """hpgrahsl/kafka-connect-mongodb#102, risingwavelabs/risingwave#6794, apache/flink#13081."""
    body = columns(name=(TEXT, "name")) | {"age": field(NUMBER, nullable=True)}
    model = plain("people_of_arrays", AppendModel, "[]", body)
    found = target(model)
    arrays = [[{"name": "john", "age": 20}, {"name": "jane", "age": 22}], [{"name": "bob"}, {"name": "joe"}]]
    found.receive(*(Msg(json.dumps(array).encode()) for array in arrays))
    wanted = [("john", 20, 0, 0), ("jane", 22, 0, 1), ("bob", None, 1, 0), ("joe", None, 1, 1)]
    assert found.rows(model, "name", "age", "_kafka_offset", "_kafka_index") == wanted


def test_names_with_dots_and_slashes_are_paths_in_parts() -> None:
    """openconfig/gnmic#84: an array of events in one message, which Druid cannot handle."""
    octets = "/interfaces/interface/state/counters/in-octets"
    body = columns(at=(sa.BigInteger, "timestamp"), source=(TEXT, "tags.source")) | {
        "octets": field(sa.BigInteger, path=["values", octets], nullable=True)
    }
    model = plain("gnmic", AppendModel, "[]", body)
    found = target(model)
    tags = {"interface_name": "Ethernet34/1", "source": "node1:6030"}
    found.receive(
        Msg(
            b'[{"timestamp": 1680417104877454555, "tags": {"source": "node1:6030"}, "values": {"%s": 105458054050005}}, '
            b'{"timestamp": 1680417104877454555, "tags": {"source": "node1:6030"}, "values": {}}]' % octets.encode()
        )
    )
    assert found.rows(model, "source", "octets") == [(tags["source"], 105458054050005), (tags["source"], None)]


def test_messages_without_elements_are_accounted_for() -> None:
    """dcmoura/spyql#69, NVIDIA/cudf#7466, trinodb/trino#9677 and #3812: they vanish without a word."""
    model = plain(
        "departments", AppendModel, "departments", columns(name=(TEXT, "name"), number=(NUMBER, "departments.value"))
    )
    found = target(model)
    found.receive(
        {"name": "Alice", "departments": [1, 4]},
        {"name": "Bob", "departments": [2]},
        {"name": "Charles", "departments": []},
        {"name": "Dora", "departments": None},
    )
    assert found.rows(model, "name", "number") == [("Alice", 1), ("Alice", 4), ("Bob", 2)]
    assert found.batches() == [("t[0]@[0,4)", "live", 2, 0, 0, 2, 0)]


def test_a_null_array_does_not_take_the_elements_of_the_message_before() -> None:
    """StarRocks/starrocks#20573: the second row came with the first one's elements."""
    model = plain("offsets", AppendModel, "c01", columns(c00=(NUMBER, "c00"), each=(NUMBER, "c01.value")))
    found = target(model)
    found.receive({"c00": 1, "c01": [1, 2], "c02": [3, 4, 5]}, {"c00": 1, "c01": None, "c02": [3, 4, 5]})
    assert found.rows(model, "c00", "each", "_kafka_offset") == [(1, 1, 0), (1, 2, 0)]


def test_numbers_of_an_array_are_not_null() -> None:
    """confluentinc/ksql#5723: EXPLODE gave five NULLs."""
    model = plain("arraytest", AppendModel, "val", {"val": field(NUMBER, path="val.value", nullable=True)})
    found = target(model)
    found.receive({"val": [1, 2, 3, 4, 5]})
    assert [row[0] for row in found.rows(model, "val")] == [1, 2, 3, 4, 5]


def test_objects_that_are_null_inside_elements_are_null_columns() -> None:
    """confluentinc/ksql#7185: a null pointer in the log for each."""
    body = {
        "result": field(NUMBER, path="data.game.score.result", nullable=True),
        "cards": field(NUMBER, path="data.refs.cards"),
    }
    model = plain("games", AppendModel, "data", body)
    found = target(model)
    found.receive({"data": [{"game": {"score": None}, "refs": {"cards": 1}}, {"game": None, "refs": {"cards": 2}}]})
    assert found.rows(model, "result", "cards") == [(None, 1), (None, 2)]


def test_columns_around_the_array_are_in_every_row() -> None:
    """ClickHouse/ClickHouse#8124 and #16064: columns of nested data were left empty."""
    model = plain(
        "bets",
        AppendModel,
        "parts.category_name",
        columns(bet=(NUMBER, "bet_id"), name=(TEXT, "parts.category_name.value")),
    )
    found = target(model)
    found.receive({"parts": {"category_name": ["Test1", "Test2"]}, "bet_id": 1})
    assert found.rows(model, "bet", "name") == [(1, "Test1"), (1, "Test2")]


def test_elements_have_a_business_key_with_a_field_around_them() -> None:
    """scylladb/kafka-connect-scylladb#102: dealId and userId are the key."""
    body = {
        "deal": field(TEXT, primary_key=True, path="dealId"),
        "user": field(TEXT, primary_key=True, path="data.userId"),
        "brand": field(TEXT, path="data.brandName"),
    }
    model = plain("deals", UpsertModel, "data", body)
    found = target(model)
    first = {"dealId": "wwww", "data": [{"userId": "xxxx", "brandName": "a"}, {"userId": "yyyy", "brandName": "b"}]}
    found.receive(first, {"dealId": "wwww", "data": [{"userId": "yyyy", "brandName": "c"}]})
    assert sorted(found.rows(model, "deal", "user", "brand")) == [("wwww", "xxxx", "a"), ("wwww", "yyyy", "c")]


def test_an_array_of_nulls_beside_an_array_of_records_is_no_trouble() -> None:
    """confluentinc/kafka-connect-jdbc#349: a nested JSON into MySQL."""
    line = {
        "type": "record",
        "name": "data3",
        "fields": [{"name": "data4", "type": "string"}, {"name": "data5", "type": "string"}],
    }
    schema = {
        "type": "record",
        "name": "json",
        "fields": [
            {"name": "data1", "type": {"type": "array", "items": "null"}},
            {"name": "data2", "type": "string"},
            {"name": "data3", "type": {"type": "array", "items": line}},
        ],
    }
    model = plain("nested", AppendModel, "data3", columns(two=(TEXT, "data2"), four=(TEXT, "data3.data4")))
    found = target(model, Avro())
    value = avro_message(
        schema, {"data1": [None], "data2": "x", "data3": [{"data4": "a", "data5": "b"}, {"data4": "c", "data5": "d"}]}
    )
    raw = raw_slice(Part([Msg(value)], topic="t"))
    parsed = run_pipeline(StreamDecoder(found.stream, knows({1: avro_schema(schema)})).decode(raw), found.stream)
    assert rows_of(parsed, model) == [{"two": "x", "four": "a"}, {"two": "x", "four": "c"}]


def test_an_envelope_of_records_is_unwrapped() -> None:
    """splunk/kafka-connect-splunk#446: `{"records": [{…}, {…}]}` of Azure's diagnostics."""
    model = plain("diagnostics", AppendModel, "records", columns(category=(TEXT, "records.category")))
    found = target(model)
    found.receive({"records": [{"category": "Audit"}, {"category": "SignIn"}]})
    assert found.rows(model, "category") == [("Audit",), ("SignIn",)]
