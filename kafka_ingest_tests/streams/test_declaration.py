"""Streams declared as data: the words are Python's."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest import (
    Avro,
    Bytes,
    Canal,
    Cast,
    CloudEvents,
    ConnectJson,
    Constant,
    Debezium,
    Envelope,
    Format,
    Header,
    Json,
    JsonSchema,
    Key,
    Maxwell,
    MessageEnvelope,
    Offset,
    Partition,
    Protobuf,
    Text,
    Timestamp,
    Topic,
    translate_dates,
)
from kafka_ingest.dates import DateRule
from kafka_ingest.errors import DeclarationError
from kafka_ingest.streams.declaration import StreamDeclaration
from kafka_ingest.streams.declaration.column_types import COLUMN_TYPES, column_type
from kafka_ingest.streams.declaration.vocabulary import (
    BatchDeclaration,
    CastDeclaration,
    ColumnDeclaration,
    Declaration,
    RouteByDeclaration,
    SourceDeclaration,
    SourceName,
    TableDeclaration,
)
from kafka_ingest.streams.model import MICROSECONDS, AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.sources import Source
from kafka_ingest.streams.stream import (
    BatchPolicy,
    RouteByField,
    RouteByHeader,
    RouteByTopic,
    Stream,
)
from kafka_ingest_tests.support.declared import COLUMNS, TABLE, column, stream, table

# The words.


def defaults(declaration: type[Declaration]) -> dict[str, Any]:
    fields = {field.alias or name: field for name, field in declaration.model_fields.items()}
    return {name: field.get_default(call_default_factory=True) for name, field in fields.items()}


def of_dataclass(kind: type[Any]) -> dict[str, Any]:
    missing = dataclasses.MISSING
    return {
        each.name: each.default_factory() if each.default_factory is not missing else each.default
        for each in dataclasses.fields(kind)
        if each.default is not missing or each.default_factory is not missing
    }


def of_function(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


# What has another name, as it is no word of Python there.
RENAMED = {"type_": "type"}


def test_a_stream_is_declared_with_the_words_of_python() -> None:
    assert set(StreamDeclaration.model_fields) == {each.name for each in dataclasses.fields(Stream)}
    assert set(BatchDeclaration.model_fields) == {each.name for each in dataclasses.fields(BatchPolicy)}
    of_models = {name for name in vars(UpsertModel) if not name.startswith("_")}
    assert of_models - {"registry", "metadata"} < set(TableDeclaration.model_fields)
    words = {RENAMED.get(word, word) for word in (*of_function(field), *of_function(date_field), "type_")}
    assert words < set(ColumnDeclaration.model_fields)
    assert set(CastDeclaration.model_fields) == {each.name for each in dataclasses.fields(Cast)}
    sources = {kind.__name__.lower() for kind in typing.get_args(Source)}
    assert sources == {*typing.get_args(SourceName), *SourceDeclaration.model_fields}


def test_what_the_schema_calls_the_default_is_pythons() -> None:
    python = of_dataclass(Stream)
    found = defaults(StreamDeclaration)
    for name in python.keys() - {"route_by", "batch", "value_format", "key_format"}:
        assert found[name] == python[name], name
    assert (python["route_by"], RouteByDeclaration.model_construct().field) == (RouteByField(), RouteByField().path)
    for name in ("value_format", "key_format"):
        assert (python[name], found[name]) == (Json(), "json")
    assert defaults(BatchDeclaration) == of_dataclass(BatchPolicy)
    assert defaults(CastDeclaration) == of_dataclass(Cast)
    columns = defaults(ColumnDeclaration)
    for name, default in (of_function(field) | of_function(date_field)).items():
        if name == "type_":
            continue
        assert columns[name] == (list(default) if name == "formats" else default), name
    tables = defaults(TableDeclaration)
    for name in ("order_by", "deletes", "delete_on_tombstone", "tombstone_key"):
        assert tables[name] == getattr(UpsertModel, name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("json_schema", JsonSchema),
        ("avro", Avro),
        ("protobuf", Protobuf),
        ("connect_json", ConnectJson),
        ("text", Text),
        ("bytes", Bytes),
    ],
)
def test_a_format_is_declared_by_its_name(name: str, kind: type[Format]) -> None:
    declared = stream(value_format=name, key_format=name)
    assert (declared.value_format, declared.key_format) == (kind(), kind())


@pytest.mark.parametrize(
    ("name", "kind"), [("debezium", Debezium), ("maxwell", Maxwell), ("canal", Canal), ("cloudevents", CloudEvents)]
)
def test_an_envelope_is_declared_by_its_name(name: str, kind: type[MessageEnvelope]) -> None:
    row = {
        "table": "quotes",
        "columns": {
            "id": {"type": "BIGINT", "primary_key": True},
            "lsn": {"type": "BIGINT", "source": {"envelope": "source.lsn"}},
        },
        "deletes": True,
        "order_by": "lsn",
    }
    declared = stream(envelope=name, delete_when={"op": ["d", 1]}, on_truncate="ignore", routes={"quote": row})
    assert (declared.envelope, declared.delete_when, declared.on_truncate) == (kind(), {"op": ["d", 1]}, "ignore")
    (target,) = declared.targets
    assert target.bound[1].rule.source == Envelope("source.lsn")
    assert target.delete_columns[:2] == ("id", "lsn")


def test_what_does_not_fit_an_envelope_is_said_where_it_stands() -> None:
    with pytest.raises(DeclarationError, match=r"delete_when.*each a text, an integer or a boolean"):
        stream(delete_when={"op": 1.5})


def test_what_is_left_out_is_pythons_default() -> None:
    declared = stream()
    python = Stream(name="quotes", topics="quotes", routes=declared.routes)
    assert declared == python


def test_everything_that_a_stream_has_can_be_said() -> None:
    declared = stream(
        topics=["a", "b"],
        route_by={"header": "kind"},
        batch={"min_messages": 5, "linger_seconds": None, "max_wait_seconds": 2},
        steps=["kafka_ingest.translate_dates"],
        timezone="Asia/Shanghai",
        start="2026-05-01T00:00:00+08:00",
        unrouted="ignore",
        on_data_loss="skip",
        max_dead_letter_ratio=1,
        warn_dead_letter_ratio=0.25,
        fresh_warn={"minutes": 90},
        fresh_fail=None,
        evolve=True,
        window="daily",
        window_start="2025-01-01T00:00:00Z",
        dead_letter_topic="bad",
        group_id="g",
    )
    assert declared == Stream(
        name="quotes",
        topics=("a", "b"),
        routes=declared.routes,
        route_by=RouteByHeader("kind"),
        batch=BatchPolicy(min_messages=5, max_wait_seconds=2),
        steps=(translate_dates,),
        timezone="Asia/Shanghai",
        start=dt.datetime(2026, 4, 30, 16, tzinfo=dt.timezone.utc),
        unrouted="ignore",
        on_data_loss="skip",
        max_dead_letter_ratio=1.0,
        warn_dead_letter_ratio=0.25,
        fresh_warn=dt.timedelta(minutes=90),
        fresh_fail=None,
        evolve=True,
        window="daily",
        window_start=dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc),
        dead_letter_topic="bad",
        group_id="g",
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [({"field": "a.b"}, RouteByField("a.b")), ({"header": "h"}, RouteByHeader("h")), ("topic", RouteByTopic())],
)
def test_the_message_type_stands_in_a_field_a_header_or_is_the_topic(given: Any, meant: object) -> None:
    assert stream(route_by=given).route_by == meant


def test_a_length_of_time_may_come_as_what_a_template_gives() -> None:
    assert stream(fresh_warn=dt.timedelta(hours=1)).fresh_warn == dt.timedelta(hours=1)


# Tables.


def test_a_column_with_its_type_alone_is_a_column_with_that_type() -> None:
    short = table(columns={"price": "DECIMAL(12,2)"}).targets[0].bound[0]
    long = table(columns={"price": {"type": "DECIMAL(12,2)"}}).targets[0].bound[0]
    assert (short.name, short.rule, repr(short.column.type)) == (long.name, long.rule, repr(long.column.type))
    assert not short.column.nullable


def test_a_date_is_read_by_the_words_of_python() -> None:
    words = {"unit": "ms", "zones": {"CST": "Asia/Shanghai"}, "formats": ["%Y|%m|%d"], "day_first": True}
    (bound,) = table(columns={"at": {"type": "DATETIME(6)", **words}}).targets[0].bound
    assert bound.rule.dates == DateRule(("%Y|%m|%d",), "UTC", True, "ms", (("CST", "Asia/Shanghai"),))


def test_a_column_may_keep_what_a_message_does_not_carry() -> None:
    columns = {
        "id": {"type": "BIGINT", "primary_key": True},
        "a b": {"type": "TEXT", "nullable": True, "keep_absent": True},
    }
    columns["note"] = {"type": "TEXT", "default": "", "keep_absent": "__debezium_unavailable_value"}
    (target,) = table(columns=columns).targets
    assert [(bound.name, bound.rule.keep_absent) for bound in target.kept] == [
        ("a b", True),
        ("note", "__debezium_unavailable_value"),
    ]
    assert target.columns[-2:] == ("_kafka_place_a b", "_kafka_place_note")
    for kept, said in ((1, "is 1, not"), (True, "let it be nullable, or give it a default")):
        with pytest.raises(DeclarationError, match=said):
            table(columns=columns | {"note": {"type": "TEXT", "keep_absent": kept}})


def test_a_key_makes_it_an_upsert_table() -> None:
    keyed = table(columns=COLUMNS | {"symbol": {"type": "VARCHAR(16)", "primary_key": True}})
    assert [issubclass(each.routes["quote"], UpsertModel) for each in (stream(), keyed)] == [False, True]
    assert [each.targets[0].key for each in (stream(), keyed)] == [(), ("symbol",)]


def test_message_types_with_one_declaration_share_the_table() -> None:
    shared = stream(routes={"a": TABLE, "b": TABLE | {}})
    assert shared.routes["a"] is shared.routes["b"]
    assert len(shared.targets) == 1


def test_a_declaration_may_be_loaded_twice() -> None:
    first, second = stream(), stream(routes={"quote": TABLE | {"columns": {"other": "JSON"}}})
    assert [each.targets[0].columns[0] for each in (first, second)] == ["symbol", "other"]


def test_the_description_is_the_models_docstring() -> None:
    assert table(description="A price.").routes["quote"].__doc__ == "A price."
    assert stream().routes["quote"].__doc__ is None


def test_a_column_may_be_named_as_what_sqlalchemy_or_a_model_keeps_for_itself() -> None:
    names = ["metadata", "metadata_", "registry", "order_by", "__table__", "select", "a b", "名"]
    (target,) = table(columns=dict.fromkeys(names, "TEXT")).targets
    assert [bound.name for bound in target.bound] == names
    assert [bound.rule.path for bound in target.bound] == [(name,) for name in names]


@pytest.mark.parametrize("text", [*COLUMN_TYPES, "INT", "DECIMAL(5)", "DECIMAL(5, 2)", "ENUM('it''s')"])
def test_each_type_that_is_listed_is_one(text: str) -> None:
    declared = text.replace("(n)", "(6)").replace("(p,s)", "(9,2)")
    assert column(type=declared).targets[0].bound[0].name == "price"


def test_members_of_an_enum_are_read_as_sql_has_them() -> None:
    kind = column_type("ENUM('it''s','a,b', 'c')")
    assert isinstance(kind, sa.Enum)
    assert kind.enums == ["it's", "a,b", "c"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("MEDIUMTEXT", mysql.MEDIUMTEXT()),
        ("TINYINT", mysql.TINYINT()),
        ("INTEGER UNSIGNED", mysql.INTEGER(unsigned=True)),
        ("INT UNSIGNED", mysql.INTEGER(unsigned=True)),
        ("BIGINT UNSIGNED", mysql.BIGINT(unsigned=True)),
        ("BIT(9)", mysql.BIT(9)),
        ("YEAR", mysql.YEAR()),
        ("UUID", sa.Uuid()),
        ("BINARY(16)", sa.BINARY(16)),
        ("VARBINARY(9)", sa.VARBINARY(9)),
        ("BLOB", sa.LargeBinary()),
        ("LONGBLOB", mysql.LONGBLOB()),
        ("TIME(3)", mysql.TIME(fsp=3)),
        ("DATETIME(0)", mysql.DATETIME(fsp=0)),
        ("DATETIME(6)", MICROSECONDS),
        ("TIMESTAMP(6)", mysql.TIMESTAMP(fsp=6)),
        ("DATE", sa.Date()),
    ],
)
def test_a_type_is_that_of_python(text: str, kind: Any) -> None:
    assert repr(column_type(text)) == repr(kind)


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("key", Key()),
        ({"key": "customer.id"}, Key("customer.id")),
        ({"header": "trace"}, Header("trace")),
        ("topic", Topic()),
        ("partition", Partition()),
        ("offset", Offset()),
        ("timestamp", Timestamp()),
        ({"constant": 7}, Constant(7)),
        ({"constant": None}, Constant(None)),
    ],
)
def test_a_column_comes_from_elsewhere_by_the_words_of_python(given: Any, source: object) -> None:
    kind = "VARCHAR(280)" if given in ("key", "topic") else "BIGINT"
    (bound,) = column(type=kind, source=given, nullable=True).targets[0].bound
    assert bound.rule.source == source
    assert bound.rule.path == (("customer", "id") if given == {"key": "customer.id"} else ())


def test_a_date_may_be_the_messages_timestamp() -> None:
    (bound,) = column(type="DATETIME(3)", source="timestamp").targets[0].bound
    assert (bound.rule.source, bound.rule.dates is not None) == (Timestamp(), True)


def test_a_column_that_the_database_fills_is_never_written() -> None:
    columns = {"price": "BIGINT", "number": {"type": "BIGINT UNSIGNED", "source": "database", "nullable": True}}
    (target,) = table(columns=columns).targets
    assert (target.columns[0], "number" in target.columns, "number" in target.table.c) == ("price", False, True)


def double(value: object) -> object:
    """A cast of one's own."""
    return value


def test_a_cast_is_declared_by_the_words_of_python_or_is_a_function() -> None:
    words = {"from_text": True, "thousands": ",", "rounding": "half_up"}
    (bound,) = column(type="DECIMAL(12,2)", cast=words).targets[0].bound
    assert bound.rule.cast == Cast(from_text=True, thousands=",", rounding="half_up")
    (bound,) = column(type="BIT(9)", cast=f"{__name__}.double").targets[0].bound
    assert bound.rule.cast is double


@pytest.mark.parametrize("written", ["2026-01-02", dt.date(2026, 1, 2)])
def test_the_default_of_a_day_is_a_day(written: object) -> None:
    assert column(type="DATE", default=written).targets[0].bound[0].default == dt.date(2026, 1, 2)


def test_an_append_model_of_python_and_a_declared_one_are_both_models() -> None:
    assert issubclass(stream().routes["quote"], AppendModel)
