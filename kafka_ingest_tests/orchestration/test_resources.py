"""Kafka, the database and the schema registry as Dagster resources: what they come to, and what they refuse."""

# No `from __future__ import annotations` here: Dagster reads the annotations of an op as they stand.

from typing import Any

import dagster as dg
import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.names import Names
from kafka_ingest.orchestration.resources import (
    DatabaseResource,
    KafkaResource,
    SchemaRegistryResource,
    check_resources,
    settings_of,
)
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9093",
    "KAFKA_GROUP_ID": "mine",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_PASSWORD": "s3cret",
    "KAFKA_SSL_CA_LOCATION": "/ca.pem",
    "KAFKA_HEAP_OPTS": "-Xmx1g",
    "KAFKA_ENABLE_AUTO_COMMIT": "false",
    "KAFKA_INGEST_DATABASE_URL": "mysql+pymysql://u:hidden-word@h/db",
    "SCHEMA_REGISTRY_URL": "https://registry:8443",
    "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "ann:wh1spered",
    "SCHEMA_REGISTRY_SSL_CA_LOCATION": "/registry-ca.pem",
    "SCHEMA_REGISTRY_PORT": "tcp://10.0.0.1:8081",
}
NO_REGISTRY = SchemaRegistryResource(url="")


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def resolved(
    kafka: KafkaResource, database: DatabaseResource, registry: SchemaRegistryResource = NO_REGISTRY
) -> Settings:
    """What a job gets of them."""
    found: list[Settings] = []

    @dg.op(required_resource_keys=Names().connections)
    def look(context: dg.OpExecutionContext) -> None:
        found.append(settings_of(context.resources, Names()))

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        look()

    resources = {Names().kafka: kafka, Names().database: database, Names().registry: registry}
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(resources=resources, instance=instance)
    return found[0]


@pytest.mark.usefixtures("environ")
def test_those_of_the_environment_come_to_what_the_settings_of_the_environment_are() -> None:
    kafka, database = KafkaResource.from_environment(), DatabaseResource.from_environment()
    registry = SchemaRegistryResource.from_environment()
    expected = Settings.from_environment()
    for found in (check_resources(kafka, database, registry), resolved(kafka, database, registry)):
        assert dict(found.kafka) == dict(expected.kafka)
        assert found.database == expected.database
        assert dict(found.registry) == dict(expected.registry)
        assert found.registry["basic.auth.user.info"] == "ann:wh1spered"
    assert not {"s3cret", "wh1spered"} & set(repr((kafka, database, registry)).split("'"))


def test_an_environment_that_names_no_registry_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    found = resolved(KafkaResource(bootstrap_servers="a:1"), DatabaseResource(url="sqlite://"))
    assert dict(found.registry) == dict(SchemaRegistryResource.from_environment().client_properties()) == {}


@pytest.mark.usefixtures("environ")
def test_no_value_of_the_environment_stands_in_what_dagster_shows_of_them() -> None:
    defs = dg.Definitions(
        resources={
            "kafka": KafkaResource.from_environment(),
            "database": DatabaseResource.from_environment(),
            "registry": SchemaRegistryResource.from_environment(),
        }
    )
    shown = ""
    for resource in defs.get_repository_def().get_top_level_resources().values():
        shown += str(resource.config_schema.default_value) + str(resource.config_schema.default_value_as_json_str)
    assert "KAFKA_SASL_PASSWORD" in shown
    assert "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO" in shown
    assert not [value for value in ENVIRONMENT.values() if value in shown]


@pytest.mark.usefixtures("environ")
def test_fields_and_properties_are_librdkafkas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "p")
    kafka = KafkaResource(
        bootstrap_servers="a:1,b:2",
        group_id="g",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password=dg.EnvVar("MY_PASSWORD"),
        properties={
            "client.id": "x",
            "ssl.key.password": dg.EnvVar("MY_PASSWORD"),
            "isolation.level": "read_committed",
        },
    )
    found = resolved(kafka, DatabaseResource(url="postgresql+psycopg://u@h/db", password=dg.EnvVar("MY_PASSWORD")))
    assert dict(found.kafka) == {
        "bootstrap.servers": "a:1,b:2",
        "group.id": "g",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "p",
        "client.id": "x",
        "ssl.key.password": "p",
    }
    assert found.database_url.render_as_string(hide_password=False) == "postgresql+psycopg://u:p@h/db"


def test_fields_and_properties_are_those_of_the_registrys_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t")
    registry = SchemaRegistryResource(
        url="https://a,https://b",
        bearer_auth_token=dg.EnvVar("MY_TOKEN"),
        ssl_ca_location="/ca.pem",
        properties={"ssl.key.password": dg.EnvVar("MY_TOKEN"), "bearer.auth.logical.cluster": "lsrc-1"},
    )
    found = resolved(KafkaResource(bootstrap_servers="a:1"), DatabaseResource(url="sqlite://"), registry)
    assert dict(found.registry) == {
        "url": "https://a,https://b",
        "bearer.auth.token": "t",
        "ssl.ca.location": "/ca.pem",
        "ssl.key.password": "t",
        "bearer.auth.logical.cluster": "lsrc-1",
    }


def test_what_came_by_a_resource_is_hidden_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_PASSWORD", "unheard-of")
    monkeypatch.setenv("WHO", "ann:wh1spered")
    check_resources(
        KafkaResource(bootstrap_servers="a:1", sasl_password=dg.EnvVar("A_PASSWORD")),
        DatabaseResource(url="sqlite://"),
        SchemaRegistryResource(url="http://r", basic_auth_user_info=dg.EnvVar("WHO")),
    )
    assert redact("broker said unheard-of") == "broker said ***"
    assert redact("refused wh1spered") == "refused ***"


@pytest.mark.parametrize(
    ("kafka", "database", "says"),
    [
        ({}, {"url": "mysql+pymysql://u:plain-word@h/db"}, "DatabaseResource: url has a secret as plain text"),
        ({}, {"url": "mysql+pymysql://u@h/db?ssl_key_password=plain-word"}, "url has a secret as plain text"),
        ({}, {"url": "sqlite://", "password": "plain-word"}, "DatabaseResource: password has a secret"),
        ({"sasl_password": "plain-word"}, {}, "KafkaResource: sasl_password has a secret"),
        ({"properties": {"ssl.key.password": "plain-word"}}, {}, "KafkaResource: ssl.key.password has a secret"),
        ({"sasl_password": dg.EnvVar("NO_SUCH")}, {}, "NO_SUCH is not set, and sasl_password is to come from it"),
        ({}, {"url": dg.EnvVar("NO_SUCH_URL")}, "NO_SUCH_URL is not set: name the database"),
        ({}, {"url": "plain-word"}, "url is not an SQLAlchemy URL"),
        ({"group_id": ""}, {}, "group_id is empty"),
        ({"properties": {"enable.auto.commit": "true"}}, {}, "enable.auto.commit=true is refused"),
        ({"properties": {"bootstrap.servers": "c:3"}}, {}, "bootstrap.servers stands in properties and as a field"),
    ],
)
def test_what_is_missing_or_would_be_shown_is_refused_by_name(
    kafka: dict[str, Any], database: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        check_resources(
            KafkaResource(**({"bootstrap_servers": "a:1"} | kafka)),
            DatabaseResource(**({"url": "sqlite://"} | database)),
        )
    assert "plain-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("registry", "says"),
    [
        ({"basic_auth_user_info": "u:plain-word"}, "SchemaRegistryResource: basic_auth_user_info has a secret"),
        ({"bearer_auth_token": "plain-word"}, "SchemaRegistryResource: bearer_auth_token has a secret as plain text"),
        ({"url": "https://u:plain-word@r"}, "SchemaRegistryResource: url has a secret as plain text"),
        ({"properties": {"proxy": "http://u:plain-word@p"}}, "SchemaRegistryResource: proxy has a secret"),
        ({"properties": {"ssl.key.password": "plain-word"}}, "SchemaRegistryResource: ssl.key.password has a secret"),
        ({"properties": {"bearer.auth.client.secret": "plain-word"}}, "bearer.auth.client.secret has a secret"),
        ({"url": dg.EnvVar("NO_SUCH_URL")}, "NO_SUCH_URL is not set, and url is to come from it"),
        ({"properties": {"timeout": "1"}}, "timeout is none of its properties"),
        ({"ssl_ca_location": "/a", "properties": {"ssl.ca.location": "/b"}}, "ssl.ca.location stands in properties"),
    ],
)
def test_a_registry_that_cannot_be_or_would_be_shown_is_refused_by_name(registry: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        check_resources(
            KafkaResource(bootstrap_servers="a:1"),
            DatabaseResource(url="sqlite://"),
            SchemaRegistryResource(**({"url": "http://r"} | registry)),
        )
    assert "plain-word" not in str(caught.value)
