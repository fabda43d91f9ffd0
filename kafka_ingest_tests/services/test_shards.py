"""One stream by several runs at once, on real servers, also as it is divided anew while they load."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_services import CODE_SERVER, DagsterServices
from kafka_ingest_tests.e2e.news import Truth, as_stored, news, produce
from kafka_ingest_tests.e2e.streams import SHARDS_VARIABLE, environment

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore")]

MESSAGES = 4_000


def test_a_stream_loaded_by_two_runs_and_then_by_three_is_loaded_exactly_once(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path
) -> None:
    """New code divides it otherwise while runs of the old division load: the code server is started again, they live on."""
    truth, servers = Truth(), kafka.bootstrap_servers
    environ = environment(servers, mysql_url, topic, shards=2)
    with DagsterServices(tmp_path / "dagster", environ) as services:
        produce(servers, topic, as_stored(news(1, MESSAGES), mysql_url), truth)
        services.wait_for(lambda: shards(services) == {"0/2", "1/2"}, 90, "a run of each shard")
        services.wait_for(lambda: ledger_total(mysql_url) > 0, 90, "the first rows")
        services.kill(CODE_SERVER)
        services.environ[SHARDS_VARIABLE] = "3"
        services.start(CODE_SERVER)
        seeds = itertools.count(2)

        def new_shards_run() -> bool:
            """Messages keep coming, so that runs of the old division are loading as those of the new one begin."""
            produce(servers, topic, as_stored(news(next(seeds), 200), mysql_url), truth)
            return shards(services) >= {"0/3", "1/3", "2/3"}

        services.wait_for(new_shards_run, 120, "a run of each new shard")
        services.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        services.wait_for(lambda: not services.is_busy(), 120, "the runs to end")
        assert {run.status.value for run in services.runs()} == {"SUCCESS"}, services.tail()
    assert_exactly_once(mysql_url, servers, topic, truth)


def shards(services: DagsterServices) -> set[str]:
    """Of all runs so far."""
    return {run.tags["kafka_ingest/shard"] for run in services.runs() if "kafka_ingest/shard" in run.tags}
