"""Under a real Dagster: hours that get rows, however scattered, are counted by few runs, each of them rightly."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.information_per_hour import PER_HOUR
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.streams import HASTY_EXAMPLE, HASTY_RUNS, environment

pytestmark = pytest.mark.services

KEY = dg.AssetKey(["information", PER_HOUR.name])
# Every third hour, and one gap wider than the others.
HOURS_AGO = [3 * n for n in range(1, 8)] + [60 + 3 * n for n in range(8)]
ITEMS = 20
COUNTED = "SELECT hour, SUM(items) FROM information_per_hour GROUP BY hour"


def test_scattered_hours_are_counted_by_few_runs(kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path) -> None:
    present = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0)
    hours = [present - dt.timedelta(hours=ago) for ago in HOURS_AGO]
    environ = environment(kafka.bootstrap_servers, mysql_url, topic)
    environ["KAFKA_INGEST_STREAMS"] = HASTY_EXAMPLE
    home = tmp_path / "dagster"
    with DagsterDev(home, environ) as dagster, dg.DagsterInstance.from_config(str(home)) as instance:
        states = instance.all_instigator_state

        def looked() -> bool:
            """Whether the automation sensor has: what was there before is counted at the full hour only."""
            mine = [s for s in states() if s.instigator_name == f"{PER_HOUR.name}_automation"]
            ticks = [t for s in mine for t in instance.get_ticks(s.instigator_origin_id, s.selector_id)]
            return any(tick.end_timestamp for tick in ticks)

        dagster.wait_for(looked, 90, "the automation sensor's first tick")
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for hour in hours:
            for number in range(ITEMS):
                item = {"type": "information", "id": f"{hour}{number}", "title": "t", "publishTime": "2026-01-01"}
                at = int((hour + dt.timedelta(minutes=number)).timestamp() * 1000)
                producer.produce(topic, json.dumps(item).encode(), partition=number % 4, timestamp=at)
        assert producer.flush(30) == 0

        windows = {hour.strftime("%Y-%m-%d-%H:%M") for hour in hours}
        dagster.wait_for(lambda: windows <= instance.get_materialized_partitions(KEY), 300, "all hours to be counted")
        counting = [r for r in instance.get_runs() if r.asset_selection == {KEY}]
        # One for each hour would be fifteen; the sensor may have looked between two slices, so that it asked twice.
        assert HASTY_RUNS <= len(counting) <= 2 * HASTY_RUNS
    engine = sa.create_engine(mysql_url)
    with engine.connect() as connection:
        found = {hour: int(items) for hour, items in connection.execute(sa.text(COUNTED))}
    engine.dispose()
    assert found == {hour.replace(tzinfo=None): ITEMS for hour in hours}
