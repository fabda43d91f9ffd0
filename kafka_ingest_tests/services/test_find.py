"""Why is a row missing? Asked of a real Kafka and MySQL, by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import make_topic

pytestmark = pytest.mark.services

PROGRAM = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli(prog_name='kafka-ingest')"]

STREAMS = """
import sqlalchemy as sa
from kafka_ingest import AppendModel, Stream, UpsertModel, field

class Item(UpsertModel):
    __tablename__ = "items"
    delete_on_tombstone = True
    tombstone_key = "text"
    id = field(sa.String(20), primary_key=True)
    amount = field(sa.Integer)

class Event(AppendModel):
    __tablename__ = "item_events"
    name = field(sa.String(20))

STREAM = Stream(name="found", topics={topic!r}, group_id={topic!r}, routes={{"item": Item, "event": Event}},
                max_dead_letter_ratio=1.0, unrouted="ignore")
"""


def test_the_fates_of_messages_are_told_from_a_real_log_and_real_tables(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=2)
    module = f"streams_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{module}.py").write_text(STREAMS.format(topic=topic))
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")},
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_INGEST_DATABASE_URL": mysql_url,
        "KAFKA_INGEST_STREAMS": module,
        "DAGSTER_HOME": str(tmp_path),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=180, check=False
        )

    def send(*messages: tuple[str | bytes | None, Any], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for key, value in messages:
            body = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
            producer.produce(topic, body, key, partition)
        assert producer.flush(30) == 0

    def find(*arguments: str) -> list[dict[str, Any]]:
        done = run("find", topic, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        (answer,) = json.loads(done.stdout)
        found: list[dict[str, Any]] = answer["found"]
        return found

    def fates(*arguments: str) -> list[tuple[int, str, str | None]]:
        return [(each["offset"], each["fate"], each["by"]) for each in find(*arguments)]

    send(
        ("k1", {"type": "item", "id": "k1", "amount": 1}),  # 0
        ("k1", {"type": "item", "id": "k1", "amount": 2}),  # 1
        ("k2", {"type": "item", "id": "k2", "amount": 3}),  # 2
        ("k2", None),  # 3
        (b"\x00\xff", b"{oops"),  # 4
        (None, {"type": "other", "source": {"name": "Elsewhere"}}),  # 5
        (None, {"type": "event", "name": "e1"}),  # 6
    )
    send(("k1", {"type": "item", "id": "k1", "amount": 4}), partition=1)
    assert fates("k1") == [(0, "waiting", None), (1, "waiting", None), (0, "waiting", None)]
    done = run("ingest", "found", "--until-caught-up")
    assert done.returncode == 0, done.stderr

    assert fates("k1") == [
        (0, "superseded", f"{topic}[1]@0"),
        (1, "superseded", f"{topic}[1]@0"),
        (0, "row", None),
    ]
    assert fates("k2") == [(2, "deleted", f"{topic}[0]@3"), (3, "tombstone", None)]
    (letter,) = find("0x00ff")
    assert (letter["fate"], letter["dead_letter"]["stage"]) == ("dead_letter", "decode")
    assert fates("source.name=Elsewhere") == [(5, "ignored", None)]
    assert fates("0:99") == [(99, "not_yet", None)]
    assert fates("name=e1", "--last", "1") == [(6, "row", None)]

    engine = sa.create_engine(mysql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM item_events"))
    engine.dispose()
    (missing,) = find("name=e1")
    assert missing["fate"] == "no_row"
    assert missing["advice"] == f"kafka-ingest backfill found --from 6 --to 7 --partition {topic}:0"

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.delete_records([KafkaTopicPartition(topic, 0, 5)]).values():
        future.result(30)
    (expired,) = find("0:0")
    assert expired["fate"] == "expired"
    assert "it was loaded before" in expired["text"]
    assert [each["kind"] for each in expired["loads"]] == ["live"]

    done = run("find", topic, "k9")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Searched: {topic}[0]@[5,7), {topic}[1]@[0,1), 3 messages" in done.stderr
