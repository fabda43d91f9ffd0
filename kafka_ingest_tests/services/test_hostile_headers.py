"""Header names that are no text, which Kafka takes and most clients cannot even send: no message is lost, none stops the rest."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
import sqlalchemy as sa

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.streams.stream import RouteByHeader
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.support.catch_up import (
    catch_up,
    ids,
    item,
    positions,
    query,
    send,
    settings_for,
    stream_of,
)

pytestmark = pytest.mark.services

NO_TEXT = b"\xff\xfe\xed\xa0\x80"
# librdkafka's rd_kafka_vtype_t and RD_KAFKA_MSG_F_COPY (rdkafka.h).
_END, _TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADER, _COPY = 0, 1, 3, 4, 7, 9, 2


class RawProducer:
    """librdkafka itself: the Python client takes header names that are text only."""

    def __init__(self, servers: str) -> None:
        folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
        self._lib = ctypes.CDLL(str(next(folder.glob("librdkafka*.so*"))))
        self._lib.rd_kafka_conf_new.restype = ctypes.c_void_p
        self._lib.rd_kafka_new.restype = ctypes.c_void_p
        error = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self._lib.rd_kafka_conf_new())
        pair = (b"bootstrap.servers", servers.encode())
        assert self._lib.rd_kafka_conf_set(conf, *pair, error, ctypes.c_size_t(512)) == 0, error.value
        self._handle = ctypes.c_void_p(self._lib.rd_kafka_new(0, conf, error, ctypes.c_size_t(512)))
        assert self._handle.value, error.value

    def send(self, topic: str, value: bytes, *headers: tuple[bytes, bytes]) -> None:
        """One message to partition 0."""
        arguments: list[Any] = [_TOPIC, topic.encode(), _PARTITION, 0, _FLAGS, _COPY]
        arguments += [_VALUE, value, ctypes.c_size_t(len(value))]
        for name, content in headers:
            arguments += [_HEADER, name, content, ctypes.c_ssize_t(len(content))]
        assert self._lib.rd_kafka_producev(self._handle, *arguments, _END) == 0
        assert self._lib.rd_kafka_flush(self._handle, 30_000) == 0

    def close(self) -> None:
        self._lib.rd_kafka_destroy(self._handle)


def test_a_header_name_that_is_no_text_costs_nothing_where_headers_do_not_matter(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1)
    settings = dataclasses.replace(settings_for(kafka, tmp_path), database=sa.make_url(mysql_url))
    raw = RawProducer(kafka.bootstrap_servers)
    send(kafka, topic, ["before"])
    raw.send(topic, item("odd"), (b"fine", b"1"), (NO_TEXT, b"2"))
    raw.send(topic, b"no json", (NO_TEXT, b"3"))
    send(kafka, topic, ["after"], headers=[("fine", b"4")])
    raw.close()
    catch_up(stream_of(topic), settings)
    assert ids(settings) == ["before", "odd", "after"]
    assert positions(settings) == {0: 4}
    letters = query(
        settings, "SELECT kafka_offset, stage, message_value, message_headers FROM kafka_ingest_dead_letters"
    )
    assert [each[:3] for each in letters] == [(2, "decode", b"no json")]
    assert "not UTF-8" in letters[0][3]


def test_a_header_name_that_is_no_text_is_a_dead_letter_where_headers_choose_the_route(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1)
    settings = dataclasses.replace(settings_for(kafka, tmp_path), database=sa.make_url(mysql_url))
    raw = RawProducer(kafka.bootstrap_servers)
    send(kafka, topic, ["before"], headers=[("kind", b"information")])
    raw.send(topic, item("odd"), (b"kind", b"information"), (NO_TEXT, b""))
    send(kafka, topic, ["after"], headers=[("kind", b"information")])
    raw.close()
    catch_up(stream_of(topic, route_by=RouteByHeader("kind")), settings)
    assert ids(settings) == ["before", "after"]
    letters = query(settings, "SELECT kafka_offset, stage, message_value FROM kafka_ingest_dead_letters")
    assert letters == [(1, "route", item("odd"))]
    assert query(settings, "SELECT SUM(dead_letter_count), SUM(row_count) FROM kafka_ingest_batches") == [(1, 2)]
