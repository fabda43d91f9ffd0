"""20,000 messages, 3 % of them bad in every way, through the real sensor of a real `dagster dev` into real servers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, as_stored, news, produce
from kafka_ingest_tests.e2e.streams import environment

pytestmark = pytest.mark.services

MESSAGES = 20_000


def test_the_sensor_loads_every_message_exactly_once(
    kafka: LocalKafka, any_database_url: str, topic: str, tmp_path: Path
) -> None:
    truth = Truth()
    first, second = (as_stored(news(seed, MESSAGES // 2), any_database_url) for seed in (1, 2))
    produce(kafka.bootstrap_servers, topic, first, truth)
    with DagsterDev(tmp_path / "dagster", environment(kafka.bootstrap_servers, any_database_url, topic)) as dagster:
        # The second half arrives while runs are loading the first.
        later = threading.Thread(target=produce, args=(kafka.bootstrap_servers, topic, second, truth))
        dagster.wait_for(lambda: ledger_total(any_database_url) > 0, 90, "the first rows")
        later.start()
        later.join()
        dagster.wait_for(lambda: ledger_total(any_database_url) >= MESSAGES, 120, "all messages")
        dagster.wait_for(lambda: all(r["status"] == "SUCCESS" for r in dagster.runs()), 60, "the runs to end")
        runs = dagster.runs()
        assert 1 <= len(runs) <= 5  # drain keeps the number of runs small
        assert all(r["tags"]["kafka_ingest/stream"] == "information" for r in runs)
        _assert_materializations(dagster)
    assert truth.total == MESSAGES
    assert_exactly_once(any_database_url, kafka.bootstrap_servers, topic, truth)


def _assert_materializations(dagster: DagsterDev) -> None:
    query = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
        assetMaterializations(limit: 100) { partition metadataEntries { label __typename
            ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } } } } } }"""
    for table in ("information", "announcement", "dead_letters"):
        found = dagster.graphql(query, key={"path": ["information", table]})["assetOrError"]["assetMaterializations"]
        assert found, table
        kinds = {e["label"]: e["__typename"] for e in found[0]["metadataEntries"]}
        assert kinds["rows"] == kinds["lag"] == kinds["dead_letters"] == "IntMetadataEntry"
        assert found[0]["partition"] is not None


def test_a_topic_that_does_not_exist_yet_is_said_in_the_tick(
    kafka: LocalKafka, mariadb_url: str, tmp_path: Path
) -> None:
    with DagsterDev(tmp_path / "dagster", environment(kafka.bootstrap_servers, mariadb_url, "not-made-yet")) as dagster:
        query = """{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { sensorState {
            ticks(limit: 5) { skipReason error { message } } } } } } } }"""

        def reasons() -> list[str]:
            nodes = dagster.graphql(query)["repositoriesOrError"]["nodes"]
            ticks = [t for node in nodes for s in node["sensors"] for t in s["sensorState"]["ticks"]]
            return [t["skipReason"] or str(t["error"]) for t in ticks]

        dagster.wait_for(lambda: any(reasons()), 40, "a tick")
        assert "topic not-made-yet does not exist yet" in reasons()
