"""What a database in trouble says while a run loads: retried or failed as its class says, and exactly once afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from kafka_ingest.errors import DatabaseUnavailable, KafkaIngestError, PermanentError, SchemaMismatch
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.load import CONFLICT_TRIES
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import opened, run_once, settings_of, stream_on
from kafka_ingest_tests.e2e.scale import DATABASES

pytestmark = pytest.mark.faults


class Case:
    """A stream of the test's own, and what becomes of it."""

    def __init__(self, kafka: LocalKafka, url: str, topic: str) -> None:
        self.servers, self.url, self.topic = kafka.bootstrap_servers, url, topic
        self.truth = Truth()
        self.stream: Stream = stream_on(topic, max_rows=100)
        self.settings: Settings = settings_of(self.servers, url)
        self._seed = 0

    def produce(self, count: int = 200) -> None:
        self._seed += 1
        produce(self.servers, self.topic, news(seed=self._seed, count=count, bad_ratio=0.1), self.truth)

    def run(self, at_step: Callable[[str], None] = lambda _step: None) -> None:
        run_once(self.stream, self.settings, at_step=at_step)

    def fails(self, kind: type[KafkaIngestError], number: int, at_step: Callable[[str], None]) -> None:
        """A run fails with this class of error, which names the server's error number."""
        with pytest.raises(kind, match=rf"error {number}\b"):
            self.run(at_step)

    def check(self) -> None:
        """A run without trouble, then everything is there once."""
        self.run()
        assert_exactly_once(self.url, self.servers, self.topic, self.truth)

    @contextmanager
    def session(self) -> Iterator[sa.Connection]:
        """A connection of somebody else."""
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def execute(self, sql: str) -> None:
        with self.session() as connection:
            connection.exec_driver_sql(sql)
            connection.commit()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> LocalDatabase:
    server: LocalDatabase = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def case(kafka: LocalKafka, database_url: str, topic: str) -> Case:
    found = Case(kafka, database_url, topic)
    found.produce()
    found.run()
    found.produce()
    return found


def at(wanted: str, act: Callable[[], object], visit: int = 1) -> Callable[[str], None]:
    """Calls `act` when a run comes to this step for the `visit`th time."""
    left = [visit]

    def at_step(step: str) -> None:
        left[0] -= step == wanted
        if step == wanted and left[0] == 0:
            left[0] = -1
            act()

    return at_step


def test_a_row_of_the_ledger_locked_by_somebody_else_is_a_lock_wait_timeout_and_retryable(
    case: Case, database: LocalDatabase
) -> None:
    with _globals(database, innodb_lock_wait_timeout="1"), case.session() as other:
        other.exec_driver_sql("SELECT * FROM kafka_ingest_offsets FOR UPDATE")
        case.fails(DatabaseUnavailable, 1205, lambda _step: None)
    case.check()


def test_a_table_locked_in_the_middle_of_a_load_is_a_lock_wait_timeout_and_retryable(
    case: Case, database: LocalDatabase
) -> None:
    """Within a savepoint: the statement is rolled back, then the savepoint, then all of it."""
    with _globals(database, innodb_lock_wait_timeout="1"), case.session() as other:
        other.exec_driver_sql("SELECT * FROM information FOR UPDATE")
        other.exec_driver_sql("SELECT * FROM announcement FOR UPDATE")
        case.fails(DatabaseUnavailable, 1205, lambda _step: None)
    case.check()


class Entangler:
    """Somebody else whose work and a load wait for each other, as often as `tries`; the load is the one that the server ends."""

    def __init__(self, case: Case, tries: int) -> None:
        case.execute("CREATE TABLE other_work (id INT PRIMARY KEY, n INT)")
        case.execute("INSERT INTO other_work VALUES " + ", ".join(f"({n}, 0)" for n in range(5_000)))
        self._case, self._left = case, tries
        self._thread: threading.Thread | None = None
        self.deadlocks = 0

    def at_step(self, step: str) -> None:
        if step == LoadStep.BEGIN and self._left:
            self._left -= 1
            self.join()
            has_locked = threading.Event()
            self._go_on = threading.Event()
            self._thread = threading.Thread(target=self._work, args=(has_locked, self._go_on))
            self._thread.start()
            assert has_locked.wait(30)
        if step == LoadStep.ROWS:  # the load has the ledger's rows, and wants those of a table
            self._go_on.set()

    def _work(self, has_locked: threading.Event, go_on: threading.Event) -> None:
        with self._case.session() as other:
            # Heavier than the load, so that InnoDB chooses the load as its victim.
            other.exec_driver_sql("UPDATE other_work SET n = n + 1")
            other.exec_driver_sql("SELECT * FROM announcement FOR UPDATE")
            has_locked.set()
            assert go_on.wait(30)
            time.sleep(0.5)
            other.exec_driver_sql("SELECT * FROM kafka_ingest_offsets FOR UPDATE")
            self.deadlocks += 1
            other.rollback()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(30)


def test_a_deadlock_is_outlived_by_the_load_it_ends(case: Case) -> None:
    """InnoDB rolls the whole transaction back, with its savepoints: it is begun again, and what it leaves is whole."""
    entangler = Entangler(case, tries=3)
    case.run(entangler.at_step)
    entangler.join()
    assert entangler.deadlocks == 3
    assert_exactly_once(case.url, case.servers, case.topic, case.truth)


def test_deadlocks_without_end_are_retryable_though_each_ends_the_savepoints_too(case: Case) -> None:
    """What comes after it must not hide the deadlock."""
    entangler = Entangler(case, tries=CONFLICT_TRIES)
    case.fails(DatabaseUnavailable, 1213, entangler.at_step)
    entangler.join()
    assert entangler.deadlocks == CONFLICT_TRIES
    case.check()


def test_a_read_only_server_is_retryable(case: Case, database: LocalDatabase) -> None:
    """A failover in progress. The application's user has neither SUPER nor READ_ONLY ADMIN."""
    for step in (LoadStep.STAGE, LoadStep.BEGIN, LoadStep.ROWS):
        with _globals(database) as set_global, pytest.raises(DatabaseUnavailable, match=r"error (1290|1836|1792)\b"):
            case.run(at(step, lambda: set_global(read_only="ON")))  # called at once
        case.produce(50)
    case.check()


def test_too_many_connections_are_retryable(case: Case, database: LocalDatabase) -> None:
    with _globals(database, max_connections="10"):
        engine = sa.create_engine(case.url, pool_size=40, max_overflow=0)
        held: list[sa.Connection] = []
        with pytest.raises(sa.exc.OperationalError, match="1040"):
            _fill(engine, held)
        case.fails(DatabaseUnavailable, 1040, lambda _step: None)
        for connection in held:
            connection.close()
        engine.dispose()
    case.check()


def _fill(engine: sa.Engine, held: list[sa.Connection]) -> None:
    while True:
        held.append(engine.connect())


def test_a_connection_killed_at_any_step_is_retryable(case: Case, database: LocalDatabase) -> None:
    name = sa.make_url(case.url).database

    def kill_all() -> None:
        with case.session() as connection:
            own = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
            query = f"SELECT id FROM information_schema.processlist WHERE db = '{name}' AND id <> {own}"
            found = connection.exec_driver_sql(query).scalars().all()
        for each in found:
            database.run_as_administrator(f"KILL CONNECTION {each}")

    for step in [step for step in LoadStep if step not in (LoadStep.STAGE, LoadStep.AHEAD, LoadStep.DONE)]:
        case.produce(30)
        with pytest.raises(DatabaseUnavailable):
            case.run(at(step, kill_all))
    case.check()


@pytest.mark.parametrize("visit", [1, 2])
def test_a_table_dropped_under_us_fails_loudly_and_loads_again_after_it_is_there(case: Case, visit: int) -> None:
    """Between plan and load, and between slices. What was loaded into it before is the operator's to bring back."""
    case.fails(SchemaMismatch, 1146, at(LoadStep.STAGE, lambda: case.execute("DROP TABLE information"), visit))
    case.run()
    with case.session() as connection:
        first = connection.exec_driver_sql(
            "SELECT MIN(_kafka_offset) FROM information WHERE _kafka_partition = 0"
        ).scalar()
    assert first, "the rows from before the drop"
    with opened(case.stream, case.settings) as ingestion:
        lost = ingestion.look()
    ranges = [OffsetRange(*tp, 0, p.next_offset) for tp, p in lost.ledger.items() if p.next_offset]
    with opened(case.stream, case.settings) as ingestion:
        batch = ingestion.plan(ranges, "backfill")
        ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "backfill")
        list(ingestion.drain(batch))
    case.check()


def test_a_column_dropped_under_us_fails_loudly(case: Case) -> None:
    case.fails(
        SchemaMismatch, 1054, at(LoadStep.STAGE, lambda: case.execute("ALTER TABLE information DROP COLUMN title"))
    )
    with pytest.raises(SchemaMismatch, match="column title is missing"):  # every later run says what to do
        case.run()


def test_a_column_made_narrow_under_us_makes_dead_letters_not_cut_values(case: Case) -> None:
    case.execute("UPDATE information SET url = NULL")
    case.run(at(LoadStep.STAGE, lambda: case.execute("ALTER TABLE information MODIFY COLUMN url VARCHAR(5)")))
    with case.session() as connection:
        letters = connection.exec_driver_sql(
            "SELECT COUNT(*) FROM kafka_ingest_dead_letters WHERE stage = 'database'"
        ).scalar()
        cut = connection.exec_driver_sql("SELECT COUNT(*) FROM information WHERE url IS NOT NULL").scalar()
    assert letters
    assert cut == 0


def test_a_message_larger_than_the_servers_packet_is_told_apart_from_a_lost_connection(
    kafka: LocalKafka, database: LocalDatabase, database_url: str
) -> None:
    """The server drops the connection of a statement that is too large: retried for ever, it would stop the stream."""
    case = Case(kafka, database_url, make_topic(kafka, partitions=4, max_message_bytes="10000000"))
    case.produce()
    case.run()
    row = b'{"type": "information", "id": "large", "title": "t", "publishTime": "2024-05-01", "content": "%s"}'
    message = b'{"type": "information", "id": "large", "title": "' + b"x" * 3_000_000 + b'"'  # no end: not JSON
    producer = Producer({"bootstrap.servers": case.servers, "message.max.bytes": 10_000_000})

    def send(body: bytes) -> None:
        producer.produce(case.topic, body, partition=0)
        assert producer.flush(30) == 0

    send(row % (b"y" * 3_000_000))
    with _globals(database, max_allowed_packet=str(1024 * 1024)):
        case.run()  # LOAD DATA sends a row in pieces
    send(message)
    with (
        _globals(database, max_allowed_packet=str(1024 * 1024)),
        pytest.raises(PermanentError, match=r"(?s)\[0\]@.*[0-9,]{9} bytes.*max_allowed_packet"),
    ):
        case.run()
    case.run()
    with case.session() as connection:
        query = "SELECT LENGTH(message_value) FROM kafka_ingest_dead_letters ORDER BY 1 DESC LIMIT 1"
        assert connection.exec_driver_sql(query).scalar() == len(message)
        assert connection.exec_driver_sql("SELECT MAX(LENGTH(content)) FROM information").scalar() == 3_000_000


@contextmanager
def _globals(database: LocalDatabase, **values: str) -> Iterator[Callable[..., None]]:
    """Global settings of the server, put back at the end; yields what sets more of them."""
    before: dict[str, str] = {}

    def set_global(**more: str) -> None:
        for name, value in more.items():
            before.setdefault(name, _global(database, name))
            database.run_as_administrator(f"SET GLOBAL {name} = {value}")

    try:
        set_global(**values)
        yield set_global
    finally:
        for name, value in before.items():
            database.run_as_administrator(f"SET GLOBAL {name} = {value}")


def _global(database: LocalDatabase, name: str) -> str:
    engine = sa.create_engine(database.url())
    try:
        with engine.connect() as connection:
            return str(connection.exec_driver_sql(f"SELECT @@GLOBAL.{name}").scalar_one())
    finally:
        engine.dispose()
