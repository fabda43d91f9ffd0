"""Tables that are missing, lack columns, change under the load, are locked or broken."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError, DatabaseUnavailable, PermanentError, SchemaMismatch
from kafka_ingest.records import TopicPartition
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.sqlite import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.model import UpsertModel
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.support.database import Target
from kafka_ingest_tests.support.loads import P0, events, names
from kafka_ingest_tests.support.made import Make
from kafka_ingest_tests.support.models import EVERYTHING, MIXED, Everything
from kafka_ingest_tests.support.raws import Msg, Part, piped, raw_slice


def test_tables_are_made_once_and_preparing_again_changes_nothing(target: Target) -> None:
    target.load(events("a"))
    prepare_tables(target.sink, MIXED)
    assert names(target) == ["a"]


def drop_column(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_everything DROP COLUMN note")
        connection.exec_driver_sql("ALTER TABLE t_everything DROP COLUMN price")


def test_a_missing_column_is_an_error_that_names_the_statements_to_run() -> None:
    target = Target(EVERYTHING)
    drop_column(target)
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, EVERYTHING)
    assert "table t_everything lacks 2 column(s) of model Everything" in str(caught.value)
    statements = [line.strip(" ;") for line in str(caught.value).splitlines() if "ALTER TABLE" in line]
    assert statements == [
        "ALTER TABLE t_everything ADD COLUMN note TEXT",
        "ALTER TABLE t_everything ADD COLUMN price NUMERIC(12, 4)",
    ]
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    prepare_tables(target.sink, EVERYTHING)


def test_a_stream_that_evolves_adds_the_missing_columns_and_keeps_the_rows() -> None:
    target = Target(EVERYTHING)
    topic = TopicPartition("everything", 0)
    target.pin({topic: 0})
    target.load(raw_slice(Part([Msg({"type": "e", "id": "x", "note": "n"})], topic="everything")))
    drop_column(target)
    prepare_tables(target.sink, dataclasses.replace(EVERYTHING, evolve=True))
    target.load(raw_slice(Part([Msg({"type": "e", "id": "y", "note": "n"})], topic="everything", start=1)))
    assert target.rows(Everything, "id", "note") == [("x", None), ("y", "n")]


def test_a_table_altered_under_the_load_is_a_schema_mismatch_and_nothing_is_committed(target: Target) -> None:
    target.load(events("a"))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_event RENAME TO t_elsewhere")
    with pytest.raises(SchemaMismatch, match=r"loading mixed\[0\]@\[1,2\) of stream mixed"):
        target.load(events("b", start=1))
    assert target.offsets()["mixed[0]"] == 1


def test_a_database_another_process_writes_to_is_retryable(tmp_path: Any) -> None:
    url = sa.make_url(f"sqlite:///{tmp_path}/one.db")
    target = Target(MIXED, SQLiteSink(url))
    target.pin({P0: 0})
    impatient = SQLiteSink(url)
    sa.event.listen(impatient.engine, "connect", lambda c, _record: c.execute("PRAGMA busy_timeout = 1"))
    with target.sink.engine.begin(), pytest.raises(DatabaseUnavailable, match="database is locked"):
        load(impatient, piped(MIXED, events("a")), "live", LoadContext(MIXED, "r"))
    load(impatient, piped(MIXED, events("a")), "live", LoadContext(MIXED, "r"))
    assert names(target) == ["a"]
    impatient.close()
    target.sink.close()


def test_an_error_of_the_database_that_concerns_no_row_ends_the_load(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER odd BEFORE INSERT ON t_event BEGIN SELECT no_such_function(); END")
    with pytest.raises(PermanentError):
        target.load(events("a"))
    assert target.offsets()["mixed[0]"] == 0


def test_a_schema_that_is_the_databases_own_is_no_other(made: Make) -> None:
    """Only the database knows which schema is meant where none is named."""
    for one, other in [
        (made("n"), made("n", schema="main")),
        (made("o", UpsertModel, delete_on_tombstone=True), made("o_tombstones", schema="MAIN")),
    ]:
        with pytest.raises(ConfigError, match=r"table (?i:main)\..* is also a table of [no]: main is the database"):
            Target(Stream(name="s", topics="s", routes={"a": one, "b": other}))
    ledger = made("kafka_ingest_offsets", schema="main")
    with pytest.raises(ConfigError, match="is also a table of the ledger"):
        Target(Stream(name="s", topics="s", routes={"a": ledger}))
