"""What Dagster gets to see: assets, partitions, jobs and sensors, made without asking anybody anything, but for a code location
(test_window_starts.py)."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
from collections.abc import Sequence

import dagster as dg
import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.windows import partitions_of
from kafka_ingest.streams.model import PLACE_COLUMNS
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_of
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest_tests.support.placed import NAMES

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

UTC = dt.timezone.utc

LOAD_WITHOUT_NETWORK = """
import os, socket, sys
for name in [n for n in os.environ if n.startswith("KAFKA")]:
    del os.environ[name]
os.environ["KAFKA_INGEST_DATABASE_URL"] = "mysql+pymysql://nobody:secret@192.0.2.1/none"
def refuse(*args, **kwargs):
    raise AssertionError("definitions asked the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import sqlalchemy, confluent_kafka, confluent_kafka.admin
sqlalchemy.engine.Engine.connect = confluent_kafka.Consumer = confluent_kafka.admin.AdminClient = refuse
from kafka_ingest.definitions import defs
print(sorted(s.key.to_user_string() for s in defs.resolve_all_asset_specs()))
print(sorted(s.name for s in defs.sensors), os.listdir("."))
"""


def test_definitions_load_with_nothing_but_a_databases_name(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_NETWORK],
        capture_output=True,
        text=True,
        cwd=str(tmp_path),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "['information/announcement', 'information/dead_letters', 'information/information', "
        "'information/information_per_hour', 'information/ledger', 'kafka/information']",
        "['information_per_hour_automation', 'information_sensor'] []",
    ]


def test_definitions_without_a_database_are_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_INGEST_DATABASE_URL")
    with pytest.raises(ConfigError, match="KAFKA_INGEST_DATABASE_URL is not set"):
        build_definitions([MIXED])


@pytest.fixture
def defs(monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("definitions asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "mysql+pymysql://nobody@127.0.0.1:1/none")
    return build_definitions([MIXED])


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def names(keys: Sequence[dg.AssetDep]) -> list[str]:
    return sorted(dep.asset_key.to_user_string() for dep in keys)


def test_there_is_an_asset_for_each_topic_each_table_and_the_dead_letters(defs: dg.Definitions) -> None:
    found = specs(defs)
    tables = {"mixed/t_event", "mixed/t_account", "mixed/dead_letters", "mixed/ledger"}
    assert set(found) == {"kafka/mixed", "kafka/mixed2"} | tables
    for key in tables:
        assert names(list(found[key].deps)) == ["kafka/mixed", "kafka/mixed2"]
        assert found[key].group_name == "mixed"
        assert "mysql" in found[key].kinds
    assert found["kafka/mixed"].kinds == {"kafka"}
    assert found["kafka/mixed"].deps == []


def test_a_tables_asset_says_its_columns_where_each_comes_from_and_how_it_is_loaded(defs: dg.Definitions) -> None:
    metadata = specs(defs)["mixed/t_account"].metadata
    assert metadata["dagster/table_name"] == "t_account"
    assert metadata["loads"] == "one row per id"
    assert "| `balance` | `balance` |" in str(metadata["fields"].value)
    columns = [column.name for column in metadata["dagster/column_schema"].columns]
    assert columns == ["id", "balance", *PLACE_COLUMNS]
    assert specs(defs)["mixed/t_event"].metadata["loads"] == "one row per message"


def test_the_job_is_tagged_with_its_stream_and_holds_the_six_ops(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def("ingest_mixed")
    assert job.tags["kafka_ingest/stream"] == "mixed"
    ops = {handle.name for handle in job.graph.iterate_op_defs()}
    assert {f"mixed_{n}" for n in ("plan", "read", "translate_dates", "load", "commit_offsets", "drain")} <= ops
    assert job.partitions_def == partitions_of(MIXED)


def test_the_sensor_is_on_by_default_and_says_when_a_batch_is_due(defs: dg.Definitions) -> None:
    sensor = defs.resolve_sensor_def("mixed_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert "at 10 messages or 10 s, whichever is first" in (sensor.description or "")
    assert "looks every 5 s" in (sensor.description or "")


@pytest.mark.parametrize("window", ["hourly", "daily"])
@pytest.mark.parametrize(
    "start",
    [
        dt.datetime(2026, 1, 1, tzinfo=UTC),
        dt.datetime(2026, 1, 1, 0, 30, tzinfo=UTC),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    ],
)
def test_every_window_a_run_can_name_is_a_partition_the_first_and_the_present_one_included(
    window: str, start: dt.datetime
) -> None:
    stream = Stream(name="s", topics="t", routes={"e": Event}, window=window, window_start=start)  # type: ignore[arg-type]
    now = dt.datetime(2026, 1, 3, 12, 30, tzinfo=UTC)
    partitions = partitions_of(stream)
    with dg.DagsterInstance.ephemeral() as instance:
        keys = partitions.get_partition_keys(now, instance)
    assert keys[0] == window_of(stream, dt.datetime(1999, 1, 1, tzinfo=UTC), now=now)
    assert keys[-1] == window_of(stream, now, now=now)


def test_topic_names_and_patterns_make_asset_keys() -> None:
    assert NAMES.topic_key("a.b-c_d").path == ["kafka", "a_b-c_d"]
    assert NAMES.topic_key("^news-(a|b).*$").path == ["kafka", "_news-_a_b____"]
