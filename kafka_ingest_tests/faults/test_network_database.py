"""The network to the database breaks at any step: a retryable error within a bound, and exactly once afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kafka_ingest.engine.stream_state import read_positions
from kafka_ingest.errors import DatabaseUnavailable, RetryableError
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.mysql import sink as mysql_sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.leaks import Resources
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import run_once, settings_of, stream_on, through
from kafka_ingest_tests.e2e.proxy import HEALTHY, Fault, FaultProxy
from kafka_ingest_tests.e2e.scale import DATABASES, IS_FULL

pytestmark = pytest.mark.faults

# The numbered steps of sinks.load.load, and the moment before the group's offsets are committed.
STEPS = [*(step for step in LoadStep if step is not LoadStep.AHEAD), "commit_offsets"]
SILENT_STEPS = STEPS if IS_FULL else [LoadStep.LOCK, LoadStep.ROWS, LoadStep.COMMIT, LoadStep.DONE]
RECONNECTS = 1_000 if IS_FULL else 60
RESETS = 200 if IS_FULL else 25
FAULTS = {
    "refused": Fault(refuse=True),
    "black hole": Fault(silent=True),
    "half open": Fault(half_open=True),
    "reset": Fault(reset_after_bytes=0),
    "reset within an answer": Fault(reset_after_bytes=2),
}
# The driver's options: what is waited for, in seconds. By default 10 and 300 (sinks/mysql/sink.py).
TIMEOUTS = {"connect_timeout": "1", "read_timeout": "1", "write_timeout": "1"}
# One statement that is not answered, one ping, one sign-in, and a slow machine.
BOUND_SECONDS = 1 + 1 + 1 + 4


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> LocalDatabase:
    server: LocalDatabase = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def proxy(database: LocalDatabase) -> Iterator[FaultProxy]:
    with FaultProxy(database.port) as proxy:
        yield proxy


class Breaker:
    """Breaks the network when a run comes to a step for the `visit`th time."""

    def __init__(self, proxy: FaultProxy, fault: Fault, step: str, visit: int = 1) -> None:
        self._proxy, self._fault, self._step, self._left = proxy, fault, step, visit
        self.broken_at: float | None = None

    def __call__(self, step: str) -> None:
        self._left -= step == self._step
        if step == self._step and self._left == 0:
            self._proxy.set(self._fault)
            self.broken_at = time.monotonic()


@pytest.mark.parametrize("fault", FAULTS if IS_FULL else ["black hole", "reset"])
def test_a_network_that_breaks_at_any_step_is_a_retryable_error_in_time_and_exactly_once_after_it(
    kafka: LocalKafka, database_url: str, topic: str, proxy: FaultProxy, fault: str
) -> None:
    truth = Truth()
    settings = settings_of(kafka.bootstrap_servers, through(database_url, proxy, **TIMEOUTS))
    stream = stream_on(topic, max_rows=1_000)
    for number, step in enumerate(SILENT_STEPS if fault in ("black hole", "half open") else STEPS):
        produce(kafka.bootstrap_servers, topic, news(seed=number, count=120, bad_ratio=0.1), truth)
        breaker = Breaker(proxy, FAULTS[fault], step)
        try:
            with pytest.raises(RetryableError) as caught:
                run_once(stream, settings, at_step=breaker)
            assert breaker.broken_at is not None, f"step {step} never came: {caught.value}"
            took = time.monotonic() - breaker.broken_at
            assert took < BOUND_SECONDS, f"step {step} took {took:.1f} s: {caught.value}"
        finally:
            proxy.set(HEALTHY)
    run_once(stream, settings)
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_a_silent_server_is_waited_for_at_the_ping_and_the_sign_in_no_longer_than_to_connect(
    mysql_url: str, topic: str, mysql: LocalDatabase
) -> None:
    """By default 10 s each, and not the 300 s of a statement."""
    with FaultProxy(mysql.port) as proxy:
        sink = open_sink(sa.make_url(through(mysql_url, proxy, connect_timeout="1")))
        read_positions(sink, stream_on(topic))  # the pool has a connection now
        with proxy.fault(Fault(silent=True)):
            begun = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                read_positions(sink, stream_on(topic))
            assert time.monotonic() - begun < 1 + 1 + 4
        sink.close()


def test_a_connection_reset_after_any_number_of_bytes_is_a_retryable_error(
    kafka: LocalKafka, database: LocalDatabase, database_url: str, topic: str
) -> None:
    """Between the steps, too: while tables are prepared, in the middle of an answer, in a savepoint."""
    truth = Truth()
    random_ = random.Random(11)
    failed = 0
    with FaultProxy(database.port) as proxy:
        settings = settings_of(kafka.bootstrap_servers, through(database_url, proxy, **TIMEOUTS))
        stream = stream_on(topic)
        for number in range(RESETS):
            produce(kafka.bootstrap_servers, topic, news(seed=number, count=20, bad_ratio=0.2), truth)
            with proxy.fault(Fault(reset_after_bytes=random_.randrange(1, 16_000))):
                try:
                    run_once(stream, settings)
                except RetryableError:
                    failed += 1
        assert failed > RESETS // 2
        run_once(stream, settings)
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_a_network_that_is_slow_and_stalls_loads_everything_once(
    kafka: LocalKafka, mysql: LocalDatabase, mysql_url: str, topic: str
) -> None:
    truth = Truth()
    with FaultProxy(mysql.port, seed=3) as proxy:
        stream = stream_on(topic)
        settings = settings_of(kafka.bootstrap_servers, through(mysql_url, proxy, **TIMEOUTS))
        produce(kafka.bootstrap_servers, topic, news(seed=1, count=1_000), truth)
        # A stall may be longer than what is waited for: then the run fails, and the next one goes on.
        with proxy.fault(Fault(latency_seconds=0.005, stall_ratio=0.01, stall_seconds=1.5)):
            for _ in range(20):
                try:
                    run_once(stream, settings)
                except RetryableError:
                    continue
                break
            else:
                raise AssertionError("20 runs in a row failed")
    run_once(stream, settings_of(kafka.bootstrap_servers, mysql_url))
    assert_exactly_once(mysql_url, kafka.bootstrap_servers, topic, truth)


def test_a_machine_that_vanished_in_a_transaction_blocks_the_stream_for_the_idle_timeout_at_most(
    kafka: LocalKafka, database: LocalDatabase, database_url: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = Truth()
    monkeypatch.setattr(mysql_sink, "IDLE_TIMEOUT_SECONDS", 4)
    stream = stream_on(topic)
    produce(kafka.bootstrap_servers, topic, news(seed=1, count=150), truth)
    with FaultProxy(database.port) as proxy:

        def vanish(step: str) -> None:
            if step == LoadStep.RECORD:  # the ledger's rows are locked, the tables written
                proxy.strand_all()

        lost = settings_of(kafka.bootstrap_servers, through(database_url, proxy, **TIMEOUTS))
        with pytest.raises(RetryableError):
            run_once(stream, lost, at_step=vanish)
        # Another machine takes over: it waits for the locks of a client that the server still believes in.
        begun = time.monotonic()
        run_once(stream, settings_of(kafka.bootstrap_servers, database_url))
        assert 1 < time.monotonic() - begun < 4 + 10
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_a_commit_that_arrives_late_is_counted_once(
    kafka: LocalKafka, database: LocalDatabase, database_url: str, topic: str
) -> None:
    """The black hole ends after the client has given up: the server gets the COMMIT then, while the next run loads."""
    truth = Truth()
    with FaultProxy(database.port) as proxy:
        settings = settings_of(kafka.bootstrap_servers, through(database_url, proxy, **TIMEOUTS))
        stream = stream_on(topic)
        for seed in range(3):
            produce(kafka.bootstrap_servers, topic, news(seed=seed, count=150), truth)
            with pytest.raises(RetryableError):
                run_once(stream, settings, at_step=Breaker(proxy, Fault(silent=True), LoadStep.COMMIT))
            healing = threading.Timer(0.2 * seed, proxy.set, (HEALTHY,))
            healing.start()
            run_once(stream, settings_of(kafka.bootstrap_servers, database_url))
            healing.join()
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_many_reconnects_leave_no_connection_behind(
    kafka: LocalKafka, database: LocalDatabase, database_url: str, topic: str
) -> None:
    truth = Truth()
    produce(kafka.bootstrap_servers, topic, news(seed=1, count=20), truth)
    stream = stream_on(topic)
    with FaultProxy(database.port) as proxy:
        settings = settings_of(kafka.bootstrap_servers, through(database_url, proxy, **TIMEOUTS))
        run_once(stream, settings)
        sink = open_sink(settings.database_url)
        read_positions(sink, stream)
        before, accepted = Resources.now(), proxy.accepted
        for _ in range(RECONNECTS):
            proxy.reset_all()
            read_positions(sink, stream)
        assert proxy.accepted - accepted >= RECONNECTS
        Resources.now().assert_no_more_than(before)
        sink.close()
    assert _connections(database_url) == 1


def _connections(url: str) -> int:
    """Connections to this database, ours included; one that was just closed may be listed for a moment."""
    engine = sa.create_engine(url)
    query = sa.text("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()")
    try:
        with engine.connect() as connection:
            deadline = time.monotonic() + 10
            while (count := int(connection.execute(query).scalar_one())) > 1 and time.monotonic() < deadline:
                time.sleep(0.2)
            return count
    finally:
        engine.dispose()
