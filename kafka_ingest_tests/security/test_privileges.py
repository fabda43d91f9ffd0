"""The grants and ACLs that docs/security.md names are enough for the whole path, and each of them is needed."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, NewTopic, ResourceType

from kafka_ingest.cli.doctor.database import check_database
from kafka_ingest.cli.doctor.kafka import check_kafka
from kafka_ingest.cli.status_state import gather
from kafka_ingest.engine.fingerprint import check, look
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.errors import AccessDenied, KafkaIngestError, WrongEnvironment
from kafka_ingest.findings import Finding
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.mysql.examination import FIRST_RUN, RUNNING
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.information import STREAM
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.security.secure_database import SecureDatabase
from kafka_ingest_tests.security.secure_kafka import SecureKafka

pytestmark = pytest.mark.services

PASSWORD = "pass"  # noqa: S105
GROUP = "kafka_ingest"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

Acl = tuple[ResourceType, str, AclOperation]


def documented_acls() -> list[tuple[str, str, str]]:
    """(operation, kind, name) of each line."""
    return re.findall(r"--operation (\w+) --(topic|group) (\S+)", DOCUMENT)


def documented_grants() -> list[list[str]]:
    """Privileges of each statement for MySQL and MariaDB, which alone quote with backticks."""
    return [found.split(", ") for found in re.findall(r"^GRANT (.+?) ON `", DOCUMENT, re.MULTILINE)]


ACLS = documented_acls()
MAKING, STEADY = documented_grants()


def test_what_is_documented_is_what_the_doctor_asks_for() -> None:
    assert len(ACLS) == 4
    assert sorted(STEADY) == sorted(RUNNING)
    assert sorted(MAKING) == sorted([*RUNNING, *FIRST_RUN])


@dataclass(frozen=True)
class World:
    """A topic with good and bad messages, and a user with the documented ACLs."""

    kafka: SecureKafka
    user: str
    stream: Stream

    @property
    def topic(self) -> str:
        return self.stream.topic_names[0]

    def acl(self, line: tuple[str, str, str]) -> Acl:
        operation, kind, name = line
        ours = {"news": self.topic, "news.dead": str(self.stream.dead_letter_topic), GROUP: GROUP}
        return ResourceType[kind.upper()], ours[name], AclOperation[operation]

    def settings(self, url: str) -> Settings:
        return Settings.from_environment(self.kafka.scram(self.user, PASSWORD) | {"KAFKA_INGEST_DATABASE_URL": url})


@pytest.fixture
def world(secure_kafka: SecureKafka) -> World:
    name = uuid.uuid4().hex[:8]
    found = World(secure_kafka, f"u-{name}", replace(STREAM, topics=f"news-{name}", dead_letter_topic=f"dead-{name}"))
    secure_kafka.set_password(found.user, PASSWORD)
    secure_kafka.admin.create_topics([NewTopic(found.topic, 1)])[found.topic].result(30)
    for line in ACLS:
        secure_kafka.allow(found.user, *found.acl(line))
    send(secure_kafka.broker.bootstrap_servers, found.topic)
    return found


def send(servers: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    date = "2026-11-22 10:00"
    for number in range(10):
        news = {"type": "information", "id": f"n{number}", "title": "t", "publishTime": date}
        issued = {"id": f"a{number % 3}", "issuer": {"company": "c"}, "title": "t", "announcedAt": date}
        producer.produce(topic, json.dumps(news))
        producer.produce(topic, json.dumps({"type": "announcement", **issued}))
        producer.produce(topic, b"no json")
    producer.flush(30)


def whole_path(stream: Stream, settings: Settings) -> None:
    """Ingest, publish dead letters, backfill, replay, status; then the doctor, who must find nothing wrong."""
    ingestion = Ingestion(stream, settings, run_id=str(uuid.uuid4()))
    try:
        expected = look(ingestion.metadata, ingestion.sink)
        ingestion.expect(expected)
        topic = stream.topic_names[0]
        for requested, kind in (((), "live"), ((OffsetRange(topic, 0, 0, 15),), "backfill")):
            batch = ingestion.plan(requested, kind)  # type: ignore[arg-type]
            result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), kind)  # type: ignore[arg-type]
            ingestion.commit(result.next_offsets)
        with pytest.raises(WrongEnvironment):
            check(replace(expected, cluster="another"), ingestion.metadata, ingestion.sink, stream=stream.name)
        check(look(ingestion.metadata, ingestion.sink), ingestion.metadata, ingestion.sink, stream=stream.name)
        plan = plan_replay(ingestion.sink, stream, DeadLetterFilter(), run_id="replay")
        assert plan.letters
        assert list(replay(ingestion.sink, plan, run_id="replay"))
        status = gather(stream, ingestion.metadata, ingestion.sink, settings, now=dt.datetime.now(dt.timezone.utc))
        assert (status.lag, status.dead_letters) == (0, 10)
    finally:
        ingestion.close()
    assert [f for f in doctor(stream, settings) if f.verdict == "fail"] == []


def doctor(stream: Stream, settings: Settings) -> Iterator[Finding]:
    yield from check_kafka(settings, [stream])
    yield from check_database(settings, [stream])


def user_url(database: SecureDatabase, schema: str, grants: Sequence[str]) -> str:
    user = database.make_user(PASSWORD, schema, grants)
    return database.url(user, PASSWORD, schema, ssl_ca=database.authority.certificate)


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url.split("?")[0])
    with engine.connect() as connection:
        found = set(sa.inspect(connection).get_table_names())
    engine.dispose()
    return found


def test_the_documented_grants_and_acls_are_enough_first_with_create_then_without(
    world: World, secure_database: SecureDatabase
) -> None:
    schema = secure_database.make_database()
    first = user_url(secure_database, schema, MAKING)
    before = [f for f in doctor(world.stream, world.settings(first)) if f.verdict == "fail"]
    assert before == []
    assert tables(first) == set()  # the doctor leaves nothing behind
    whole_path(world.stream, world.settings(first))
    made = tables(first)
    send(world.kafka.broker.bootstrap_servers, world.topic)
    steady = world.settings(user_url(secure_database, schema, STEADY))
    again = replace(world.stream, max_dead_letter_ratio=1.0)
    ingestion = Ingestion(again, steady, run_id="steady")
    result = ingestion.load(ingestion.apply_steps(ingestion.read(ingestion.plan((), "live"))), "live")
    assert result.messages == 30
    ingestion.commit(result.next_offsets)
    ingestion.close()
    findings = {f.check: f for f in doctor(again, steady)}
    assert [f for f in findings.values() if f.verdict == "fail"] == []
    assert "not needed" in findings["privileges to make tables"].detail
    assert tables(first) == made


@pytest.mark.parametrize("privilege", MAKING)
def test_without_any_one_grant_a_first_run_is_denied_and_the_doctor_names_it(
    world: World, secure_mysql: SecureDatabase, privilege: str
) -> None:
    schema = secure_mysql.make_database()
    settings = world.settings(user_url(secure_mysql, schema, [p for p in MAKING if p != privilege]))
    failed = [f for f in doctor(world.stream, settings) if f.verdict == "fail"]
    assert any(f"not granted: {privilege}" in f.detail for f in failed), failed
    with pytest.raises(AccessDenied):
        whole_path(world.stream, settings)


@pytest.mark.parametrize("line", ACLS, ids=" ".join)
def test_without_any_one_acl_access_is_denied(world: World, line: tuple[str, str, str], tmp_path: Path) -> None:
    world.kafka.forbid(world.user, *world.acl(line))
    settings = world.settings(f"sqlite:///{tmp_path}/denied.db")
    with pytest.raises(KafkaIngestError) as caught:
        whole_path(world.stream, settings)
    assert isinstance(caught.value, AccessDenied), caught.value
    assert "authorization failed" in str(caught.value).lower()
