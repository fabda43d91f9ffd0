"""The three extension points, each one new file outside the package: a message type, a database, a pipeline step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.registry import declared_streams
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.outside.memory_sink import MemorySink
from kafka_ingest_tests.support.outside.orders import Order

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]


def order(number: int, currency: str, ordered_at: object) -> Msg:
    body = json.dumps({"number": number, "currency": currency, "orderedAt": ordered_at}).encode()
    return Msg(body, headers=[("kind", b"order")])


def test_a_message_type_a_step_and_a_database_from_outside_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_STREAMS", "kafka_ingest_tests.support.outside")
    stream = declared_streams()["orders"]
    sink = open_sink(sa.make_url("memory://"))
    assert isinstance(sink, MemorySink)
    target = Target(stream, sink)
    target.pin({TopicPartition("orders", 0): 0})
    raw = raw_slice(
        Part(
            [
                order(1, "eur", "2026-07-01 12:00"),
                order(2, "gbp", "2026-07-01 12:00"),
                order(3, "USD", "2026年1月1日"),
                order(4, "EUR", "some day"),
                Msg(b"{}"),
            ],
            topic="orders",
        )
    )
    parsed = run_pipeline(StreamDecoder(stream).decode(raw), stream)
    load(sink, parsed, "live", LoadContext(stream, "run", now=lambda: NOW))
    assert target.rows(Order, "number", "currency", "ordered_at") == [
        (1, "EUR", "2026-07-01 10:00:00.000000"),
        (3, "USD", "2025-12-31 23:00:00.000000"),
    ]
    assert [(d[0], d[1], d[2]) for d in target.dead_letters()] == [
        ("orders[0]@1", "step", "order"),
        ("orders[0]@3", "dates", "order"),
        ("orders[0]@4", "route", None),
    ]
    assert target.batches() == [("orders[0]@[0,5)", "live", 2, 0, 3, 0, 0)]
    assert target.offsets() == {"orders[0]": 5}
    assert sink.written == [2]


def test_dead_letters_in_a_database_from_outside_are_listed_and_shown(tmp_path: Path) -> None:
    url = f"memory:///{tmp_path}/outside.db"
    target = Target(declared_streams(["kafka_ingest_tests.support.outside"])["orders"], MemorySink(sa.make_url(url)))
    target.pin({TopicPartition("orders", 0): 0})
    target.load(raw_slice(Part([order(3, "gbp", "2026-07-01")], topic="orders")))
    target.sink.close()
    environ = os.environ | {
        "KAFKA_INGEST_DATABASE_URL": url,
        "KAFKA_INGEST_STREAMS": "kafka_ingest_tests.support.outside",
    }
    for arguments, expected in ((["list", "--json"], '"offset": 0'), (["show", "orders[0]@0"], '"currency": "gbp"')):
        command = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli()", "dead-letters", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout


def test_a_stream_from_outside_has_its_assets_job_and_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "sqlite://")
    defs = build_definitions(declared_streams(["kafka_ingest_tests.support.outside"]).values())
    keys = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    assert keys == {"kafka/orders", "orders/t_outside_order", "orders/dead_letters", "orders/ledger"}
    assert [s.name for s in defs.resolve_all_job_defs() if s.name.startswith("ingest")] == ["ingest_orders"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [("mysql+pymysql://u@h/d", MySQLSink), ("mariadb+pymysql://u@h/d", MySQLSink), ("sqlite://", SQLiteSink)],
)
def test_a_database_url_finds_its_sink_and_connects_only_when_used(url: str, expected: type) -> None:
    sink = open_sink(sa.make_url(url))
    assert type(sink) is expected
    sink.close()


def test_a_database_without_a_sink_is_refused_and_those_with_one_are_named() -> None:
    with pytest.raises(
        ConfigError, match=r"backend 'oracle'; there is a sink for mariadb, .*mysql, postgresql, sqlite.*register_sink"
    ):
        open_sink(sa.make_url("oracle://u:hunter2@h/d"))
