"""The real Kafka, MySQL and MariaDB that the demo and the other tests run on: data, restarts, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pymysql
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy.engine import make_url

from kafka_ingest.cli.local import local
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.embedded import EmbeddedKafka
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.kafka_probe import probe_broker

pytestmark = pytest.mark.services

LOOPBACK_HEX = "0100007F"


def processes_under(folder: Path) -> list[str]:
    """The command lines of every process that names the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if str(folder) in line]


def listening(pid: int) -> set[tuple[str, int]]:
    """Address (as the kernel writes it) and port of every TCP socket the process listens on."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found.add((address, int(port, 16)))
    return found


# --- Kafka ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    broker = LocalKafka.start(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


def send(broker: LocalKafka | EmbeddedKafka, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "acks": "all"})
    for number in range(count):
        # A timestamp of 2020: the broker's default retention must not delete it.
        producer.produce(topic, value=str(number).encode(), timestamp=1_577_836_800_000 + number)
    assert producer.flush(30) == 0


def watermarks(broker: LocalKafka | EmbeddedKafka, topic: str) -> tuple[int, int]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "watermarks"})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    finally:
        consumer.close()
    return low, high


def create_topic(broker: LocalKafka | EmbeddedKafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)


def test_the_broker_passes_the_probe_and_leaves_no_topic_of_it(kafka: LocalKafka) -> None:
    probe_broker(kafka.bootstrap_servers)
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=30).topics
    assert not [name for name in topics if "probe" in name]


def test_the_broker_listens_on_loopback_only(kafka: LocalKafka) -> None:
    found = listening(kafka.pid)
    assert {address for address, _ in found} == {LOOPBACK_HEX}
    assert kafka.bootstrap_servers in {f"127.0.0.1:{port}" for _, port in found}
    assert len(found) == 2  # broker and controller


def test_starting_on_the_same_folder_finds_the_running_broker(kafka: LocalKafka) -> None:
    again = LocalKafka.start(kafka.data_dir)
    assert (again.pid, again.bootstrap_servers) == (kafka.pid, kafka.bootstrap_servers)
    with pytest.raises(LocalServerError, match="stop it first"):
        LocalKafka.start(kafka.data_dir, properties={"num.io.threads": "2"})


def test_records_survive_a_restart_and_a_kill_on_the_same_port(kafka: LocalKafka) -> None:
    address, first_pid = kafka.bootstrap_servers, kafka.pid
    create_topic(kafka, "survivors")
    send(kafka, "survivors", 5)

    kafka.restart()
    assert watermarks(kafka, "survivors") == (0, 5)
    send(kafka, "survivors", 3)

    kafka.kill()
    assert not kafka.running
    kafka.restart()
    assert watermarks(kafka, "survivors") == (0, 8)
    assert kafka.bootstrap_servers == address
    assert kafka.pid != first_pid


def test_a_wrong_property_fails_with_the_brokers_own_words(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"Invalid value none for configuration num\.io\.threads"):
        LocalKafka.start(tmp_path, properties={"num.io.threads": "none"})
    assert processes_under(tmp_path) == []


def test_stop_leaves_no_process_and_the_next_start_finds_port_and_data(kafka: LocalKafka) -> None:
    create_topic(kafka, "kept")
    send(kafka, "kept", 2)
    address = kafka.bootstrap_servers
    kafka.stop()
    kafka.stop()
    assert processes_under(kafka.data_dir) == []

    again = LocalKafka.start(kafka.data_dir)
    assert again.bootstrap_servers == address
    assert watermarks(again, "kept") == (0, 2)


def test_the_stand_in_broker_passes_the_probe_and_keeps_data_over_a_restart(tmp_path: Path) -> None:
    broker = EmbeddedKafka.start(tmp_path)
    try:
        create_topic(broker, "kept")
        send(broker, "kept", 4)
        broker.restart()
        assert watermarks(broker, "kept") == (0, 4)
    finally:
        broker.stop()
    assert processes_under(tmp_path) == []


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabase]:
    # Deep on purpose: a socket path over 107 bytes must not stop the server.
    folder = tmp_path_factory.mktemp("database") / ("deep" * 20) / request.param
    server = LocalDatabase.start(request.param, folder)
    yield server
    server.stop()


def query(server: LocalDatabase, *statements: str, database: str = "kafka_ingest") -> tuple[tuple[object, ...], ...]:
    """Run and commit the statements as the application user; the rows of the last one."""
    url = make_url(server.url(database))
    connection = pymysql.connect(
        host=url.host, port=url.port or 0, user=url.username, password=url.password or "", database=url.database
    )
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            rows = cursor.fetchall()
        connection.commit()
    finally:
        connection.close()
    return tuple(tuple(row) for row in rows)


def test_the_server_is_what_was_asked_for(database: LocalDatabase) -> None:
    version, local_infile, bind = query(database, "SELECT VERSION(), @@local_infile, @@bind_address")[0]
    assert version == database.version
    assert ("MariaDB" in str(version)) == (database.kind == "mariadb")
    assert (local_infile, bind) == (1, "127.0.0.1")


def test_the_server_listens_on_one_loopback_port_only(database: LocalDatabase) -> None:
    assert listening(database.pid) == {(LOOPBACK_HEX, database.port)}


def test_rows_survive_a_restart_and_a_kill_on_the_same_port(database: LocalDatabase) -> None:
    port, first_pid = database.port, database.pid
    query(database, "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    database.restart()
    assert query(database, "SELECT id FROM t") == ((1,),)
    query(database, "INSERT INTO t VALUES (2)")
    database.kill()
    database.restart()
    assert query(database, "SELECT id FROM t ORDER BY id") == ((1,), (2,))
    assert database.port == port
    assert database.pid != first_pid


def test_the_application_user_has_rights_on_created_databases_and_no_other(database: LocalDatabase) -> None:
    database.create_database("made_up")
    database.create_database("made_up")
    query(database, "CREATE TABLE IF NOT EXISTS t (id INT)", database="made_up")
    for statement in ("CREATE DATABASE madexup", "SELECT COUNT(*) FROM mysql.user"):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            query(database, statement)
    with pytest.raises(LocalServerError, match="no name for a database"):
        database.create_database("a`b")


def test_no_account_is_without_a_password(database: LocalDatabase) -> None:
    for user in ("root", "", "kafka_ingest"):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            pymysql.connect(host="127.0.0.1", port=database.port, user=user, password="")
    assert not (database.data_dir / "init.sql").exists()
    assert (database.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_options_win_and_a_stop_leaves_no_process(database: LocalDatabase) -> None:
    database.stop()
    database.stop()
    assert processes_under(database.data_dir) == []
    changed = LocalDatabase.start(database.kind, database.data_dir, options={"local_infile": "OFF"})
    assert changed.port == database.port
    assert query(changed, "SELECT @@local_infile") == ((0,),)
    with pytest.raises(LocalServerError, match="stop it first"):
        LocalDatabase.start(database.kind, database.data_dir)
    changed.stop()


def test_a_wrong_option_fails_with_the_servers_own_words(database: LocalDatabase, tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"ended while starting(?s:.)*no-such-option"):
        LocalDatabase.start(database.kind, tmp_path, options={"no_such_option": "1"})
    assert processes_under(tmp_path) == []


# --- the stack through the command line -------------------------------------------------------------------------------


def test_up_twice_gives_the_same_servers_and_down_leaves_none(tmp_path: Path) -> None:
    command = ["up", "--root", str(tmp_path), "--database", "mariadb", "--json"]
    try:
        first = CliRunner().invoke(local, command)
        assert first.exit_code == 0, first.stderr
        assert CliRunner().invoke(local, command).stdout == first.stdout
        assert "Apache Kafka" in json.loads(first.stdout)["lines"][0]
        assert len(processes_under(tmp_path)) == 2
    finally:
        down = CliRunner().invoke(local, ["down", "--root", str(tmp_path)])
    assert down.stdout == "Stopped apache, mariadb\n"
    assert processes_under(tmp_path) == []
