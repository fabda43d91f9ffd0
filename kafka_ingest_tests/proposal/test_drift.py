"""What `--check` finds: how topic, model and table have drifted apart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import CloudEvents
from kafka_ingest.pipelines.decode import no_schemas
from kafka_ingest.proposal.drift import DriftReport, SubjectVersion, drift_of
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.streams.envelopes.debezium import Debezium
from kafka_ingest.streams.formats.json import JsonSchema
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.sources import Database, Topic
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest_tests.formats.world import framed
from kafka_ingest_tests.support.proposing import sample_of, times


class Drifting(AppendModel):
    __tablename__ = "drifting"

    name: Mapped[str] = field(sa.String(8))
    city: Mapped[str | None] = field(sa.String(8), path="address.city")
    tags: Mapped[Any | None] = field(sa.JSON)
    old: Mapped[int | None] = field(sa.Integer)
    where: Mapped[str | None] = field(sa.String(250), source=Topic())
    number: Mapped[int | None] = field(sa.Integer, source=Database())


class Exploded(AppendModel):
    __tablename__ = "drifting_lines"
    explode = "order.lines"

    name: Mapped[str] = field(sa.String(8))
    sku: Mapped[str] = field(sa.String(8), path="order.lines.sku")


class Elements(AppendModel):
    __tablename__ = "drifting_elements"
    explode = "[]"

    sku: Mapped[str] = field(sa.String(8))


STREAM = Stream(name="drifting", topics="things", routes={"things": Drifting}, route_by=RouteByTopic())
GOOD = {"name": "Ada", "address": {"city": "X"}, "tags": {"a": 1}, "old": 1}


def check(*messages: Any, stream: Stream = STREAM, **options: Any) -> DriftReport:
    return drift_of(stream, sample_of(*messages), no_schemas, **{"sink": None, **options})


def found(report: DriftReport) -> set[tuple[str, str, bool]]:
    return {(each.what, each.where, each.is_drift) for each in report.findings}


def test_where_all_fits_nothing_is_found() -> None:
    assert check(*times(5, GOOD)) == DriftReport("drifting", check(*times(5, GOOD)).outcomes, ())
    assert not check(*times(5, GOOD)).has_drifted


def test_a_new_field_is_news_and_how_many_messages_have_it_is_said() -> None:
    report = check(*times(6, GOOD), *times(4, GOOD | {"coupon": "x", "address": {"city": "X", "zip": "1"}}))
    assert found(report) == {
        ("unread_field", "drifting.coupon", False),
        ("unread_field", "drifting.address.zip", False),
    }
    assert report.findings[-1].text == "4 of 10 messages have the field coupon, which no column reads"
    assert not report.has_drifted


def test_with_an_envelope_the_fields_of_the_row_count() -> None:
    event = {"specversion": "1.0", "type": "t", "id": "1", "source": "/a", "data": GOOD}
    report = check(
        *times(5, event), event | {"data": GOOD | {"coupon": "x"}}, stream=replace(STREAM, envelope=CloudEvents())
    )
    assert found(report) == {("unread_field", "drifting.coupon", False)}


def test_a_field_that_was_renamed_leaves_a_column_that_nothing_feeds() -> None:
    report = check(*times(5, {"name": "Ada", "address": {"city": "X"}, "tags": [], "new": 1}))
    assert found(report) == {("unfed_column", "drifting.old", True), ("unread_field", "drifting.new", False)}
    assert report.has_drifted


def test_values_that_no_longer_fit_are_would_be_dead_letters_with_their_reason() -> None:
    report = check(*times(8, GOOD), GOOD | {"name": "x" * 9}, GOOD | {"old": "seven"})
    assert found(report) == {("dead_letters", "things", True)}
    first = report.findings[0].text
    assert "1 of 10 messages (10.00%) would be dead letters (" in first
    assert "things[0]@" in first


def test_fields_of_elements_are_looked_at_where_a_model_explodes_their_array() -> None:
    stream = replace(STREAM, routes={"things": Exploded})
    lines = [{"sku": "a"}, {"sku": "b", "fee": 1}]
    report = check(*times(5, {"name": "x", "order": {"lines": lines, "at": 1}}), stream=stream)
    assert {(each.where, each.text) for each in report.findings} == {
        ("drifting_lines.order.lines.fee", "5 of 10 elements have the field order.lines.fee, which no column reads"),
        ("drifting_lines.order.at", "10 of 10 elements have the field order.at, which no column reads"),
    }
    whole = replace(STREAM, routes={"things": Elements})
    report = check(b'[{"sku": "a"}, {"sku": "b", "fee": 1}]', stream=whole)
    assert [each.where for each in report.findings] == ["drifting_elements.fee"]


def test_fields_of_rows_in_envelopes_are_looked_at() -> None:
    stream = replace(STREAM, envelope=Debezium())
    report = check(*times(5, {"op": "c", "after": GOOD | {"new": 1}, "source": {"lsn": 1}}), stream=stream)
    assert found(report) == {("unread_field", "drifting.new", False)}


def test_a_topic_without_messages_is_drift() -> None:
    assert found(check()) == {("empty", "things", True)}


def test_messages_that_are_no_json_any_more_are_dead_letters_and_no_more_is_said() -> None:
    assert found(check(b"\x1f\x8b\x08")) == {("dead_letters", "things", True)}


def test_what_an_existing_table_lacks_is_drift_and_what_it_has_besides_is_news() -> None:
    sink = SQLiteSink(sa.make_url("sqlite://"))
    with sink.engine.begin() as connection:
        Drifting.__table__.create(connection)
        connection.exec_driver_sql("ALTER TABLE drifting DROP COLUMN city")
        connection.exec_driver_sql("ALTER TABLE drifting ADD COLUMN remark TEXT")
    report = check(*times(5, GOOD), sink=sink)
    sink.close()
    assert found(report) == {("table", "drifting", True), ("table_column", "drifting.remark", False)}
    assert "column city is missing; to mend it: ALTER TABLE drifting ADD COLUMN city" in report.findings[0].text


@pytest.mark.parametrize(("newest", "is_news"), [(7, False), (9, True)])
def test_a_newer_schema_in_the_registry_is_news(newest: int, is_news: bool) -> None:
    stream = replace(STREAM, value_format=JsonSchema())
    latest = SubjectVersion("things-value", 3, RegisteredSchema(newest, "JSON", "{}"))
    known = {7: RegisteredSchema(7, "JSON", "{}")}
    sample = sample_of(framed(json.dumps(GOOD).encode(), 7))
    report = drift_of(stream, sample, lambda _ids: known, sink=None, latest=[latest])
    assert found(report) == ({("schema", "things-value", False)} if is_news else set())
