"""The topic and the table of the stream that `kafka-ingest init` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.local.kafka import LocalKafka


@contextmanager
def orders_topic(kafka: LocalKafka) -> Iterator[None]:
    """The topic, empty, and gone in the end: its name is the stream's, so that tests have it one after the other."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic("orders", 1, 1)])["orders"].result(30)
    try:
        yield
    finally:
        admin.delete_topics(["orders"])["orders"].result(30)


def send_orders(kafka: LocalKafka, orders: Iterable[dict[str, object]]) -> None:
    """Each as a JSON message."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for order in orders:
        producer.produce("orders", json.dumps(order))
    assert producer.flush(30) == 0


def stored_orders(url: str) -> list[tuple[str, str, str]]:
    """Id, amount and date of each row; none where there is no table yet."""
    engine = sa.create_engine(url)
    try:
        if not sa.inspect(engine).has_table("orders"):
            return []
        with engine.connect() as connection:
            found = connection.execute(sa.text("SELECT id, amount, placed_at FROM orders ORDER BY id")).all()
    finally:
        engine.dispose()
    return [(one, str(amount), str(at)) for one, amount, at in found]
