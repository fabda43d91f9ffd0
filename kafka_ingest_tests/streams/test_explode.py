"""Declaring that a message is several rows: what it makes of the table, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped
from sqlalchemy.schema import CreateTable

from kafka_ingest.errors import ConfigError, DeclarationError, SchemaMismatch
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.streams.declaration.declare import declared_stream
from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, field
from kafka_ingest.streams.sources import Key
from kafka_ingest.streams.stream import RouteByField, RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.exploded import LINES, READINGS, Line, Stock
from kafka_ingest_tests.support.made import Make
from kafka_ingest_tests.support.meaning import DIALECTS, meaning

INDEX = {"_kafka_index"}


def key_of(model: type[Model]) -> list[str]:
    return [column.name for column in model.__table__.primary_key]


def test_an_append_table_has_the_elements_place_in_its_key() -> None:
    assert key_of(Line) == ["_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_index"]
    names = [column.name for column in Line.__table__.columns]
    assert names[-5:] == ["_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_index", "_kafka_timestamp"]
    for dialect in DIALECTS:
        (line,) = (
            x for x in str(CreateTable(Line.__table__).compile(dialect=dialect)).splitlines() if "_kafka_index INT" in x
        )
        assert "DEFAULT 0" in line
        assert "NOT NULL" in line


def test_an_upsert_table_and_a_model_without_explode_have_no_more_columns_than_before(made: Make) -> None:
    assert not INDEX & set(Stock.__table__.columns.keys())
    assert key_of(Stock) == ["sku"]
    plain = made("x_plain")
    assert [c.name for c in plain.__table__.columns] == [
        "id", "_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_timestamp"
    ]  # fmt: skip
    assert TargetTable.of(plain).kafka_columns == (
        "_kafka_topic",
        "_kafka_partition",
        "_kafka_offset",
        "_kafka_timestamp",
    )


def test_a_base_of_several_models_may_say_it(made: Make) -> None:
    class Lined(AppendModel):
        __abstract__ = True
        explode = "lines"

    model = made("x_lined", Lined, columns={"sku": field(sa.String(5), path="lines.sku")})
    assert TargetTable.of(model).explode == ("lines",)
    assert key_of(model)[-1] == "_kafka_index"


@pytest.mark.parametrize(
    ("explode", "path", "error"),
    [
        ("lines", "sku", "no column is read from its elements"),
        ("lines", "lines", "column 'more' is read from 'lines' itself"),
        ("lines", "linesman.name", "no column is read from its elements"),
        ("lines[].parts", "lines.sku", "takes the path of one array"),
        ("lines.*", "lines.sku", "takes the path of one array"),
        ("", "sku", "takes the path of one array"),
        ("order..lines", "order.lines.sku", "takes the path of one array"),
    ],
)
def test_a_path_that_explodes_nothing_is_refused(made: Make, explode: str, path: str, error: str) -> None:
    model = made("x_refused", columns={"more": field(sa.String(5), path=path)}, explode=explode)
    with pytest.raises(ConfigError, match=error.replace("[", r"\[")):
        TargetTable.of(model)


def test_an_array_inside_a_column_that_is_read_whole_is_refused(made: Make) -> None:
    columns = {"order": field(sa.JSON), "sku": field(sa.String(5), path="order.lines.sku")}
    model = made("x_inside", columns=columns, explode="order.lines")
    with pytest.raises(ConfigError, match="lies inside 'order'"):
        Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic())


@pytest.mark.parametrize("explode", ["order.lines", ["order", "lines"], ("order", "lines")])
def test_the_path_may_be_given_by_its_parts(made: Make, explode: str | Sequence[str]) -> None:
    columns = {"sku": field(sa.String(5), path="order.lines.sku"), "key": field(sa.String(5), source=Key())}
    target = TargetTable.of(made("x_parts", columns=columns, explode=explode))
    assert target.explode == ("order", "lines")
    assert [bound.name for bound in target.bound if target.is_of_element(bound)] == ["sku"]


def test_messages_that_are_arrays_have_no_field_to_route_by() -> None:
    with pytest.raises(ConfigError, match="have no field 'type' to route by; route by topic or header"):
        replace(READINGS, route_by=RouteByField())


def test_a_column_may_be_called_explode(made: Make) -> None:
    model = made("x_called", columns={"explode": field(sa.String(5))})
    assert TargetTable.of(model).explode is None
    assert key_of(model)[-1] == "_kafka_offset"


def test_declared_in_yaml_it_is_the_same_table() -> None:
    columns: dict[str, Any] = {
        "order_id": {"type": "INTEGER", "path": "id"},
        "sku": {"type": "VARCHAR(10)", "path": "order.lines.sku"},
    }

    class Same(AppendModel):
        __tablename__ = "x_same"
        metadata = sa.MetaData()
        explode = "order.lines"
        order_id: Mapped[int] = field(sa.Integer, path="id")
        sku: Mapped[str] = field(sa.String(10), path="order.lines.sku")

    table = {"table": "x_same", "explode": "order.lines", "columns": columns, "indexes": {"i": ["_kafka_index"]}}
    given = {"name": "s", "topics": "t", "routes": {"t": table}, "route_by": "topic"}
    found = meaning(declared_stream(given))["x_same"]
    wanted = meaning(Stream(name="s", topics="t", routes={"t": Same}, route_by=RouteByTopic()))["x_same"]
    for each in ("columns", "explode", "fields", "is_upsert"):
        assert found[each] == wanted[each]
    assert found["ddl"][0] == wanted["ddl"][0]


@pytest.mark.parametrize(
    ("explode", "place", "error"),
    [("rows", "explode", "no column is read from its elements"), (5, "explode", "is 5")],
)
def test_declared_wrongly_the_error_says_where(explode: object, place: str, error: str) -> None:
    table = {"table": "x_wrong", "explode": explode, "columns": {"sku": {"type": "VARCHAR(10)", "path": "lines.sku"}}}
    given = {"name": "s", "topics": "t", "routes": {"t": table}, "route_by": "topic"}
    with pytest.raises(DeclarationError, match=error) as found:
        declared_stream(given)
    assert str(found.value).startswith(f"routes.t.{place}")


def test_a_table_that_was_made_without_the_place_is_refused_with_what_to_do(made: Make) -> None:
    sink = SQLiteSink(sa.make_url("sqlite://"))
    columns = {"order_id": field(sa.Integer), "customer": field(sa.String(20)), "sku": field(sa.String(10)),
               "quantity": field(sa.Integer), "price": field(sa.Numeric(10, 2))}  # fmt: skip
    with sink.engine.begin() as connection:
        plain = made("x_before", columns=columns)
        connection.execute(CreateTable(plain.__table__))
        connection.exec_driver_sql("ALTER TABLE x_before RENAME TO x_lines")
    with pytest.raises(SchemaMismatch, match="_kafka_index"):
        Target(LINES, sink)


def test_tombstones_of_such_a_table_name_all_of_its_key(made: Make) -> None:
    columns = {"line": field(sa.Integer, primary_key=True, path="lines.line")}
    model = made("x_deleted", UpsertModel, columns=columns, explode="lines", delete_on_tombstone=True)
    target = Target(Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic()))
    tombstones = [Msg(None, b'{"id": "a", "line": 1}'), Msg(None, b'{"id": "a"}')]
    target.receive({"id": "a", "lines": [{"line": 1}, {"line": 2}]}, *tombstones)
    assert target.all("SELECT id, line FROM x_deleted") == [("a", 2)]
    assert [letter[0] for letter in target.dead_letters()] == ["t[0]@2"]
