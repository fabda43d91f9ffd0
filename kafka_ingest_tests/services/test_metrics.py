"""The running exporter, scraped on a real Kafka and MySQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import free_port
from kafka_ingest.settings import Settings
from kafka_ingest_tests.support.catch_up import catch_up, query, send, stream_of

pytestmark = pytest.mark.services

PROGRAM = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli(prog_name='kafka-ingest')", "metrics"]
STREAM = """
import dataclasses
from kafka_ingest.streams.information import STREAM as DECLARED
STREAM = dataclasses.replace(DECLARED, topics={topic!r})
"""


@contextmanager
def exporter(environment: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, once it answers, and its address. It is asked to end at the end, and has to end well."""
    address = f"127.0.0.1:{free_port()}"
    command = [*PROGRAM, "--listen", address, *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == f"Metrics at http://{address}/metrics; Ctrl-C ends\n"
            yield process, f"http://{address}/metrics"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


def scrape(url: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  our own server's
        text = answer.read().decode()
    return {
        (
            sample.name.removeprefix("kafka_ingest_"),
            *(sample.labels[name] for name in sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_running_command_answers_a_scrape_with_what_the_servers_hold(
    kafka: LocalKafka, topic: str, mysql_url: str, tmp_path: Path
) -> None:
    (tmp_path / "watched_stream.py").write_text(STREAM.format(topic=topic))
    own = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_INGEST_DATABASE_URL": mysql_url,
        "KAFKA_INGEST_STREAMS": "watched_stream",
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "DAGSTER_"))} | own
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", os.getcwd())])  # noqa: PTH109
    settings, stream = Settings.from_environment(own), stream_of(topic)
    send(kafka, topic, ["a", "b"])
    send(kafka, topic, ["c"], partition=1)
    catch_up(stream, settings)
    begun = time.time()
    send(kafka, topic, ["d"])
    with exporter(environment) as (_, url):
        found = scrape(url)
        assert found["up", "information"] == 1
        assert found["lag_offsets", "information"] == found["partition_lag_offsets", "0", "information", topic] == 1
        assert found["partition_next_offset", "0", "information", topic] == 2
        assert found["partition_log_end_offset", "1", "information", topic] == 1
        assert 0 <= found["oldest_waiting_seconds", "information"] <= time.time() - begun + 1
        assert found["offsets_total", "live", "row", "information"] == 3
        assert found["rows_total", "live", "information", "information"] == 3
        assert (
            found["rows_total", "live", "information", "information"]
            == query(settings, "SELECT COUNT(*) FROM information")[0][0]
        )
        assert abs(found["last_load_timestamp_seconds", "live", "information"] - begun) < 60
        assert not [name for name in found if name[0] in ("runs", "dagster_up")]
        catch_up(stream, settings)
        deadline = time.monotonic() + 30
        while (found := scrape(url))["offsets_total", "live", "row", "information"] != 4:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert found["lag_offsets", "information"] == found["oldest_waiting_seconds", "information"] == 0


def test_an_exporter_without_servers_answers_that_it_sees_nothing(tmp_path: Path) -> None:
    own = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "KAFKA_INGEST_DATABASE_URL": f"mysql+pymysql://u:s3cret-pass@127.0.0.1:{free_port()}/db",
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "DAGSTER_"))} | own
    answer = subprocess.run(
        [*PROGRAM, "--once"], env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert answer.returncode == 1
    assert 'kafka_ingest_up{stream="information"} 0.0' in answer.stdout
    assert "DatabaseUnavailable" in answer.stderr
    assert "s3cret" not in answer.stdout + answer.stderr
