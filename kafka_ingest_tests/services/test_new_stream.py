"""`kafka-ingest new-stream` on real servers: what it writes loads every row of the sample, from any topic into any table."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from kafka_ingest.cli.init.project import write_project
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.registry import LocalRegistry
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.formats.world import avro_message
from kafka_ingest_tests.services.test_schema_registry import registered

pytestmark = pytest.mark.services

PROGRAM = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli(prog_name='kafka-ingest')"]
ROOT = Path(__file__).parents[2]


class Project:
    """A project as `kafka-ingest init` writes it, without its example, and commands that are run in it."""

    def __init__(self, folder: Path, kafka: LocalKafka, url: str, **more: str) -> None:
        self.folder = folder / "shop"
        write_project(self.folder, "shop")
        (self.folder / "src/shop/streams/orders.py").unlink()
        self.url = url
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "SCHEMA_REGISTRY"))},
            "PYTHONPATH": os.pathsep.join([str(self.folder / "src"), str(ROOT)]),
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_INGEST_DATABASE_URL": url,
            "KAFKA_INGEST_STREAMS": "shop.streams",
            "DAGSTER_HOME": str(folder),
            **more,
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def new_stream(self, name: str, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("new-stream", name, *arguments, "--json"))
        return found

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            result = connection.execute(sa.text(sql))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return rows


def send(kafka: LocalKafka, topic: str, *values: Any, key: str | None = "id") -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for value in values:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        name = str(value[key]).encode() if key is not None and isinstance(value, Mapping) else None
        producer.produce(topic, body, name)
    assert producer.flush(30) == 0


def order(number: int) -> dict[str, Any]:
    return {
        "id": f"A-{number:05}",
        "customer": {"name": "Ada" * (1 + number % 3), "e-mail": None if number % 2 else "a@b.example"},
        "total": round(number * 1.37, 2),
        "select": number,
        "标题": "你好",
        "placedAt": 1_714_550_400_000 + number,
        "shipped": f"2024-05-{1 + number % 28:02}",
        "lines": [{"sku": "x", "price": 1.5}],
        "paid": number % 2 == 0,
    }


def test_a_stream_is_written_and_loads_every_message_of_the_topic(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=3)
    send(kafka, topic, *(order(number) for number in range(400)), {**order(7), "total": 99.5})
    project = Project(tmp_path, kafka, mysql_url, KAFKA_GROUP_ID=topic)

    shown = project.run("new-stream", "orders", "--topic", topic, "--sample", "300")
    assert "A-00" in shown
    assert "0 dead letters (0.00%)" in shown
    assert "Nothing was loaded. Wrote src/shop/streams/orders.py" in shown
    assert project.query("SHOW TABLES") == []
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    assert topic not in [group.group_id for group in admin.list_consumer_groups().result().valid]

    project.run("ingest", "orders", "--until-caught-up")
    rows = project.query(
        "SELECT id, customer_name, total, select_, `标题`, placed_at, shipped, paid FROM orders ORDER BY id"
    )
    assert len(rows) == 400
    assert [str(value) for value in rows[7]] == [
        "A-00007", "AdaAda", "99.5000", "7", "你好", "2024-05-01 08:00:00.007000", "2024-05-08", "0",
    ]  # fmt: skip
    assert project.query("SELECT COUNT(*) FROM kafka_ingest_dead_letters") == [(0,)]
    send(kafka, topic, *({**order(500 + n), "coupon": "x", "total": "free"} for n in range(20)))
    report = json.loads(project.run("new-stream", "orders", "--check", "--json", code=1))
    assert {(each["what"], each["drift"]) for each in report["findings"]} == {("dead_letters", True)}
    assert report["outcomes"]["dead_letters"] == 20


def test_an_existing_table_is_matched_to_the_messages_and_filled(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1)
    send(kafka, topic, *(order(number) for number in range(120)))
    project = Project(tmp_path, kafka, mysql_url)
    project.query(
        "CREATE TABLE shop_orders (id VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin PRIMARY KEY, "
        "customerName VARCHAR(80), total DECIMAL(12,2), PAID BOOLEAN, placed_at DATETIME(3), weekday TINYINT UNSIGNED, "
        "entered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, note TEXT)"
    )
    found = project.new_stream("orders", "--topic", topic, "--table", "shop_orders")
    (model,) = found["models"]
    assert {column["name"]: column["path"] for column in model["columns"]} == {
        "id": ["id"],
        "customerName": ["customer", "name"],
        "total": ["total"],
        "PAID": ["paid"],
        "placed_at": ["placedAt"],
        "entered_at": None,
    }
    left_out = {each["name"] for each in model["left_out"]}
    assert {"weekday", "note", "select", "lines"} <= left_out
    # Kafka's own columns may be NULL in a table of one's own: the first run adds them, where a person has not.
    missing = [problem for problem in found["table_problems"] if "_kafka" not in problem]
    assert missing == []
    for problem in found["table_problems"]:
        project.query(problem.partition("; to mend it: ")[2])

    project.run("ingest", "orders", "--until-caught-up")
    rows = project.query("SELECT COUNT(*), MIN(total), SUM(PAID), MIN(placed_at), COUNT(entered_at) FROM shop_orders")
    assert [str(value) for value in rows[0]] == ["120", "0.00", "60", "2024-05-01 08:00:00", "120"]


SCHEMA = {
    "type": "record",
    "name": "Trade",
    "fields": [
        {"name": "tradeId", "type": {"type": "string", "logicalType": "uuid"}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4},
            "doc": "In EUR",
        },
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "venue",
            "type": ["null", {"type": "record", "name": "Venue", "fields": [{"name": "code", "type": "string"}]}],
        },
        {"name": "note", "type": ["null", "string"]},
    ],
}


def test_a_schema_of_the_registry_gives_the_columns(
    kafka: LocalKafka, registry: LocalRegistry, postgresql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=2)
    number = registered(registry, f"{topic}-value", SCHEMA)
    project = Project(tmp_path, kafka, postgresql_url, SCHEMA_REGISTRY_URL=registry.url)
    trades = [
        {
            "tradeId": str(uuid.uuid4()),
            "price": Decimal(n) / 8,
            "at": dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone.utc),
            "venue": {"code": "XETR"} if n % 2 else None,
            "note": None,
        }
        for n in range(150)
    ]
    send(kafka, topic, *(avro_message(SCHEMA, trade, number) for trade in trades))
    found = project.new_stream("trades", "--topic", topic, "--subject", f"{topic}-value")
    assert found["value_format"] == "Avro()"
    (model,) = found["models"]
    assert [(each["name"], each["type"], each["nullable"]) for each in model["columns"]] == [
        ("trade_id", "Uuid", False),
        ("price", "Numeric(12, 4)", False),
        ("at", "DateTime", False),
        ("venue_code", "String(16)", True),
        ("note", "Text", True),
    ]
    assert found["outcomes"]["dead_letters"] == 0
    project.run("ingest", "trades", "--until-caught-up")
    rows = project.query("SELECT COUNT(*), SUM(price), COUNT(venue_code), MIN(at) FROM trades")
    assert [str(value) for value in rows[0]] == ["150", "1396.8750", "75", "2024-05-01 12:00:00"]

    newer = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "fee", "type": ["null", "double"], "default": None}]}
    registered(registry, f"{topic}-value", newer)
    report = json.loads(project.run("new-stream", "trades", "--check", "--json", code=1))
    assert [each["where"] for each in report["findings"] if each["what"] == "unfed_column"] == ["trades.note"]
    assert [each["what"] for each in report["findings"] if not each["drift"]] == ["schema"]
