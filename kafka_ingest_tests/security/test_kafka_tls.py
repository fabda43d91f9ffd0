"""Apache Kafka over SASL/SCRAM and over TLS with client certificates: the whole path, and what is said where it does not hold."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, NewTopic, ResourceType

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import AccessDenied, ConfigError, KafkaUnavailable
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.settings import Settings
from kafka_ingest.streams.information import STREAM
from kafka_ingest_tests.security.certificates import EXPIRED, Identity
from kafka_ingest_tests.security.secure_kafka import SecureKafka

pytestmark = pytest.mark.services

PASSWORD = "s@sl/p:ass %wörd"  # noqa: S105
KEY_PASSWORD = "k&y-p@ss"  # noqa: S105
GROUP = "kafka_ingest"
# A refusal is told by itself; what is only unreachable takes the whole timeout of a request.
SOON_SECONDS = 10.0


@pytest.fixture
def topic(secure_kafka: SecureKafka) -> str:
    name = f"secure-{uuid.uuid4().hex[:8]}"
    secure_kafka.admin.create_topics([NewTopic(name, 1)])[name].result(30)
    return name


@pytest.fixture(scope="module")
def alice(secure_kafka: SecureKafka) -> str:
    secure_kafka.set_password("alice", PASSWORD)
    return "alice"


@pytest.fixture(scope="module")
def bob(secure_kafka: SecureKafka) -> Identity:
    return secure_kafka.authority.issue("bob", password=KEY_PASSWORD)


@pytest.mark.parametrize("way", ["scram", "mutual"])
def test_the_whole_path_runs_over_an_authenticated_encrypted_connection(
    secure_kafka: SecureKafka, topic: str, alice: str, bob: Identity, way: str, tmp_path: Path
) -> None:
    user = alice if way == "scram" else "bob"
    environ = secure_kafka.scram(alice, PASSWORD) if way == "scram" else secure_kafka.mutual(bob, KEY_PASSWORD)
    secure_kafka.allow(user, ResourceType.TOPIC, topic, AclOperation.READ)
    secure_kafka.allow(user, ResourceType.GROUP, GROUP, AclOperation.READ)
    producer = Producer({"bootstrap.servers": secure_kafka.broker.bootstrap_servers})
    for number in range(20):
        good = {"type": "information", "id": f"n{number}", "title": "t", "publishTime": "2026-11-22 10:00"}
        producer.produce(topic, json.dumps(good))
    producer.flush(30)
    url = f"sqlite:///{tmp_path}/secure.db"
    settings = Settings.from_environment(environ | {"KAFKA_INGEST_DATABASE_URL": url})
    ingestion = Ingestion(replace(STREAM, topics=topic), settings, run_id="secure")
    batch = ingestion.plan((), "live")
    result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
    ingestion.commit(result.next_offsets)
    ingestion.close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT COUNT(*) FROM information")).scalar() == 20
    engine.dispose()
    partitions = list(result.next_offsets)
    assert KafkaMetadata(settings).group_offsets(GROUP, partitions) == dict.fromkeys(partitions, 20)


def look(environ: Mapping[str, str], topic: str = "information") -> None:
    KafkaMetadata(Settings.from_environment(environ)).topics(replace(STREAM, topics=topic))


def refused(environ: Mapping[str, str]) -> str:
    """What is said, soon, to a connection that must be refused for good."""
    started = time.monotonic()
    with pytest.raises(AccessDenied) as caught:
        look(environ)
    assert time.monotonic() - started < SOON_SECONDS
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def test_a_wrong_password_is_denied_at_once(secure_kafka: SecureKafka, alice: str) -> None:
    text = refused(secure_kafka.scram(alice, "wrong"))
    assert "invalid credentials" in text
    assert "KAFKA_SASL_" in text
    assert "wrong" not in text


def test_a_mechanism_the_broker_does_not_have_is_denied(secure_kafka: SecureKafka, alice: str) -> None:
    environ = secure_kafka.scram(alice, PASSWORD) | {"KAFKA_SASL_MECHANISM": "PLAIN"}
    assert "supported mechanisms: SCRAM-SHA-512" in refused(environ)


@pytest.mark.parametrize("listener", ["STRANGER", "ELSEWHERE", "EXPIRED"])
def test_a_broker_whose_certificate_is_wrong_is_refused_before_a_password_is_sent(
    secure_kafka: SecureKafka, alice: str, listener: str
) -> None:
    assert "certificate verify failed" in refused(secure_kafka.scram(alice, PASSWORD, listener=listener))


def test_a_client_certificate_that_is_expired_or_of_another_authority_or_missing_is_denied(
    secure_kafka: SecureKafka, bob: Identity
) -> None:
    for wrong in (secure_kafka.authority.issue("old", lasts=EXPIRED), secure_kafka.stranger.issue("bob")):
        assert "certificate" in refused(secure_kafka.mutual(wrong))
    files = {"KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION", "KAFKA_SSL_KEY_PASSWORD"}
    without = {k: v for k, v in secure_kafka.mutual(bob, KEY_PASSWORD).items() if k not in files}
    assert "certificate" in refused(without)


def test_a_wrong_password_of_the_key_is_an_error_of_the_settings(secure_kafka: SecureKafka, bob: Identity) -> None:
    with pytest.raises(ConfigError, match=r"ssl\.key\.location") as caught:
        look(secure_kafka.mutual(bob, "not-the-password"))
    assert "not-the-password" not in str(caught.value)


def test_a_topic_this_user_may_not_see_is_not_said_to_be_missing(
    secure_kafka: SecureKafka, topic: str, alice: str
) -> None:
    with pytest.raises(AccessDenied, match="Topic authorization failed"):
        look(secure_kafka.scram(alice, PASSWORD), topic)


def test_a_broker_that_is_away_stays_a_matter_of_trying_again(
    secure_kafka: SecureKafka, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.kafka.timeouts.REQUEST_TIMEOUT_SECONDS", 2.0)
    away = secure_kafka.scram(alice, PASSWORD) | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    with pytest.raises(KafkaUnavailable):
        look(away)
    # A TLS client at a listener without TLS: the broker hangs up, as one that restarts does.
    plain = secure_kafka.scram(alice, PASSWORD) | {"KAFKA_BOOTSTRAP_SERVERS": secure_kafka.broker.bootstrap_servers}
    with pytest.raises(KafkaUnavailable):
        look(plain)
