"""From a row back to its message, its loads and its runs."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from kafka_ingest.checks.trace import stream_of_table, trace, traced_document
from kafka_ingest.cli.main import cli
from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.information import STREAM as INFORMATION
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, one, raw_slice
from kafka_ingest.testing.models import MIXED, Account, Event
from kafka_ingest.testing.target import Target

P0 = TopicPartition("mixed", 0)


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin({P0: 0})
    values = [{"type": "event", "name": f"a,b={n}", "amount": n} for n in range(3)]
    accounts = [{"type": "account", "id": "k1", "balance": 1}, {"type": "account", "id": "k1", "balance": 2}]
    found.load(one(*values, b"{", *accounts), run_id="first")
    found.load(raw_slice(Part([Msg(v) for v in values[1:]], start=1)), "backfill", run_id="second")
    return found


def test_a_position_leads_to_its_loads_the_newest_first(target: Target) -> None:
    (found,) = trace(target.sink, MIXED, TargetTable.of(Event), "mixed[0]@2")
    assert (found.fate, str(found.position)) == ("row", "mixed[0]@2")
    assert [(e.kind, e.start, e.end, e.run_id) for e in found.loads] == [
        ("backfill", 1, 3, "second"),
        ("live", 0, 6, "first"),
    ]
    document = traced_document(found, "t_event", lambda run: f"http://ui/runs/{run}")
    assert document["loads"][0]["run_url"] == "http://ui/runs/second"
    assert json.dumps(document)


def test_a_business_key_leads_to_the_message_that_won(target: Target) -> None:
    (found,) = trace(target.sink, MIXED, TargetTable.of(Account), "k1")
    assert (found.position.offset, found.key) == (5, {"id": "k1"})
    assert [e.run_id for e in found.loads] == ["first"]


@pytest.mark.parametrize("key", ["amount=1", "name=a,b=1", "name=a,b=1,amount=1"])
def test_columns_find_rows_of_an_append_table(target: Target, key: str) -> None:
    assert [found.position.offset for found in trace(target.sink, MIXED, TargetTable.of(Event), key)] == [1]


def test_a_dead_letter_and_a_position_without_a_row_are_said_to_be_so(target: Target) -> None:
    (letter,) = trace(target.sink, MIXED, TargetTable.of(Event), "mixed[0]@3")
    assert letter.fate == "dead_letter"
    assert (letter.error or "").startswith("decode: ")
    (other,) = trace(target.sink, MIXED, TargetTable.of(Event), "mixed[0]@4")
    assert (other.fate, len(other.loads)) == ("no_row", 1)
    (unknown,) = trace(target.sink, MIXED, TargetTable.of(Event), "mixed[0]@99")
    assert (unknown.fate, unknown.loads) == ("no_row", ())


def test_a_deleted_row_leads_to_its_tombstone(target: Target) -> None:
    target.load(raw_slice(Part([Msg(None, key=b"k1")], start=6)), run_id="third")
    (found,) = trace(target.sink, MIXED, TargetTable.of(Account), "k1")
    assert (found.fate, found.position.offset, found.loads[0].run_id) == ("tombstone", 6, "third")


@pytest.mark.parametrize("key", ["amount=many", "nothing", "no_column=1"])
def test_a_key_that_fits_nothing_is_refused_with_what_fits(target: Target, key: str) -> None:
    with pytest.raises(ConfigError, match=r"amount|column=value"):
        trace(target.sink, MIXED, TargetTable.of(Event), key)


def test_a_table_nobody_loads_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="tables: t_account, t_event"):
        stream_of_table({"mixed": MIXED}, "events")


def test_before_the_first_run_there_is_nothing() -> None:
    assert trace(SQLiteSink(sa.make_url("sqlite://")), MIXED, TargetTable.of(Account), "k1") == []


def test_the_command_prints_the_way_back_and_json(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", url)
    monkeypatch.setenv("KAFKA_INGEST_DAGSTER_URL", "http://127.0.0.1:3000/")
    target = Target(INFORMATION, SQLiteSink(sa.make_url(url)))
    target.pin({TopicPartition("information", 0): 0})
    item = {"type": "information", "id": "n1", "title": "t", "publishTime": "2024-05-01"}
    target.load(one(item, topic="information"), run_id="run-1")
    done = CliRunner().invoke(cli, ["trace", "information", "id=n1"])
    assert done.exit_code == 0, done.output
    assert "information[0]@0 is a row" in done.output
    assert "live load of offsets [0,1), 1 rows, 0 dead letters" in done.output
    assert "http://127.0.0.1:3000/runs/run-1" in done.output
    done = CliRunner().invoke(cli, ["trace", "information", "information[0]@0", "--json"])
    assert json.loads(done.output)[0]["loads"][0]["run_id"] == "run-1"
    done = CliRunner().invoke(cli, ["trace", "announcement", "x"])
    assert done.exit_code == 1
    assert "nothing in table announcement is named 'x'" in done.output
