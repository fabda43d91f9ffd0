"""What a replay does where a table, a column, a position or the ledger is not what it expects."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from kafka_ingest.engine.replay import plan_replay
from kafka_ingest.errors import OffsetGap, SchemaMismatch
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.ledger.tables import DEAD_LETTERS, OFFSETS
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.testing.models import Account
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.letters import FIXED, became, kept, run_replay


class LaterMade(AppendModel):
    """A table that a stream gets after its messages came."""

    __tablename__ = "t_later_made"
    name: sa.orm.Mapped[str] = field(sa.String(20))


def test_a_type_that_gets_its_model_later_is_replayed_into_a_new_table(target: Target) -> None:
    grown = replace(FIXED, routes={"event": LaterMade, "account": Account})
    forecast = became(run_replay(target, grown, dry_run=True))
    assert not sa.inspect(target.sink.engine).has_table("t_later_made")
    assert became(run_replay(target, grown)) == forecast
    assert target.rows(LaterMade, "name") == [("a",), ("b",), ("c",)]


def test_a_table_that_lacks_a_column_is_said_before_anything_is_replayed(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_event DROP COLUMN name")
    with pytest.raises(SchemaMismatch, match="column name is missing"):
        run_replay(target)
    assert [letter.attempts for letter in kept(target)] == [0] * 4


def test_a_partition_without_a_ledger_position_is_refused(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.execute(sa.delete(OFFSETS))
    with pytest.raises(OffsetGap, match=r"no position for mixed\[0\]"):
        run_replay(target)


def test_a_database_without_a_ledger_has_nothing_to_replay() -> None:
    sink = SQLiteSink(sa.make_url("sqlite://"))
    assert plan_replay(sink, FIXED, DeadLetterFilter(), run_id="r").letters == 0


def test_a_ledger_of_an_older_version_gets_the_columns_and_indexes_it_lacks(target: Target) -> None:
    added = ("attempts", "replayed_at", "replay_run_id", "replay_outcome", "published_at", "publish_error")
    with target.sink.engine.begin() as connection:
        for index in DEAD_LETTERS.indexes:
            index.drop(connection)
        for name in added:
            connection.exec_driver_sql(f"ALTER TABLE kafka_ingest_dead_letters DROP COLUMN {name}")
    assert not FIXED.evolve
    prepare_tables(target.sink, FIXED)
    prepare_tables(target.sink, FIXED)
    assert [(letter.attempts, letter.replay_outcome) for letter in kept(target)] == [(0, None)] * 4
    indexes = {i["name"] for i in sa.inspect(target.sink.engine).get_indexes("kafka_ingest_dead_letters")}
    assert {i.name for i in DEAD_LETTERS.indexes} <= indexes
    assert set(became(run_replay(target)).values()) == {"row"}
