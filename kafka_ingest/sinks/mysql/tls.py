"""TLS to MySQL and MariaDB, as the database URL asks for it.

The URL's options have the names PyMySQL gives them. Handed on as they stand they would mean something else: SQLAlchemy takes
some of them apart, so that `ssl_ca` together with `ssl_verify_identity=true` loses the authority and checks no host name.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import pymysql
import sqlalchemy as sa
from pymysql.constants import CR

from kafka_ingest.errors import ConfigError

_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key")
_SWITCHES = ("ssl_verify_cert", "ssl_verify_identity", "ssl_check_hostname", "ssl_disabled")
_OTHERS = ("ssl_key_password", "ssl_cipher")
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True)
class Tls:
    """PyMySQL's arguments for the URL's `ssl_…` options, and whether a certificate of ours is shown."""

    arguments: Mapping[str, object] = field(default_factory=dict)
    shows_certificate: bool = False

    @contextmanager
    def handshake(self) -> Iterator[None]:
        """Around connecting: says so where the server hangs up on our certificate, which it may do without a word (TLS 1.3
        lets a client send its first request before the server has looked at the certificate)."""
        try:
            yield
        except pymysql.err.OperationalError as error:
            ended = error.args[0] in (CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST)
            if self.shows_certificate and ended and tls_refusal(error) is None:
                said = f"the server ended the handshake; does it trust the certificate of ssl_cert? {error.args[1]}"
                raise pymysql.err.OperationalError(CR.CR_SSL_CONNECTION_ERROR, said) from error
            raise


def split_tls(url: sa.URL) -> tuple[sa.URL, Tls]:
    """The URL without its `ssl_…` options, and those; see docs/security.md.

    Any of them makes TLS a must. With `ssl_ca` (or `ssl_verify_cert=true`: the system's authorities) the server's certificate
    has to be signed by it and be for the host of the URL. Raises ConfigError for what is unknown, unreadable or contradicts
    itself; the key's password never stands in it.
    """
    given = {name: str(value) for name, value in url.query.items() if name.startswith("ssl_")}
    rest = url.difference_update_query(given)
    if not given:
        return rest, Tls()
    unknown = sorted(set(given) - {*_FILES, *_SWITCHES, *_OTHERS})
    if unknown:
        raise ConfigError(
            f"KAFKA_INGEST_DATABASE_URL has unknown TLS options: {', '.join(unknown)}",
            setting="KAFKA_INGEST_DATABASE_URL",
        )
    switches = {name: _switch(name, given[name]) for name in _SWITCHES if name in given}
    if switches.get("ssl_disabled"):
        if len(given) > 1:
            raise ConfigError(
                "KAFKA_INGEST_DATABASE_URL: ssl_disabled=true contradicts its other ssl_ options",
                setting="KAFKA_INGEST_DATABASE_URL",
            )
        return rest, Tls({"ssl_disabled": True})
    return rest, Tls({"ssl": _context(given, switches)}, shows_certificate="ssl_cert" in given)


def _context(given: dict[str, str], switches: dict[str, bool]) -> ssl.SSLContext:
    has_authority = "ssl_ca" in given or "ssl_capath" in given
    identity = switches.get("ssl_verify_identity", switches.get("ssl_check_hostname"))
    verify = switches.get("ssl_verify_cert", has_authority or bool(identity))
    if identity and not verify:
        raise ConfigError(
            "KAFKA_INGEST_DATABASE_URL: a host name cannot be verified with ssl_verify_cert=false",
            setting="KAFKA_INGEST_DATABASE_URL",
        )
    try:
        context = ssl.create_default_context(cafile=given.get("ssl_ca"), capath=given.get("ssl_capath"))
        # MySQL's own self-made certificates lack what Python 3.13 asks for by default.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = verify and identity is not False
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        if "ssl_cert" in given:
            # With "" OpenSSL does not ask the terminal for the password of a key that has one.
            context.load_cert_chain(given["ssl_cert"], given.get("ssl_key"), given.get("ssl_key_password", ""))
        if "ssl_cipher" in given:
            context.set_ciphers(given["ssl_cipher"])
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        named = ", ".join(f"{name}={given[name]}" for name in _FILES if name in given)
        raise ConfigError(
            f"KAFKA_INGEST_DATABASE_URL: its certificates cannot be used ({named}): {error}. Check the files, "
            "who may read them, and ssl_key_password.",
            setting="KAFKA_INGEST_DATABASE_URL",
        ) from None
    return context


@cache
def encrypting() -> ssl.SSLContext:
    """For connections whose URL says nothing of TLS, which the driver encrypts where the server can, without a look at the
    certificate. The driver makes one for each, and reads all the system's authorities for it: 10 ms."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _switch(name: str, text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ConfigError(
            f"KAFKA_INGEST_DATABASE_URL: {name} is true or false, not {text!r}", setting="KAFKA_INGEST_DATABASE_URL"
        )
    return _WORDS[text.lower()]


def tls_refusal(error: BaseException | None) -> ssl.SSLError | None:
    """What TLS refused, on either side, where that is why the driver could not connect; None for a lost connection."""
    for each in _causes(error):
        # "…_ALERT_…" is the server's word on our certificate. A connection that merely ends is another SSLError.
        if isinstance(each, ssl.SSLCertVerificationError) or (
            isinstance(each, ssl.SSLError) and "ALERT" in (each.reason or "")
        ):
            return each
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__
