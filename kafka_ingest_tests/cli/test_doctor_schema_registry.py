"""What the doctor says of a schema registry and of the schemas that it has of a stream's topics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from kafka_ingest import Debezium
from kafka_ingest.cli.doctor import schema_registry as module
from kafka_ingest.cli.main import cli
from kafka_ingest.errors import AccessDenied, KafkaIngestError, SchemaRegistryUnavailable
from kafka_ingest.findings import Finding
from kafka_ingest.settings import Settings
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.json import Json
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.formats.world import PEOPLE, avro_schema

SETTINGS = Settings.from_environment({"SCHEMA_REGISTRY_URL": "http://ann:hidden@registry:8081"})
STREAM = replace(PEOPLE, value_format=Avro(), key_format=Avro())
WHO = {"type": "record", "name": "Who", "fields": [{"name": "name", "type": "string"}]}


def person(**kinds: Any) -> RegisteredSchema:
    fields = {"id": "long", "who": WHO, "note": ["null", "string"]} | kinds
    return avro_schema(
        {"type": "record", "name": "P", "fields": [{"name": n, "type": k} for n, k in fields.items() if k]}
    )


def key(kind: str = "long") -> RegisteredSchema:
    return avro_schema({"type": "record", "name": "K", "fields": [{"name": "id", "type": kind}]})


class Registry:
    """One that has these subjects."""

    def __init__(self, subjects: Mapping[str, RegisteredSchema | KafkaIngestError | None]) -> None:
        self._subjects = subjects

    def subjects(self) -> list[str]:
        return list(self._subjects)

    def latest(self, subject: str) -> tuple[int, RegisteredSchema] | None:
        found = self._subjects[subject]
        if isinstance(found, KafkaIngestError):
            raise found
        return None if found is None else (3, found)


def findings(monkeypatch: pytest.MonkeyPatch, subjects: Mapping[str, Any], *streams: Stream) -> list[Finding]:
    monkeypatch.setattr(module, "schema_registry", lambda _settings: Registry(subjects))
    return list(module.check_registry(SETTINGS, streams or (STREAM,)))


def said(found: list[Finding]) -> list[str]:
    return [f"{each.verdict} {each.check}: {each.detail}" for each in found[1:]]


def test_schemas_that_fit_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(monkeypatch, {"t-value": person(), "t-key": key(), "other-value": person(id=None)})
    assert found[0] == Finding("schema registry", "ok", "http://registry:8081 answers: 3 subject(s)")
    fits = "version 3, id 1 feeds every column, and the columns take what it has"
    assert said(found) == [
        f"ok schema t-value of people, Person: {fits}",
        f"ok schema t-key of people, Person: {fits}",
    ]


@pytest.mark.parametrize(
    ("subjects", "says"),
    [
        (
            {"t-value": person(id=None), "t-key": key()},
            "fail schema t-value of people, Person: version 3, id 1 has no field for id, NOT NULL",
        ),
        (
            {"t-value": person(id="string"), "t-key": key()},
            r"fail schema t-value of people, Person: .* do not take: id \(string\): text in a column of type integer",
        ),
        (
            {"t-value": person(note=None), "t-key": key()},
            "warn schema t-value of people, Person: version 3, id 1 has no field for note: NULL, or the default",
        ),
        (
            {"t-value": person(id=["string", "long"]), "t-key": key()},
            "warn schema t-value of people, Person: version 3, id 1 has unions of which columns take a part",
        ),
        (
            {"t-value": person(), "t-key": key("string")},
            r"fail schema t-key of people, Person: .* id \(string\): text in",
        ),
        (
            {"t-value": RegisteredSchema(9, "PROTOBUF", ""), "t-key": key()},
            "fail schema t-value of people: schema 9 is of type PROTOBUF, and the stream's format is AVRO",
        ),
        (
            {"t-value": RegisteredSchema(9, "AVRO", "no"), "t-key": key()},
            "fail schema t-value of people: schema 9 of the registry is no Avro schema",
        ),
        ({"t-value": AccessDenied("no", code=403), "t-key": key()}, "fail schema t-value of people: no"),
        ({"t-key": key()}, "warn value schemas of people: no subject t-value"),
        ({"t-value": person()}, "warn key schemas of people: no subject t-key"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, subjects: Mapping[str, Any], says: str
) -> None:
    found = findings(monkeypatch, subjects)
    (wrong,) = [each for each in found if each.verdict != "ok"]
    assert re.match(says, said([found[0], wrong])[0])
    assert wrong.fix


def test_of_an_envelope_the_row_inside_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    row = json.loads(person(id="string").text)
    change = {"type": "record", "name": "Change", "fields": [{"name": "after", "type": ["null", row]}]}
    stream = replace(STREAM, envelope=Debezium())
    found = findings(monkeypatch, {"t-value": avro_schema(change), "t-key": key()}, stream)
    (wrong,) = [each for each in found if each.verdict != "ok"]
    assert wrong.detail.endswith("do not take: id (string): text in a column of type integer")


def test_a_subject_that_was_deleted_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {each.verdict for each in findings(monkeypatch, {"t-value": None, "t-key": None})} == {"ok"}


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (SchemaRegistryUnavailable("no answer"), "Set SCHEMA_REGISTRY_URL to the registry's address"),
        (AccessDenied("401", code=401), "Set SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"),
        (AccessDenied("certificate verify failed"), "Set SCHEMA_REGISTRY_SSL_CA_LOCATION"),
    ],
)
def test_a_registry_that_does_not_answer_is_the_only_finding(
    monkeypatch: pytest.MonkeyPatch, error: KafkaIngestError, fix: str
) -> None:
    def refused(_settings: Settings) -> Registry:
        raise error

    monkeypatch.setattr(module, "schema_registry", refused)
    (found,) = module.check_registry(SETTINGS, (STREAM,))
    assert (found.check, found.verdict) == ("schema registry", "fail")
    assert str(found.fix).startswith(fix)


def test_streams_that_need_no_registry_are_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(monkeypatch, {}, MIXED) == []
    tombstones = replace(PEOPLE, value_format=Json(), key_format=Avro())
    assert len(findings(monkeypatch, {"t-key": key()}, tombstones)) == 2


def test_of_a_pattern_the_topics_are_those_that_have_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = replace(MIXED, topics="^orders-.*", value_format=Protobuf())
    text = 'syntax = "proto3"; message M { string id = 1; }'
    found = findings(monkeypatch, {f"orders-{n}-value": RegisteredSchema(n, "PROTOBUF", text) for n in (1, 2)}, stream)
    checks = {each.check.partition(",")[0] for each in found[1:]}
    assert checks == {"schema orders-1-value of mixed", "schema orders-2-value of mixed"}


def test_the_command_asks_the_registry_and_hides_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_INGEST_DATABASE_URL": "sqlite://",
        "SCHEMA_REGISTRY_URL": "http://ann:hidden@127.0.0.1:1",
        "KAFKA_INGEST_STREAMS": "kafka_ingest_tests.support.avro_people",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("kafka_ingest.cli.doctor.kafka.ANSWER_SECONDS", 0.2)
    result = CliRunner().invoke(cli, ["doctor"])
    assert "fail  schema registry: asking the schema registry for its subjects" in result.output
    assert "hidden" not in result.output
