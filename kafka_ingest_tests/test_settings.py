"""Settings come from the environment alone, and keep their secrets."""

from __future__ import annotations

import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.settings import Settings


def test_nothing_set_means_this_machine_and_no_database() -> None:
    settings = Settings.from_environment({})
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.group_id == "kafka_ingest"
    assert settings.secrets() == ()
    for read in (lambda: settings.database_url, lambda: settings.shown_database_url):
        with pytest.raises(ConfigError, match="KAFKA_INGEST_DATABASE_URL is not set") as caught:
            read()
        assert caught.value.values() == {"setting": "KAFKA_INGEST_DATABASE_URL"}


def test_any_librdkafka_property_is_set_by_its_name_in_upper_case() -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2",
        "KAFKA_GROUP_ID": "g",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SSL_CA_LOCATION": "/ca",
        "PATH": "/bin",
        "KAFKAESQUE": "no",
    }
    assert dict(Settings.from_environment(environ).kafka) == {
        "bootstrap.servers": "a:1,b:2",
        "group.id": "g",
        "sasl.mechanism": "PLAIN",
        "ssl.ca.location": "/ca",
    }


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("KAFKA_ENABLE_AUTO_COMMIT", "true", "after the database commit"),
        ("KAFKA_ENABLE_AUTO_COMMIT", "TRUE", "after the database commit"),
        ("KAFKA_ENABLE_AUTO_OFFSET_STORE", "true", "from the ledger"),
        ("KAFKA_ISOLATION_LEVEL", "read_uncommitted", "only committed messages"),
    ],
)
def test_a_property_that_would_break_exactly_once_is_refused_with_the_reason(name: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        Settings.from_environment({name: value})
    assert name in str(caught.value)
    assert caught.value.setting == name


@pytest.mark.parametrize(
    ("name", "value"), [("KAFKA_ENABLE_AUTO_COMMIT", "False"), ("KAFKA_ISOLATION_LEVEL", "read_committed")]
)
def test_a_property_set_to_what_it_is_anyway_is_let_through_and_left_out(name: str, value: str) -> None:
    assert set(Settings.from_environment({name: value}).kafka) == {"bootstrap.servers", "group.id"}


@pytest.mark.parametrize("name", ["HOME", "OPTS", "HEAP_OPTS", "JVM_PERFORMANCE_OPTS", "LOG4J_OPTS", "DEBUG"])
def test_variables_of_kafkas_own_shell_scripts_are_no_properties(name: str) -> None:
    assert set(Settings.from_environment({f"KAFKA_{name}": "x"}).kafka) == {"bootstrap.servers", "group.id"}


def test_our_own_variables_are_no_librdkafka_properties() -> None:
    assert set(Settings.from_environment({"KAFKA_INGEST_STREAMS": "mine"}).kafka) == {"bootstrap.servers", "group.id"}


BAD_URLS = ["nonsense with hunter2", "mysql://user:hunter2/db", "mysql+pymysql://u:hunter2@h:port/db"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_database_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="KAFKA_INGEST_DATABASE_URL") as caught:
        Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": url})
    shown = "".join(map(str, (caught.value, caught.value.__cause__)))
    assert "hunter2" not in shown
    assert caught.value.values() == {"setting": "KAFKA_INGEST_DATABASE_URL"}
    assert caught.value.__suppress_context__


def test_no_secret_is_in_the_repr_and_every_secret_is_listed() -> None:
    settings = Settings.from_environment(
        {
            "KAFKA_SASL_PASSWORD": "s3cret-a",
            "KAFKA_SSL_KEY_PEM": "s3cret-b",
            "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "s3cret-c",
            "KAFKA_SASL_USERNAME": "me",
            "KAFKA_INGEST_DATABASE_URL": "mysql+pymysql://u:s3cret-d@h/db",
        }
    )
    assert "s3cret" not in f"{settings!r} {settings}"
    assert sorted(settings.secrets()) == ["s3cret-a", "s3cret-b", "s3cret-c", "s3cret-d"]
