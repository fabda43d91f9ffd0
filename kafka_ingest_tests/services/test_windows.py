"""Windows on real servers: they begin at the first message, and hours without one are loaded with 0 rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from kafka_ingest.engine.first_messages import first_in_ledger, first_in_log
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.support.catch_up import catch_up, delete_before, item, stream_of

pytestmark = pytest.mark.services

ANCIENT = dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone.utc)


def at(day: int, hour: int = 0, minute: int = 0) -> dt.datetime:
    return dt.datetime(2025, 12, day, hour, minute, tzinfo=dt.timezone.utc)


def send_at(kafka: LocalKafka, topic: str, partition: int, *instants: dt.datetime) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number, instant in enumerate(instants):
        stamp = int(instant.timestamp() * 1000)
        producer.produce(topic, item(f"{partition}-{number}-{stamp}"), partition=partition, timestamp=stamp)
    assert producer.flush(30) == 0


def test_the_first_message_is_the_logs_until_retention_takes_it_and_the_ledgers_from_then_on(
    kafka: LocalKafka, any_database_url: str
) -> None:
    topic = make_topic(kafka, partitions=3)
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": any_database_url}
    settings = Settings.from_environment(environ)
    stream = stream_of(topic)
    pattern = dataclasses.replace(stream, name="pattern", topics=f"^{topic}$", group_id="pattern")
    unmade = dataclasses.replace(stream, name="unmade", topics=f"{topic}-unmade", group_id="unmade")
    metadata, sink = KafkaMetadata(settings), open_sink(settings.database_url)
    every = [stream, pattern, unmade]

    def held() -> list[dt.datetime | None]:
        found = first_in_log(every, metadata)
        return [found[each.name] for each in every]

    assert held() == [None, None, None]
    assert first_in_ledger(every, sink) == {"information": None, "pattern": None, "unmade": None}, "no ledger yet"
    send_at(kafka, topic, 0, ANCIENT, at(3, 4, 30), at(2), at(9))
    send_at(kafka, topic, 1, at(5))
    assert held() == [at(3, 4, 30), at(3, 4, 30), None]
    catch_up(stream, settings)
    delete_before(kafka, topic, 3)
    assert held() == [at(5), at(5), None]
    assert first_in_ledger(every, sink)["pattern"] is None
    first = first_in_ledger(every, sink)["information"]
    sink.close()
    assert first == at(5), "the entry that holds the message of 1970 says no more than that one"


TABLE = dg.AssetKey(["information", "information"])
_PARTITIONS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionKeys assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }"""


@dataclass
class Hours:
    """A topic whose messages lie hours apart, and a real Dagster that loads it."""

    kafka: LocalKafka
    topic: str
    dagster: DagsterDev
    instance: dg.DagsterInstance
    present: dt.datetime

    def key(self, ago: int) -> str:
        return (self.present - dt.timedelta(hours=ago)).strftime("%Y-%m-%d-%H:%M")

    def send(self, *ago: float) -> None:
        """A message in each Kafka partition, so many hours and ten minutes before the present hour; 0 is now."""
        now = dt.datetime.now(dt.timezone.utc)
        instants = [now if not hours else self.present - dt.timedelta(hours=hours, minutes=-10) for hours in ago]
        for partition in range(4):
            send_at(self.kafka, self.topic, partition, *instants)

    def windows(self) -> tuple[list[str], set[str]]:
        """The partitions page: all windows, and the missing ones. The newest may have begun since."""
        node = self.dagster.graphql(_PARTITIONS, key={"path": TABLE.path})["assetNodeOrError"]
        keys = node["partitionKeys"]
        there = {
            key
            for each in node["assetPartitionStatuses"]["ranges"]
            for key in keys
            if each["status"] == "MATERIALIZED" and each["startKey"] <= key <= each["endKey"]
        }
        return keys, {key for key in keys if key not in there and key <= self.key(0)}

    def rows(self, ago: int) -> object:
        """What the last materialization of a window says."""
        found = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(TABLE, asset_partitions=[self.key(ago)]), limit=1
        ).records[0]
        assert found.asset_materialization is not None
        return found.asset_materialization.metadata["rows"].value

    def observed(self) -> list[tuple[str, dict[str, Any]]]:
        """(run or nothing, numbers) of the topic's observations, newest first."""
        key = dg.AssetKey(["kafka", self.topic])
        return [
            (r.run_id, {n: v.value for n, v in r.asset_observation.metadata.items()})
            for r in self.instance.fetch_observations(key, limit=20).records
            if r.asset_observation is not None
        ]


@pytest.fixture
def hours(kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path) -> Iterator[Hours]:
    environ = environment(kafka.bootstrap_servers, mysql_url, topic)
    home = tmp_path / "dagster"
    present = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0)
    found = Hours(kafka, topic, DagsterDev(home, environ), None, present)  # type: ignore[arg-type]
    found.send(6, 3, 2, 0)
    with found.dagster, dg.DagsterInstance.from_config(str(home)) as instance:
        found.instance = instance
        yield found


def test_no_window_is_missing_after_the_load_and_the_lag_of_a_stuck_stream_goes_on(
    hours: Hours, mysql_url: str
) -> None:
    hours.dagster.wait_for(lambda: not hours.windows()[1], 240, "all windows to be there")
    keys, _ = hours.windows()
    assert keys[0] == hours.key(6), "the first message's"
    assert [hours.rows(ago) for ago in (5, 4, 1)] == [0, 0, 0]
    assert all(hours.rows(ago) for ago in (6, 3, 2))

    # A run knows the same windows as the code server: what is older counts to the first one.
    hours.dagster.wait_for(lambda: all(r["status"] == "SUCCESS" for r in hours.dagster.runs()), 120, "the run to end")
    count = len(hours.dagster.runs())
    hours.send(30)

    def another() -> bool:
        return len(runs := hours.dagster.runs()) > count and all(r["status"] == "SUCCESS" for r in runs)

    hours.dagster.wait_for(another, 120, "what is older to be loaded")
    assert hours.key(30) not in hours.instance.get_materialized_partitions(TABLE)
    assert hours.rows(6) == 4

    engine = sa.create_engine(mysql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT * FROM kafka_ingest_offsets FOR UPDATE")).all()
        before = len(hours.observed())
        hours.send(0, 0, 0)

        def told() -> list[dict[str, Any]]:
            return [numbers for run, numbers in hours.observed()[: len(hours.observed()) - before] if not run]

        hours.dagster.wait_for(lambda: len(told()) >= 2, 240, "the sensor to observe what is stuck")
        newest, older = told()[:2]
        assert newest["lag"] == older["lag"] == 12
        assert newest["seconds_since_load"] > older["seconds_since_load"] > 60
        assert newest["oldest_waiting_seconds"] > older["oldest_waiting_seconds"] > 50
    engine.dispose()
    hours.dagster.wait_for(lambda: hours.observed()[0][1]["lag"] == 0, 120, "the stream to go on")
    assert hours.observed()[0][1]["oldest_waiting_seconds"] == 0
