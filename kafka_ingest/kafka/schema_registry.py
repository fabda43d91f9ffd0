"""The schema registry: writers' schemas by id, over Confluent's API. Each is asked for once a process.

What the registry does not know is a matter of the message that names it. A registry that does not answer is none: it raises, and
the run is tried again, as where a broker is down.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from kafka_ingest.errors import AccessDenied, ConfigError, KafkaIngestError, SchemaRegistryUnavailable
from kafka_ingest.kafka.timeouts import request_timeout
from kafka_ingest.settings import REGISTRY_URL, Settings
from kafka_ingest.streams.formats.schemas import RegisteredSchema

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

T = TypeVar("T")
Find = Callable[[Set[int]], Mapping[int, RegisteredSchema]]

_NOT_FOUND = 404
_DENIED = (401, 403)
_PASSING = (408, 425, 429)
_MOST_REFERENCES = 200
"""Schemas that one schema may be made of, each counted as often as it is named: a registry is not trusted to have no circle."""


def schema_finder(settings: Settings) -> Find:
    """Finds schemas by id in the registry of these settings: those it knows, with all they refer to.

    It connects when it is first asked. It raises SchemaRegistryUnavailable where the registry does not answer as it should,
    AccessDenied where it refuses, ConfigError where none is named or its client is not installed.
    """

    def find(ids: Set[int]) -> Mapping[int, RegisteredSchema]:
        return schema_registry(settings).find(ids)

    return find


def schema_registry(settings: Settings) -> SchemaRegistry:
    """The registry of these settings, one a process. Raises ConfigError where none is named."""
    return _registry(tuple(sorted(settings.registry.items())))


@cache
def _registry(properties: tuple[tuple[str, str], ...]) -> SchemaRegistry:
    return SchemaRegistry(dict(properties))


class SchemaRegistry:
    """What this process has found so far. A client is open only while something is asked for."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._properties = properties
        self._known: dict[int, RegisteredSchema] = {}
        if not properties.get("url"):
            raise ConfigError(
                f"{REGISTRY_URL} is not set, and the messages name their schemas by ids of a schema registry; name it there, "
                "or in a Dagster project by build_definitions(registry=…)",
                setting=REGISTRY_URL,
            )

    def subjects(self) -> list[str]:
        """All subjects. Raises as `schema_finder` does."""
        with _open_client(self._properties) as client:
            return _ask("its subjects", client.get_subjects) or []

    def latest(self, subject: str) -> tuple[int, RegisteredSchema] | None:
        """A subject's newest version, its number first; None where it is not there any more. Raises as `schema_finder` does."""
        with _open_client(self._properties) as client:
            found = _ask(f"the newest version of subject {subject}", partial(client.get_latest_version, subject))
            if found is None:
                return None
            return found.version or 0, _whole(client, found.schema_id or 0, found.schema, [0])

    def find(self, ids: Set[int]) -> Mapping[int, RegisteredSchema]:
        missing = sorted(ids - self._known.keys())
        if missing:
            with _open_client(self._properties) as client:
                for number in missing:
                    schema = _ask(f"schema {number}", partial(client.get_schema, number))
                    if schema is not None:
                        self._known[number] = _whole(client, number, schema, [0])
        return {number: self._known[number] for number in ids & self._known.keys()}


def _whole(client: SchemaRegistryClient, number: int, schema: Schema, count: list[int]) -> RegisteredSchema:
    """The schema with those it refers to, of which `count` keeps the number."""
    references = []
    for each in schema.references or []:
        count[0] += 1
        named = f"version {each.version} of subject {each.subject}"
        found = _ask(
            f"{named}, which a schema refers to",
            partial(client.get_version, each.subject or "", each.version or 0, deleted=True),
        )
        if found is None or count[0] > _MOST_REFERENCES:
            what = "which it does not know" if found is None else f"and to more than {_MOST_REFERENCES} others"
            raise ConfigError(f"the schema registry's schema {number} refers to {named}, {what}", setting=REGISTRY_URL)
        references.append((str(each.name), _whole(client, found.schema_id or 0, found.schema, count)))
    return RegisteredSchema(number, schema.schema_type or "AVRO", schema.schema_str or "", tuple(references))


def _ask(what: str, ask: Callable[[], T]) -> T | None:
    """The answer; None where the registry does not have it."""
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    try:
        with _transport_errors(f"asking the schema registry for {what}"):
            return ask()
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return None
        raise _answered(error.http_status_code, what) from error


def _answered(status: int, what: str) -> KafkaIngestError:
    text = f"the schema registry answered {status} when asked for {what}"
    if status in _DENIED:
        return AccessDenied(
            f"{text}. Check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO, SCHEMA_REGISTRY_BEARER_AUTH_TOKEN and what this user may read.",
            code=status,
        )
    if status in _PASSING or status >= 500:
        return SchemaRegistryUnavailable(f"{text}. It is asked again.", code=status)
    return ConfigError(f"{text}. Check {REGISTRY_URL}.", setting=REGISTRY_URL, code=status)


@contextmanager
def _transport_errors(doing: str) -> Iterator[None]:
    import httpx2
    from confluent_kafka.schema_registry.error import OAuthTokenError

    try:
        yield
    except (httpx2.TransportError, OAuthTokenError) as error:
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError) or "CERTIFICATE" in str(error).upper():
            raise AccessDenied(f"{doing}: {error}. Check the SCHEMA_REGISTRY_SSL_* settings.") from error
        raise SchemaRegistryUnavailable(f"{doing}: {type(error).__name__}: {error}. It is asked again.") from error
    except ValueError as error:  # an answer that is no JSON, as a proxy's page is
        raise SchemaRegistryUnavailable(
            f"{doing}: the answer is not a registry's ({error}). It is asked again."
        ) from error


def _open_client(properties: Mapping[str, str]) -> SchemaRegistryClient:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ConfigError(
            f"the schema registry's client is not installed ({error}): pip install 'kafka-ingest[registry]'",
            setting=REGISTRY_URL,
        ) from error
    # The client tries nothing a second time, as the run does; each request has the time that one to Kafka has.
    given: dict[str, Any] = {**properties, "max.retries": 0, "timeout": request_timeout()}
    if "bearer.auth.token" in given:
        given.setdefault("bearer.auth.credentials.source", "STATIC_TOKEN")
        given.setdefault("bearer.auth.logical.cluster", "")
    try:
        return SchemaRegistryClient(given)
    except (ValueError, TypeError, OSError) as error:
        # Not the error's text, which may hold what was given.
        raise ConfigError(
            f"the schema registry's client refuses the SCHEMA_REGISTRY_* settings ({', '.join(sorted(properties))}): "
            f"{type(error).__name__}",
            setting=REGISTRY_URL,
        ) from error
