"""Who is waited for (the sensor's tick, `status`, `doctor`) answers in time when a server does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest.kafka import timeouts
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.orchestration import clients, sensors
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.names import Names
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.leaks import Resources
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import ProxiedKafka, proxied_kafka, run_once, settings_of, stream_on, through
from kafka_ingest_tests.e2e.proxy import Fault, FaultProxy
from kafka_ingest_tests.e2e.scale import IS_FULL
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.support.placed import environment_resources

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")]

TICK_LIMIT_SECONDS = 60.0  # Dagster's own
LOOK_SECONDS = sensors.LOOK_SECONDS if IS_FULL else 8.0
STATEMENT_SECONDS = clients.STATEMENT_SECONDS if IS_FULL else 2
# Start of a Python process with all our imports, on a busy machine.
START_SECONDS = 30.0
SILENT, HALF_OPEN, REFUSED = Fault(silent=True), Fault(half_open=True), Fault(refuse=True)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedKafka]:
    with proxied_kafka(tmp_path_factory.mktemp("proxied")) as found:
        yield found


@pytest.fixture
def database_proxy(mysql: LocalDatabase) -> Iterator[FaultProxy]:
    with FaultProxy(mysql.port) as proxy:
        yield proxy


@pytest.fixture
def topic(kafka: ProxiedKafka) -> str:
    return make_topic(kafka.broker, partitions=4)


class Sensor:
    """The stream's sensor, evaluated in this process as the code server does it."""

    def __init__(self, topic: str, instance: dg.DagsterInstance) -> None:
        stream = stream_on(topic)
        self._instance = instance
        self._repository = build_definitions([stream]).get_repository_def()
        self._sensor = self._repository.get_sensor_def(Names().sensor(stream))

    def tick(self) -> tuple[str, float]:
        """What the tick says, and how many seconds it took."""
        begun = time.monotonic()
        with dg.build_sensor_context(
            instance=self._instance, repository_def=self._repository, resources=environment_resources()
        ) as context:
            found = self._sensor.evaluate_tick(context)
        said = type(found.run_requests[0]).__name__ if found.run_requests else found.skip_message
        return str(said), time.monotonic() - begun


@pytest.fixture
def sensor(
    kafka: ProxiedKafka, mysql_url: str, topic: str, database_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sensor]:
    monkeypatch.setattr(sensors, "LOOK_SECONDS", LOOK_SECONDS)
    monkeypatch.setattr(clients, "STATEMENT_SECONDS", STATEMENT_SECONDS)
    monkeypatch.setattr(timeouts, "REQUEST_TIMEOUT_SECONDS", timeouts.REQUEST_TIMEOUT_SECONDS if IS_FULL else 3.0)
    options = {} if IS_FULL else {"connect_timeout": "2"}
    url = through(mysql_url, database_proxy, **options)
    for name, value in environment(kafka.bootstrap_servers, url, topic).items():
        monkeypatch.setenv(name, value)
    produce(kafka.broker.bootstrap_servers, topic, news(seed=1, count=50), Truth())
    clients._clients.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Sensor(topic, instance)
    clients._clients.cache_clear()


def test_a_tick_ends_with_a_reason_long_before_dagster_ends_it(
    sensor: Sensor, kafka: ProxiedKafka, database_proxy: FaultProxy
) -> None:
    assert sensor.tick()[0] == "RunRequest"
    for fault in (SILENT, HALF_OPEN, REFUSED) if IS_FULL else (SILENT,):
        for proxy, says in ((database_proxy, "DatabaseUnavailable"), (kafka.proxy, "KafkaUnavailable")):
            with proxy.fault(fault):
                said, seconds = sensor.tick()
                assert said.startswith(says), said
                assert seconds < LOOK_SECONDS + 2 < TICK_LIMIT_SECONDS, (fault, says, seconds)
            for _ in range(20):  # librdkafka connects again within its own backoff
                if (said := sensor.tick()[0]) == "RunRequest":
                    break
            assert said == "RunRequest"


def test_a_tick_over_a_slow_network_ends_with_a_reason_too(
    sensor: Sensor, kafka: ProxiedKafka, database_proxy: FaultProxy
) -> None:
    """Every request is answered within its own limit; their sum would be too long."""
    latency = Fault(latency_seconds=LOOK_SECONDS / 10)
    with kafka.proxy.fault(latency):
        said, seconds = sensor.tick()
    assert said.startswith("KafkaUnavailable") or said == "RunRequest", said
    assert seconds < LOOK_SECONDS + 4, seconds


def test_ticks_over_a_broken_network_leave_no_descriptor_or_thread_behind(sensor: Sensor, kafka: ProxiedKafka) -> None:
    sensor.tick()
    before = Resources.now()
    for _ in range(200 if IS_FULL else 20):
        kafka.proxy.reset_all()
        sensor.tick()
    Resources.now().assert_no_more_than(before)


def test_status_and_doctor_answer_a_person_in_time(
    kafka: ProxiedKafka, mysql_url: str, topic: str, database_proxy: FaultProxy, tmp_path: Path
) -> None:
    run_once(stream_on(topic), settings_of(kafka.broker.bootstrap_servers, mysql_url))
    environ = environment(kafka.bootstrap_servers, through(mysql_url, database_proxy), topic)
    with database_proxy.fault(SILENT):
        _answer_in_time(environ, tmp_path, {"status": (75, "MySQL server")} if IS_FULL else {})
        with kafka.proxy.fault(SILENT):
            # What `doctor` finds it says of both; `status` looks at Kafka first.
            said = {"status": (75, "describing topic"), "doctor": (1, "(?s)asking.*MySQL server")}
            _answer_in_time(environ, tmp_path, said)


def _answer_in_time(environ: dict[str, str], folder: Path, expected: dict[str, tuple[int, str]]) -> None:
    """Exit code (75 is EX_TEMPFAIL) and what is said."""
    begun = time.monotonic()
    started = {command: _command(environ, command, folder) for command in expected}
    for command, process in started.items():
        out, err = process.communicate(timeout=120)
        code, word = expected[command]
        assert process.returncode == code, (command, out, err)
        assert re.search(word, err + out), (command, out, err)
        assert time.monotonic() - begun < timeouts.REQUEST_TIMEOUT_SECONDS + START_SECONDS, (command, out, err)


def _command(environ: dict[str, str], command: str, folder: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli()", command]
    return subprocess.Popen(
        program,
        env={**os.environ, **environ, "DAGSTER_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
