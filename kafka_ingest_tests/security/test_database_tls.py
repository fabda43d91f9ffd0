"""MySQL and MariaDB over TLS: what is verified, and what is said where it does not hold."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import AccessDenied, ConfigError
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest_tests.security.certificates import EXPIRED, Identity
from kafka_ingest_tests.security.secure_database import SecureDatabase

pytestmark = pytest.mark.services

PASSWORD = "p@ss:w/o r%d#?&'=+ü"  # noqa: S105
SHORT_SECONDS = 4
GRANTS = ("SELECT", "CREATE")


@dataclass(frozen=True)
class Account:
    database: SecureDatabase
    schema: str
    user: str

    def url(self, **options: object) -> str:
        return self.database.url(self.user, PASSWORD, self.schema, **options)  # type: ignore[arg-type]


@pytest.fixture
def account(secure_database: SecureDatabase) -> Account:
    schema = secure_database.make_database()
    return Account(secure_database, schema, secure_database.make_user(PASSWORD, schema, GRANTS))


@pytest.fixture
def certified(secure_database: SecureDatabase) -> Account:
    """Who has to show a certificate."""
    schema = secure_database.make_database()
    return Account(secure_database, schema, secure_database.make_user(PASSWORD, schema, GRANTS, require="X509"))


def cipher(url: str) -> str:
    """The cipher of a connection the product makes; empty where it is not encrypted."""
    sink = open_sink(Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": url}).database_url)
    try:
        with sink.errors("connecting"), sink.engine.connect() as connection:
            return str(connection.execute(sa.text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1])
    finally:
        sink.close()


def refused(url: str) -> str:
    """What is said to a connection that must be refused for good."""
    with pytest.raises(AccessDenied) as caught:
        cipher(url)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("options", [{}, {"ssl_verify_cert": "true"}, {"ssl_verify_identity": "true"}])
def test_a_server_whose_certificate_is_right_is_connected_to_encrypted(
    account: Account, options: dict[str, str]
) -> None:
    assert cipher(account.url(ssl_ca=account.database.authority.certificate, **options))


@pytest.mark.parametrize("options", [{}, {"ssl_verify_cert": "true"}, {"ssl_verify_identity": "true"}])
def test_a_server_of_another_authority_is_refused_however_verification_is_asked_for(
    account: Account, options: dict[str, str]
) -> None:
    assert "certificate verify failed" in refused(account.url(ssl_ca=account.database.stranger.certificate, **options))


def test_the_systems_authorities_are_asked_where_none_is_named(account: Account) -> None:
    assert "certificate verify failed" in refused(account.url(ssl_verify_cert="true"))
    assert "certificate verify failed" in refused(account.url(ssl_verify_identity="true"))


def test_a_certificate_for_another_host_is_refused_unless_the_url_says_so(account: Account) -> None:
    authority = account.database.authority.certificate
    text = refused(account.url(host="localhost", ssl_ca=authority))
    assert "Hostname mismatch" in text
    assert cipher(account.url(host="localhost", ssl_ca=authority, ssl_verify_identity="false"))


def test_verification_can_be_turned_off_and_the_connection_stays_encrypted(account: Account) -> None:
    stranger = account.database.stranger.certificate
    assert cipher(account.url(ssl_ca=stranger, ssl_verify_cert="false"))


def test_a_client_certificate_lets_in_and_its_key_may_have_a_password(certified: Account) -> None:
    authority = certified.database.authority
    own = authority.issue("loader", password="k&y=p@ss")  # noqa: S106
    files = {"ssl_ca": authority.certificate, "ssl_cert": own.certificate, "ssl_key": own.key}
    assert cipher(certified.url(**files, ssl_key_password="k&y=p@ss"))  # noqa: S106
    for wrong in ({}, {"ssl_key_password": "another"}):
        with pytest.raises(ConfigError, match="certificates cannot be used") as caught:
            cipher(certified.url(**files, **wrong))
        assert "another" not in str(caught.value)


def test_without_a_certificate_or_with_a_wrong_one_access_is_denied(certified: Account) -> None:
    authority = certified.database.authority
    assert "Access denied for user" in refused(certified.url(ssl_ca=authority.certificate))
    for wrong in (certified.database.stranger.issue("loader"), authority.issue("old", lasts=EXPIRED)):
        files = {"ssl_cert": wrong.certificate, "ssl_key": wrong.key}
        assert "certificate" in refused(certified.url(ssl_ca=authority.certificate, **files))


def test_an_expired_server_certificate_is_refused(secure_mysql: SecureDatabase) -> None:
    own, server = secure_mysql.authority, secure_mysql.server
    schema = secure_mysql.make_database()
    url = secure_mysql.url(secure_mysql.make_user(PASSWORD, schema, GRANTS), PASSWORD, schema, ssl_ca=own.certificate)
    # MySQL takes no certificate that has expired already.
    short = own.issue("server-short", host="127.0.0.1", lasts=dt.timedelta(seconds=SHORT_SECONDS))
    good = own.issue("server", host="127.0.0.1")
    try:
        _serve(server, short)
        time.sleep(SHORT_SECONDS)
        assert "certificate has expired" in refused(url)
    finally:
        _serve(server, good)
    assert cipher(url)


def _serve(server: LocalDatabase, identity: Identity) -> None:
    """MySQL manual, "Server-Side Runtime Configuration and Monitoring for Encrypted Connections"."""
    server.run_as_administrator(f"SET GLOBAL ssl_cert = '{identity.certificate}'")
    server.run_as_administrator(f"SET GLOBAL ssl_key = '{identity.key}'")
    server.run_as_administrator("ALTER INSTANCE RELOAD TLS")


def test_an_unencrypted_connection_is_refused_where_the_user_has_to_use_tls(account: Account) -> None:
    assert "Access denied for user" in refused(account.url(ssl_disabled="true"))


def test_a_wrong_password_is_denied_and_not_repeated(account: Account) -> None:
    database = account.database
    wrong = "wr@ng/pass"
    with pytest.raises(AccessDenied, match="Access denied for user") as caught:
        cipher(database.url(account.user, wrong, account.schema, ssl_ca=database.authority.certificate))
    assert wrong not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ssl_verify": "true"}, "unknown TLS options: ssl_verify"),
        ({"ssl_verify_cert": "maybe"}, "ssl_verify_cert is true or false"),
        ({"ssl_ca": "/no/such/file"}, "certificates cannot be used"),
        ({"ssl_disabled": "true", "ssl_verify_cert": "true"}, "contradicts"),
        ({"ssl_verify_cert": "false", "ssl_verify_identity": "true"}, "host name cannot be verified"),
    ],
)
def test_options_that_would_verify_less_than_they_say_are_refused(options: dict[str, str], words: str) -> None:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    url = Settings.from_environment(
        {"KAFKA_INGEST_DATABASE_URL": f"mysql+pymysql://u:p@127.0.0.1:1/d?{query}"}
    ).database_url
    with pytest.raises(ConfigError, match=words):
        open_sink(url)
