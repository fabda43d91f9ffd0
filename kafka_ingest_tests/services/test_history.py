"""Checks, trace, compaction and the example on real servers; then all of it under a real `dagster dev`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from kafka_ingest.checks.consumer_group import check_consumer_group
from kafka_ingest.checks.dead_letter_ratio import check_dead_letter_ratio
from kafka_ingest.checks.run_ledger import CheckResult, check_accounting, check_tiling
from kafka_ingest.checks.table_rows import audit_rows, check_run_rows
from kafka_ingest.checks.trace import trace
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.engine.compaction import compact_ledger
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.group_offsets import commit_group_offsets
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.information_per_hour import count_hours
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import BatchKind, OffsetRange, TopicPartition
from kafka_ingest.streams.information import STREAM, Announcement, Information
from kafka_ingest.streams.stream import BatchPolicy, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.streams import environment

pytestmark = pytest.mark.services

TARGET = TargetTable.of(Information)
MESSAGES = 1_500


class Loaded:
    """A topic, loaded into a database of its own by one live run of many slices."""

    def __init__(self, kafka: LocalKafka, url: str, topic: str) -> None:
        self.kafka, self.topic, self.truth = kafka, topic, Truth()
        group = f"group-{topic}"
        self.settings: Settings = Settings.from_environment(
            {
                "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "KAFKA_INGEST_DATABASE_URL": url,
                "KAFKA_GROUP_ID": group,
            }
        )
        batch = BatchPolicy(max_rows=200, max_wait_seconds=0, linger_seconds=0)
        self.stream: Stream = dataclasses.replace(STREAM, topics=topic, batch=batch)
        self.sink: Sink = open_sink(self.settings.database_url)
        self.produce(seed=1, count=MESSAGES)
        self.run("live-1")

    def produce(self, *, seed: int, count: int) -> None:
        produce(self.kafka.bootstrap_servers, self.topic, news(seed=seed, count=count), self.truth)

    def run(self, run_id: str, *ranges: OffsetRange, kind: BatchKind = "live") -> None:
        ingestion = Ingestion(self.stream, self.settings, run_id=run_id, window_key="w")
        try:
            batch = dataclasses.replace(ingestion.plan(ranges, kind), until_caught_up=True)
            result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), batch.kind)
            ingestion.commit(result.next_offsets)
            list(ingestion.drain(batch))
        finally:
            ingestion.close()

    def findings(self, run_id: str) -> dict[str, CheckResult]:
        return {
            "accounting": check_accounting(self.sink, self.stream, run_id),
            "tiling": check_tiling(self.sink, self.stream, run_id),
            "ratio": check_dead_letter_ratio(self.sink, self.stream, run_id),
            "rows": check_run_rows(self.sink, self.stream, run_id, TARGET),
            "group": check_consumer_group(self.sink, self.stream, self.settings, KafkaMetadata(self.settings)),
            "all accounting": audit_accounting(self.sink, self.stream),
            "all tiling": audit_tiling(self.sink, self.stream),
            "all rows": audit_rows(self.sink, self.stream, TARGET, seconds=60),
        }

    def failed(self, run_id: str) -> list[str]:
        return [name for name, found in self.findings(run_id).items() if not found.passed]

    def execute(self, sql: str) -> list[Any]:
        with self.sink.engine.begin() as connection:
            result = connection.execute(sa.text(sql))
            return list(result.all()) if result.returns_rows else []


@pytest.fixture
def loaded(kafka: LocalKafka, database_url: str, topic: str) -> Iterator[Loaded]:
    found = Loaded(kafka, database_url, topic)
    yield found
    found.sink.close()


def test_all_checks_pass_after_a_run_and_a_missing_row_is_found_and_loaded_again(loaded: Loaded) -> None:
    findings = loaded.findings("live-1")
    assert {n: f.faults for n, f in findings.items() if f.faults} == {}
    assert findings["rows"].checked >= MESSAGES // 200
    position = sorted(loaded.truth.information)[10]
    loaded.execute(f"DELETE FROM information WHERE _kafka_partition = {position[0]} AND _kafka_offset = {position[1]}")
    assert loaded.failed("live-1") == ["rows", "all rows"]
    (fault,) = findings_rows = check_run_rows(loaded.sink, loaded.stream, "live-1", TARGET).faults
    assert f"{loaded.topic}[{position[0]}]" in fault
    assert len(findings_rows) == 1
    # Across the borders of the first loads: of those, nothing tells exactly which rows were left.
    loaded.run("again", OffsetRange(loaded.topic, position[0], 7, position[1] + 20), kind="backfill")
    assert loaded.failed("again") == []
    assert loaded.failed("live-1") == []


def test_a_consumer_group_that_is_behind_is_said_and_the_next_run_repairs_it(loaded: Loaded) -> None:
    consumer = open_consumer(loaded.settings, loaded.settings.group_id)
    tp = TopicPartition(loaded.topic, 2)
    commit_group_offsets(consumer, loaded.settings.group_id, {tp: 5}, run_id="somebody")
    consumer.close()
    (fault,) = loaded.findings("live-1")["group"].faults
    assert fault.startswith(f"{tp}: consumer group {loaded.settings.group_id} is ")
    assert "behind the ledger (5 of" in fault
    loaded.run("live-2")
    assert loaded.findings("live-2")["group"].passed


def test_rows_lead_back_to_their_runs(loaded: Loaded) -> None:
    partition, offset = sorted(loaded.truth.information)[3]
    key, ((p, o), _) = next(iter(loaded.truth.announcement.items()))
    loaded.run("again", OffsetRange(loaded.topic, partition, offset, offset + 1), kind="backfill")
    (row,) = trace(loaded.sink, loaded.stream, TargetTable.of(Information), f"{loaded.topic}[{partition}]@{offset}")
    assert [(e.kind, e.run_id) for e in row.loads] == [("backfill", "again"), ("live", "live-1")]
    (upserted,) = trace(loaded.sink, loaded.stream, TargetTable.of(Announcement), key)
    assert (upserted.position.partition, upserted.position.offset) == (p, o)
    assert upserted.loads[-1].run_id == "live-1"
    dead = sorted(loaded.truth.dead_letters)[0]
    (letter,) = trace(loaded.sink, loaded.stream, TargetTable.of(Information), f"{loaded.topic}[{dead[0]}]@{dead[1]}")
    assert letter.fate == "dead_letter"


def test_a_compacted_ledger_adds_up_and_is_loaded_on(loaded: Loaded) -> None:
    loaded.run("again", OffsetRange(loaded.topic, 0, 50, 150), kind="backfill")
    before = loaded.execute("SELECT COUNT(*) FROM kafka_ingest_batches")[0][0]
    sums = "SELECT SUM(row_count), SUM(dead_letter_count), SUM(end_offset - start_offset) FROM kafka_ingest_batches"
    total = loaded.execute(sums)
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
    done = compact_ledger(loaded.sink, loaded.stream, before=later, seconds=60, entries_a_transaction=3)
    assert done.finished
    after = loaded.execute("SELECT COUNT(*) FROM kafka_ingest_batches")[0][0]
    assert before - after == done.entries_removed
    assert done.entries_removed >= 4
    assert loaded.execute(sums) == total
    loaded.produce(seed=2, count=300)
    loaded.run("live-2")
    assert loaded.failed("live-2") == []


def test_the_example_counts_what_the_table_holds(loaded: Loaded) -> None:
    low, high = loaded.execute("SELECT MIN(_kafka_timestamp), MAX(_kafka_timestamp) FROM information")[0]
    first = low.replace(minute=0, second=0, microsecond=0)
    hours = [first + n * dt.timedelta(hours=1) for n in range((high - first) // dt.timedelta(hours=1) + 1)]
    for _ in range(2):
        count_hours(loaded.sink, hours[:200])
    inside = f"_kafka_timestamp < '{hours[:200][-1] + dt.timedelta(hours=1)}'"
    rows = loaded.execute(f"SELECT COUNT(*), COALESCE(SUM(is_original), 0) FROM information WHERE {inside}")[0]
    assert loaded.execute("SELECT SUM(items), SUM(originals) FROM information_per_hour")[0] == rows


PRODUCED = 400
LAUNCH = """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
CHECKS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { assetChecksOrError {
    ... on AssetChecks { checks { name executionForLatestMaterialization { status evaluation { success severity } } } } }
    } } }"""
OBSERVATIONS = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetObservations(limit: 50) { metadataEntries { label ... on IntMetadataEntry { intValue }
        ... on FloatMetadataEntry { floatValue } } } } } }"""
MATERIALIZATIONS = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 5) { partition } } } }"""


def test_under_dagster_checks_pass_topics_are_observed_and_the_example_materializes(
    kafka: LocalKafka, mariadb_url: str, topic: str, tmp_path: Path
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number in range(PRODUCED):  # all of this hour (or the next): the example counts by Kafka's timestamp
        item = {"type": "information", "id": f"n{number}", "title": "t", "publishTime": "2026-01-01"}
        producer.produce(
            topic, json.dumps(item | {"source": {"name": f"s{number % 3}"}}).encode(), partition=number % 4
        )
    assert producer.flush(30) == 0
    with DagsterDev(tmp_path / "dagster", environment(kafka.bootstrap_servers, mariadb_url, topic)) as dagster:

        def ended(job: str) -> list[dict[str, Any]]:
            return [r for r in dagster.runs() if r["jobName"] == job and r["status"] in ("SUCCESS", "FAILURE")]

        def checks(*path: str) -> dict[str, Any]:
            node = dagster.graphql(CHECKS, key={"path": list(path)})["assetNodeOrError"]
            return {
                c["name"]: (c["executionForLatestMaterialization"] or {}).get("evaluation")
                for c in node["assetChecksOrError"]["checks"]
            }

        dagster.wait_for(lambda: ended("ingest_information"), 120, "a run of the sensor's")
        passed = {"success": True, "severity": "ERROR"}
        warns = {"success": True, "severity": "WARN"}
        of_runs = {
            "run_accounting": passed,
            "run_tiling": passed,
            "consumer_group": warns,
            "dead_letter_ratio": warns,
            "run_rows_information": passed,
        }
        of_all = ("accounting", "tiling", "rows_information")
        assert checks("information", "ledger") == of_runs | dict.fromkeys(of_all)
        assert checks("information", "dead_letters") == checks("information", "information") == {}
        observed = dagster.graphql(OBSERVATIONS, key={"path": ["kafka", topic]})["assetOrError"]["assetObservations"]
        entries = {e["label"]: e.get("intValue", e.get("floatValue")) for e in observed[0]["metadataEntries"]}
        assert (entries["lag"], entries["end_offsets"], entries["kafka_partitions"]) == (0, PRODUCED, 4)
        assert isinstance(entries["messages_per_second"], float)

        key = {"path": ["information", "information"]}
        found = dagster.graphql(MATERIALIZATIONS, key=key)["assetOrError"]["assetMaterializations"]
        window = found[0]["partition"]
        where = {"repositoryLocationName": "kafka_ingest.definitions", "repositoryName": "__repository__"}
        selector = where | {
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": ["information", "information_per_hour"]}],
            "assetCheckSelection": [],
        }
        tags = [{"key": "dagster/partition", "value": window}]
        params: dict[str, Any] = {"selector": selector, "executionMetadata": {"tags": tags}, "mode": "default"}
        launched = dagster.graphql(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        audit = {"selector": where | {"pipelineName": "audit_ledger"}, "mode": "default"}
        assert dagster.graphql(LAUNCH, params=audit)["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess"
        dagster.wait_for(lambda: ended("__ASSET_JOB") and ended("audit_ledger"), 120, "the example and the audit")
        assert {r["status"] for r in dagster.runs()} <= {"SUCCESS", "STARTED", "QUEUED", "STARTING"}
        assert checks("information", "ledger") == of_runs | dict.fromkeys(of_all, passed)
    with sa.create_engine(mariadb_url).connect() as connection:
        items = connection.execute(sa.text("SELECT SUM(items), COUNT(DISTINCT source) FROM information_per_hour")).one()
        at_once = connection.execute(
            sa.text("SELECT COUNT(DISTINCT DATE_FORMAT(_kafka_timestamp, '%Y%m%d%H')) FROM information")
        ).scalar_one()
    assert items[1] == 3
    assert at_once == 2 or int(items[0]) == PRODUCED  # all of them, unless the hour turned meanwhile
