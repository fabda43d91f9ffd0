"""Avro over a real schema registry: runs that find writers' schemas, and registries that do not answer as they should."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from kafka_ingest.cli.doctor.schema_registry import check_registry
from kafka_ingest.errors import AccessDenied, ConfigError, RetryableError, SchemaRegistryUnavailable
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import free_port
from kafka_ingest.local.registry import LocalRegistry
from kafka_ingest.settings import Settings
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest_tests.formats.test_avro import person, person_schema
from kafka_ingest_tests.formats.world import PEOPLE, avro_message, framed
from kafka_ingest_tests.support.catch_up import catch_up, query, settings_for

pytestmark = pytest.mark.services

KEY = {"type": "record", "name": "K", "fields": [{"name": "id", "type": "long"}]}


def registered(registry: LocalRegistry, subject: str, schema: Any, *references: SchemaReference) -> int:
    with SchemaRegistryClient({"url": registry.url}) as client:
        number: int = client.register_schema(subject, Schema(json.dumps(schema), "AVRO", list(references)))
    return number


def sent(kafka: LocalKafka, topic: str, *messages: tuple[bytes | None, bytes | None]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for key, value in messages:
        producer.produce(topic, value, key, partition=0)
    assert producer.flush(30) == 0


def test_a_run_finds_each_writers_schema_and_what_it_refers_to(
    kafka: LocalKafka, registry: LocalRegistry, topic: str, tmp_path: Path
) -> None:
    who = {"type": "record", "name": "Who", "namespace": "n", "fields": [{"name": "name", "type": "string"}]}
    registered(registry, f"{topic}-who", who)
    whole = {
        "type": "record",
        "name": "P",
        "fields": [{"name": "id", "type": "long"}, {"name": "who", "type": "n.Who"}],
    }
    first = registered(registry, f"{topic}-a", person_schema())
    second = registered(registry, f"{topic}-b", whole, SchemaReference("n.Who", f"{topic}-who", 1))
    key = registered(registry, f"{topic}-key", KEY)
    sent(
        kafka,
        topic,
        (avro_message(KEY, {"id": 1}, key), avro_message(person_schema(), person("a"), first)),
        (avro_message(KEY, {"id": 2}, key), framed(b"\x04\x02b", second)),
        (avro_message(KEY, {"id": 1}, key), None),
        (b"", framed(b"\x04\x02b", 999_999)),
        (b"", b'{"id": 1}'),
    )
    settings = settings_for(kafka, tmp_path, SCHEMA_REGISTRY_URL=registry.url)
    catch_up(
        replace(PEOPLE, topics=topic, routes={topic: PEOPLE.routes["t"]}, value_format=Avro(), key_format=Avro()),
        settings,
    )
    assert query(settings, "SELECT id, name FROM people") == [(2, "b")]
    letters = query(settings, "SELECT kafka_offset, error FROM kafka_ingest_dead_letters ORDER BY kafka_offset")
    assert [offset for offset, _ in letters] == [3, 4]
    assert letters[0][1] == "the schema registry has no schema with id 999999, which the message names"
    assert letters[1][1].startswith("begins with b'{\"id\"'")


def test_while_the_registry_is_down_nothing_is_a_dead_letter_and_the_run_can_be_tried_again(
    kafka: LocalKafka, registry: LocalRegistry, topic: str, tmp_path: Path
) -> None:
    number = registered(registry, topic, person_schema())
    sent(kafka, topic, (None, avro_message(person_schema(), person("a"), number)))
    stream = replace(PEOPLE, topics=topic, routes={topic: PEOPLE.routes["t"]}, value_format=Avro(), key_format=Avro())
    down = settings_for(kafka, tmp_path, SCHEMA_REGISTRY_URL=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SchemaRegistryUnavailable, match="asking the schema registry for schema"):
        catch_up(stream, down)
    assert query(down, "SELECT COUNT(*) FROM kafka_ingest_dead_letters") == [(0,)]
    catch_up(stream, settings_for(kafka, tmp_path, SCHEMA_REGISTRY_URL=registry.url))
    assert query(down, "SELECT id, name FROM people") == [(1, "a")]


def test_the_doctor_reads_the_newest_schemas_of_a_real_registry_into_the_models(
    registry: LocalRegistry, topic: str
) -> None:
    registered(registry, f"{topic}-value", {"type": "record", "name": "Empty", "fields": []})
    newest = registered(registry, f"{topic}-value", person_schema())
    registered(registry, f"{topic}-key", {"type": "record", "name": "K", "fields": [{"name": "id", "type": "string"}]})
    stream = replace(PEOPLE, topics=topic, routes={topic: PEOPLE.routes["t"]}, value_format=Avro(), key_format=Avro())
    settings = Settings.from_environment({"SCHEMA_REGISTRY_URL": registry.url})
    answers, value, key = check_registry(settings, [stream])
    assert answers.detail.startswith(f"{registry.url} answers: ")
    assert value.verdict == "warn"
    assert value.detail == f"version 2, id {newest} has no field for note: NULL, or the default, in every row"
    assert key.verdict == "fail"
    assert key.detail.endswith("id (string): text in a column of type integer")


class _Answers(BaseHTTPRequestHandler):
    """Answers with what its server holds, and counts."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that always answers so: its address, and what it is asked."""
    server: Any = HTTPServer(("127.0.0.1", 0), _Answers)
    server.status, server.body, server.asked = status, body, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def found(url: str, *numbers: int, **more: str) -> Any:
    settings = Settings.from_environment({"SCHEMA_REGISTRY_URL": url, **more})
    return schema_finder(settings)(set(numbers))


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (500, b"{}", SchemaRegistryUnavailable, "answered 500 when asked for schema 7"),
        (503, b"<html>", SchemaRegistryUnavailable, "answered 503"),
        (429, b"{}", SchemaRegistryUnavailable, "answered 429"),
        (401, b"{}", AccessDenied, "Check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"),
        (403, b"no", AccessDenied, "answered 403"),
        (400, b"{}", ConfigError, "Check SCHEMA_REGISTRY_URL"),
        (200, b"<html>", SchemaRegistryUnavailable, "is not a registry's"),
    ],
)
def test_what_the_registry_answers_decides_whether_it_is_asked_again(
    status: int, body: bytes, error: type[Exception], says: str
) -> None:
    with answering(status, body) as (url, asked), pytest.raises(error, match=says) as raised:
        found(url, 7)
    assert len(asked) == 1
    assert isinstance(raised.value, RetryableError) == (error is SchemaRegistryUnavailable)


def test_an_id_is_asked_for_once_and_one_that_is_not_known_again() -> None:
    with answering(200, json.dumps({"schema": '"string"'}).encode()) as (url, asked):
        assert found(url, 1)[1].text == '"string"'
        assert found(url, 1)[1].kind == "AVRO"
        assert len(asked) == 1
    with answering(404, b'{"error_code":40403,"message":"no"}') as (url, asked):
        assert found(url, 1) == {}
        assert found(url, 1) == {}
        assert len(asked) == 2


def test_who_asks_is_said_by_user_and_password_or_by_a_token_and_neither_is_ever_shown() -> None:
    body = json.dumps({"schema": '"string"'}).encode()
    with answering(200, body) as (url, asked):
        found(url, 1, SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO="ann:hidden1")
        found(url, 1, SCHEMA_REGISTRY_BEARER_AUTH_TOKEN="hidden2")  # noqa: S106
        assert [who for _, who in asked] == ["Basic YW5uOmhpZGRlbjE=", "Bearer hidden2"]
    with answering(401, b"{}") as (url, _), pytest.raises(AccessDenied) as raised:
        found(url.replace("//", "//ann:hidden3@"), 1)
    assert "hidden3" not in str(raised.value)


def test_a_registry_that_is_not_named_and_settings_that_are_none_are_said() -> None:
    with pytest.raises(ConfigError, match="SCHEMA_REGISTRY_URL is not set"):
        schema_finder(Settings.from_environment({}))({1})
    with pytest.raises(ConfigError, match="refuses the SCHEMA_REGISTRY_") as raised:
        found("ftp://x", 1, SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO="secretwithoutcolon")
    assert "secretwithoutcolon" not in str(raised.value)


def test_a_circle_of_references_ends() -> None:
    reference = [{"name": "a", "subject": "a", "version": 1}]
    body = json.dumps({"subject": "a", "version": 1, "id": 1, "schema": '"A"', "references": reference}).encode()
    with answering(200, body) as (url, _), pytest.raises(ConfigError, match="to more than 200 others"):
        found(url, 1)
