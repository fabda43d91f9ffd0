"""Settings from the environment, read when asked for and never at import.

`KAFKA_BOOTSTRAP_SERVERS` and any other librdkafka property as `KAFKA_` + its name in upper case with `_` for `.`
(`KAFKA_SASL_MECHANISM` is `sasl.mechanism`); `SCHEMA_REGISTRY_URL` and the properties of the registry's client likewise
(`SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO` is `basic.auth.user.info`); `KAFKA_INGEST_DATABASE_URL`, an SQLAlchemy URL.
`KAFKA_INGEST_ALERT_WEBHOOK`, `…_ALERT_LAG`, `…_ALERT_DEAD_LETTERS`, `…_RETENTION_DAYS` and `…_DAGSTER_URL` are described in
`MonitoringSettings`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError

DEFAULT_BOOTSTRAP_SERVERS = "127.0.0.1:9092"
DEFAULT_GROUP_ID = "kafka_ingest"
DEFAULTS = {"bootstrap.servers": DEFAULT_BOOTSTRAP_SERVERS, "group.id": DEFAULT_GROUP_ID}
"""The librdkafka properties that are given where nobody names them."""
DATABASE_URL = "KAFKA_INGEST_DATABASE_URL"
REGISTRY_URL = "SCHEMA_REGISTRY_URL"

# Read by Kafka's own shell scripts, so they may stand in anybody's environment; they are not librdkafka properties.
_SHELL_VARIABLES = frozenset(
    f"KAFKA_{name}"
    for name in ("HOME", "OPTS", "HEAP_OPTS", "JVM_PERFORMANCE_OPTS", "GC_LOG_OPTS", "LOG4J_OPTS", "JMX_OPTS", "DEBUG")
)
# Ours: a run commits exactly what it loaded, as what it loaded is known.
_REFUSED = {
    "enable.auto.commit": "offsets are committed after the database commit, never before",
    "enable.auto.offset.store": "offsets come from the ledger",
    "isolation.level": "only committed messages are loaded (read_committed)",
}
_SECRET_WORDS = ("password", "secret", "token", ".pem", "oauthbearer.config", "jaas", "user.info")
# Others that begin alike are not the client's: Kubernetes and the registry's own image set SCHEMA_REGISTRY_PORT, …_HOST_NAME.
_REGISTRY_PROPERTIES = ("url", "proxy")
_REGISTRY_FAMILIES = ("ssl.", "basic.auth.", "bearer.auth.")


def is_secret(key: str) -> bool:
    """Whether the value of a property of librdkafka's or the registry's client must never be shown."""
    return any(word in key for word in _SECRET_WORDS)


def is_ours_to_set(key: str, value: str, *, setting: str) -> bool:
    """Whether a librdkafka property is one that this package sets itself, and `value` is what it sets anyway. Raises ConfigError,
    naming the setting it came by, where it is another value."""
    allowed = {"enable.auto.commit": "false", "isolation.level": "read_committed"}.get(key)
    if key in _REFUSED and value.lower() != allowed:
        raise ConfigError(f"{setting}={value} is refused: {_REFUSED[key]}. Unset it.", setting=setting)
    return key in _REFUSED


def no_database(setting: str) -> ConfigError:
    """What is raised where the setting that names the database is empty."""
    return ConfigError(
        f"{setting} is not set: name the database, such as mysql+pymysql://user:password@host:3306/db, or for a look around "
        "sqlite:////path/to/file.db",
        setting=setting,
    )


def parse_database_url(text: str, *, setting: str) -> sa.URL:
    """Raises ConfigError naming the setting; the text itself, which may hold a password, is not in it."""
    try:
        return sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        # `from None`: the original text may hold the password.
        raise ConfigError(
            f"{setting} is not an SQLAlchemy URL; it looks like mysql+pymysql://user:password@host:3306/db",
            setting=setting,
        ) from None


@dataclass(frozen=True)
class Settings:
    """Where Kafka and the database are. Secrets never show in `repr`."""

    kafka: Mapping[str, str] = field(repr=False)
    """librdkafka properties by their dotted names, `bootstrap.servers` and `group.id` included."""
    database: sa.URL | None = field(repr=False)
    """None where no database is named: what needs none, as producing sample messages, works without."""
    registry: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Properties of the schema registry's client by their dotted names, `url` among them; empty where no registry is named."""

    @property
    def database_url(self) -> sa.URL:
        """Where the rows go. Raises ConfigError where no database is named: a default would take the rows of a process whose
        environment lacks the setting, and the consumer group's offsets would say that they are loaded."""
        if self.database is None:
            raise no_database(DATABASE_URL)
        return self.database

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings of this process.

        Raises ConfigError for a property this package sets itself and for a database URL that does not parse.
        """
        environ = os.environ if environ is None else environ
        kafka = DEFAULTS | {key: environ[name] for key, name in kafka_variables(environ).items()}
        text = environ.get(DATABASE_URL, "")
        database = parse_database_url(text, setting=DATABASE_URL) if text else None
        registry = {key: environ[name] for key, name in registry_variables(environ).items()}
        return cls(kafka=kafka, database=database, registry=registry)

    @property
    def bootstrap_servers(self) -> str:
        """Where Kafka is: `host:port`, several with commas."""
        return self.kafka["bootstrap.servers"]

    @property
    def group_id(self) -> str:
        """The consumer group of streams that name none of their own."""
        return self.kafka["group.id"]

    def secrets(self) -> tuple[str, ...]:
        """Values that must never be written anywhere."""
        clients = [v for k, v in (*self.kafka.items(), *self.registry.items()) if v and is_secret(k)]
        clients += _passwords(self.registry)
        url = self.database
        if url is None:
            return tuple(clients)
        queried = [str(v) for k, v in url.query.items() if "passw" in k]  # ssl_key_password
        return tuple(s for s in (*clients, str(url.password or ""), *queried) if s)

    @property
    def shown_database_url(self) -> str:
        """The database's URL for people: without passwords, also those among its options. Raises as `database_url`."""
        url = self.database_url
        hidden = {k: "hidden" for k in url.query if "passw" in k}
        return url.update_query_dict(hidden).render_as_string(hide_password=True)


def kafka_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The librdkafka properties that the environment gives, and the variable of each.

    Raises ConfigError for one that this package sets itself.
    """
    environ = os.environ if environ is None else environ
    found = {}
    for name, value in environ.items():
        if not name.startswith("KAFKA_") or name.startswith("KAFKA_INGEST_") or name in _SHELL_VARIABLES:
            continue
        key = name.removeprefix("KAFKA_").lower().replace("_", ".")
        if not is_ours_to_set(key, value, setting=name):
            found[key] = name
    return found


def registry_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The properties of the schema registry's client that the environment gives, and the variable of each."""
    environ = os.environ if environ is None else environ
    found = {}
    for name in environ:
        key = name.removeprefix("SCHEMA_REGISTRY_").lower().replace("_", ".")
        if name.startswith("SCHEMA_REGISTRY_") and is_registry_property(key):
            found[key] = name
    return found


def is_registry_property(key: str) -> bool:
    """Whether a property of the schema registry's client is one to be set; timeouts and retries are ours."""
    return key in _REGISTRY_PROPERTIES or key.startswith(_REGISTRY_FAMILIES)


def _passwords(registry: Mapping[str, str]) -> list[str]:
    """Those that stand inside the registry's settings: in a URL, and behind the user's name."""
    found = [registry.get("basic.auth.user.info", "").partition(":")[2]]
    for each in (*registry.get("url", "").split(","), registry.get("proxy", "")):
        with suppress(ValueError):  # no URL
            found.append(urlsplit(each.strip()).password or "")
    return [each for each in found if each]


DEFAULT_RETENTION_DAYS = 14
MAX_RETENTION_DAYS = 36_500
MAX_ALERT = 2**63 - 1  # what an offset can be


@dataclass(frozen=True)
class MonitoringSettings:
    """What is watched and how long history is kept. Kept apart from `Settings`: code locations read it while they load."""

    alert_webhook: str | None = field(default=None, repr=False)
    """URL that alerts are POSTed to as JSON; it may hold a token, so it is a secret. None: no alerts."""
    alert_lag: int | None = None
    """Alert when a stream's lag is over this many offsets."""
    alert_dead_letters: int | None = None
    """Alert when more dead letters of a stream than this wait to be replayed or deleted."""
    retention_days: int = DEFAULT_RETENTION_DAYS
    """Dagster runs and ledger detail older than this are thinned out; 0 keeps everything."""
    dagster_url: str | None = None
    """Where people open Dagster's UI, for links."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> MonitoringSettings:
        """Raises ConfigError for what is no URL or no number; the webhook's own text never stands in the error."""
        environ = os.environ if environ is None else environ
        days = _whole_number(environ, "KAFKA_INGEST_RETENTION_DAYS", MAX_RETENTION_DAYS)
        return cls(
            alert_webhook=_http_url(environ, "KAFKA_INGEST_ALERT_WEBHOOK"),
            alert_lag=_whole_number(environ, "KAFKA_INGEST_ALERT_LAG", MAX_ALERT),
            alert_dead_letters=_whole_number(environ, "KAFKA_INGEST_ALERT_DEAD_LETTERS", MAX_ALERT),
            retention_days=DEFAULT_RETENTION_DAYS if days is None else days,
            dagster_url=(_http_url(environ, "KAFKA_INGEST_DAGSTER_URL") or "").rstrip("/") or None,
        )

    def run_link(self, run_id: str) -> str | None:
        """The run's page, where the UI's address is known."""
        return None if self.dagster_url is None else f"{self.dagster_url}/runs/{run_id}"


def _http_url(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_url = False
    if not is_url or any(c <= " " or c == "\x7f" for c in text):
        raise ConfigError(f"{name} is not a URL; it looks like https://host/path", setting=name)
    return text


def _whole_number(environ: Mapping[str, str], name: str, most: int) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    # Digits are counted first: int() refuses thousands of them with an error of its own.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise ConfigError(f"{name}={text[:100]!r} is not a whole number from 0 to {most}", setting=name)
    return int(text)


def stream_modules(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Modules or packages that declare streams: those that `KAFKA_INGEST_STREAMS` names, separated by commas."""
    environ = os.environ if environ is None else environ
    return tuple(name.strip() for name in environ.get("KAFKA_INGEST_STREAMS", "").split(",") if name.strip())
