"""Tables that are missing, lack columns, change under the load, are locked or broken."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError, DatabaseUnavailable, PermanentError, SchemaMismatch
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.sinks.tables import Comparison, compare_tables, is_ours, prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.models import EVERYTHING, MIXED, Event, Everything
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import P0, events, names
from kafka_ingest_tests.support.made import Make


def test_tables_are_made_once_and_preparing_again_changes_nothing(target: Target) -> None:
    target.load(events("a"))
    prepare_tables(target.sink, MIXED)
    assert names(target) == ["a"]


def drop_column(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_everything DROP COLUMN note")
        connection.exec_driver_sql("ALTER TABLE t_everything DROP COLUMN price")


def statements_of(text: str) -> list[str]:
    return [line.strip(" ;") for line in text.splitlines() if line.strip().startswith("ALTER TABLE")]


def execute(target: Target, *statements: str) -> None:
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_missing_column_is_an_error_that_names_the_statements_to_run() -> None:
    target = Target(EVERYTHING)
    drop_column(target)
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, EVERYTHING)
    text = str(caught.value)
    assert "table t_everything:\n  - column note is missing\n  - column price is missing\nRun\n" in text
    assert "evolve=True" in text
    statements = statements_of(text)
    assert statements == [
        "ALTER TABLE t_everything ADD COLUMN note TEXT",
        "ALTER TABLE t_everything ADD COLUMN price TEXT",
    ]
    assert caught.value.stream == EVERYTHING.name
    assert (caught.value.tables, list(caught.value.statements)) == (("t_everything",), statements)
    execute(target, *statements)
    prepare_tables(target.sink, EVERYTHING)


def test_a_column_of_ours_is_added_without_asking(target: Target) -> None:
    target.load(events("a"))
    execute(target, "ALTER TABLE t_event DROP COLUMN _kafka_timestamp")
    prepare_tables(target.sink, MIXED)
    assert target.rows(Event, "name", "_kafka_timestamp") == [("a", None)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (sa.Column("_kafka_order", sa.BigInteger), True),
        (sa.Column("_kafka_topic", sa.String(5), nullable=False), False),
        (sa.Column("kafka_order", sa.BigInteger), False),
    ],
)
def test_ours_is_what_may_be_null_and_has_our_prefix(column: sa.Column[Any], expected: bool) -> None:
    assert is_ours(column) is expected


def test_no_column_is_added_where_another_table_does_not_fit(target: Target) -> None:
    execute(
        target,
        "ALTER TABLE t_event DROP COLUMN _kafka_timestamp",
        "ALTER TABLE t_account RENAME TO aside",
        "CREATE TABLE t_account (id INTEGER PRIMARY KEY)",
    )
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, dataclasses.replace(MIXED, evolve=True))
    assert "table t_account:" in str(caught.value)
    assert "t_event" not in str(caught.value)
    assert "_kafka_timestamp" not in {row[1] for row in target.all("PRAGMA table_info(t_event)")}


def test_a_sink_that_knows_no_rules_still_says_what_is_missing() -> None:
    class Plain(SQLiteSink):
        misfits = Sink.misfits

    target = Target(EVERYTHING)
    drop_column(target)
    plain = Plain(sa.make_url("sqlite://"))
    with target.sink.engine.connect() as connection:
        found = compare_tables(plain, connection, EVERYTHING).refused
        assert compare_tables(plain, connection, MIXED) == Comparison((), ())  # no tables: nothing to say
    assert [(m.table.name, m.problem, m.statement) for m in found] == [
        ("t_everything", "column note is missing", "ALTER TABLE t_everything ADD COLUMN note TEXT"),
        ("t_everything", "column price is missing", "ALTER TABLE t_everything ADD COLUMN price TEXT"),
    ]
    plain.close()


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
