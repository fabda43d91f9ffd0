"""Where Kafka, the database and the schema registry are, as Dagster resources; and a run's `Ingestion`."""

# No `from __future__ import annotations` here: Dagster reads the fields' annotations as they stand.

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

import dagster as dg
import sqlalchemy as sa
from pydantic import Field, PrivateAttr

from kafka_ingest.engine.ended_runs import RunRecords
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.names import Names
from kafka_ingest.redaction import remember_secrets
from kafka_ingest.settings import (
    DATABASE_URL,
    DEFAULT_GROUP_ID,
    DEFAULTS,
    Settings,
    is_ours_to_set,
    is_registry_property,
    is_secret,
    kafka_variables,
    no_database,
    parse_database_url,
    registry_variables,
)
from kafka_ingest.streams.stream import Stream

_Resource = TypeVar("_Resource", bound="Resource")


class KafkaResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A Kafka cluster. Secrets are given as `dg.EnvVar`, so that they stand in no run config and on no page of Dagster's."""

    bootstrap_servers: str = Field(description="host:port, several with commas.")
    group_id: str = Field(
        default=DEFAULT_GROUP_ID, description="Consumer group of streams that name none of their own."
    )
    security_protocol: str | None = Field(
        default=None, description="PLAINTEXT (where left out), SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    sasl_mechanism: str | None = Field(
        default=None, description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI."
    )
    sasl_username: str | None = Field(default=None, description="For SASL.")
    sasl_password: str | None = Field(default=None, description="For SASL: dg.EnvVar('NAME').")
    ssl_ca_location: str | None = Field(
        default=None, description="File of the certificates to trust, where the system's do not do."
    )
    properties: dict[str, str] = Field(
        default={}, description="Any other librdkafka property by its dotted name, such as ssl.key.location."
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "KafkaResource":
        """By the variables that `Settings.from_environment` reads, each named by a `dg.EnvVar`: their values are read in the
        process that needs them. Raises ConfigError for a property this package sets itself."""
        given: dict[str, str] = {key: dg.EnvVar(name) for key, name in kafka_variables(environ).items()}
        fields = {key.replace(".", "_"): given.pop(key, default) for key, default in DEFAULTS.items()}
        return cls(**fields, properties=given)

    def librdkafka(self) -> dict[str, str]:
        """The properties by dotted names. Raises ConfigError for one that is given twice or that this package sets itself, and
        for an empty group."""
        if not self.group_id:
            raise ConfigError("KafkaResource: group_id is empty", setting="group_id")
        given = _properties(self)
        return {key: value for key, value in given.items() if not is_ours_to_set(key, value, setting=key)}


class DatabaseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The database that holds the tables and the ledger."""

    url: str = Field(
        description="SQLAlchemy URL, such as mysql+pymysql://loader@host:3306/warehouse; with a password, dg.EnvVar('NAME')."
    )
    password: str | None = Field(default=None, description="The user's, where the URL has none: dg.EnvVar('NAME').")

    @classmethod
    def from_environment(cls) -> "DatabaseResource":
        """The one that KAFKA_INGEST_DATABASE_URL names."""
        return cls(url=dg.EnvVar(DATABASE_URL))

    def sqlalchemy_url(self) -> sa.URL:
        """The URL, password included, for `sqlalchemy.create_engine`. Raises ConfigError for what is no URL."""
        url = parse_database_url(self.url, setting="DatabaseResource.url")
        return url if self.password is None else url.set(password=self.password)


class SchemaRegistryResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The schema registry that has the writers' schemas, for streams whose format names them by ids."""

    url: str = Field(
        description="Its address, of Confluent's API; several with commas. Empty: none, and what needs one fails."
    )
    basic_auth_user_info: str | None = Field(
        default=None, description="For basic authentication user:password, as dg.EnvVar('NAME')."
    )
    bearer_auth_token: str | None = Field(default=None, description="A token instead: dg.EnvVar('NAME').")
    ssl_ca_location: str | None = Field(
        default=None, description="File of the certificates to trust, where those of Python's certifi do not do."
    )
    properties: dict[str, str] = Field(
        default={},
        description="Other properties of Confluent's client by their dotted names: proxy, and those that begin with ssl., "
        "basic.auth. or bearer.auth.",
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "SchemaRegistryResource":
        """By the variables that `Settings.from_environment` reads, each named by a `dg.EnvVar`; none where they name none."""
        given: dict[str, str] = {key: dg.EnvVar(name) for key, name in registry_variables(environ).items()}
        return cls(url=given.pop("url", ""), properties=given)

    def client_properties(self) -> dict[str, str]:
        """Those of Confluent's client by dotted names; empty where no registry is named. Raises ConfigError for one that is given
        twice or that this package sets itself."""
        given = _properties(self)
        for key in given:
            if not is_registry_property(key):
                raise ConfigError(
                    f"SchemaRegistryResource: {key} is none of its properties: proxy, ssl.…, basic.auth.…, bearer.auth.…",
                    setting=key,
                )
        return given if self.url else {}


Resource = KafkaResource | DatabaseResource | SchemaRegistryResource


def _properties(resource: KafkaResource | SchemaRegistryResource) -> dict[str, str]:
    """Its fields and properties by dotted names. Raises ConfigError for one that is given twice."""
    fields = {
        name.replace("_", "."): value
        for name in type(resource).model_fields
        if name != "properties" and (value := getattr(resource, name)) is not None
    }
    for key in resource.properties:
        if key in fields:
            raise ConfigError(
                f"{type(resource).__name__}: {key} stands in properties and as a field; give it once", setting=key
            )
    return fields | resource.properties


class IngestionResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A run's connections: the `Ingestion` of a stream, made when first asked for."""

    _ingestions: dict[str, Ingestion] = PrivateAttr(default_factory=dict)

    def is_open(self, stream: Stream) -> bool:
        """Whether this run has asked for the stream's ingestion before, in this process."""
        return stream.name in self._ingestions

    def of(
        self,
        stream: Stream,
        settings: Settings,
        run_id: str,
        window_key: str | None,
        shard: Shard = WHOLE,
        records: RunRecords | None = None,
    ) -> Ingestion:
        """The run's ingestion of a stream. Assets of several streams that a person materializes together are one run."""
        if stream.name not in self._ingestions:
            self._ingestions[stream.name] = Ingestion(
                stream, settings, run_id=run_id, window_key=window_key, shard=shard, records=records
            )
        return self._ingestions[stream.name]

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the run's connections, where it has opened any."""
        with ExitStack() as closing_all:
            for ingestion in self._ingestions.values():
                closing_all.callback(ingestion.close)
            self._ingestions = {}


def settings_of(resources: Any, names: Names) -> Settings:
    """Where Kafka, the database and the registry are for this context's `resources` (`Names.connections`), secrets included; from
    here on no error shows them."""
    return _settings(*(getattr(resources, name) for name in (names.kafka, names.database, names.registry)))


def _settings(kafka: KafkaResource, database: DatabaseResource, registry: SchemaRegistryResource) -> Settings:
    found = Settings(
        kafka=kafka.librdkafka(), database=database.sqlalchemy_url(), registry=registry.client_properties()
    )
    remember_secrets(found.secrets())
    return found


def check_resources(
    kafka: KafkaResource, database: DatabaseResource, registry: SchemaRegistryResource | None = None
) -> Settings:
    """What they come to in this process, before any run needs them. Without a registry, for what decodes nothing.

    Raises ConfigError as `check_given` does, and for what the resources themselves refuse. A password is in no error.
    """
    registry = SchemaRegistryResource(url="") if registry is None else registry
    for resource in (kafka, database, registry):
        check_given(resource)
    return _settings(_resolved(kafka), _resolved(database), _resolved(registry))


def check_given(resource: Resource) -> None:
    """Raises ConfigError for a variable that is not set, and for a password in plain text, which would stand on a page of
    Dagster's."""
    for name, value in given_values(resource).items():
        if isinstance(value, dg.EnvVar):
            if value.get_value() is None:
                is_database = isinstance(resource, DatabaseResource) and name == "url"
                raise no_database(value.env_var_name) if is_database else _unset(value.env_var_name, name)
        elif is_secret(name.replace("_", ".")) or (name in ("url", "proxy") and _has_password(resource, value)):
            raise ConfigError(
                f"{type(resource).__name__}: {name} has a secret as plain text, which Dagster would show; give it as "
                "dg.EnvVar('NAME'), in YAML as '{{ env.NAME }}'",
                setting=name,
            )


def _resolved(resource: _Resource) -> _Resource:
    """With the variables' values. Dagster's own way makes an instance and an event loop for it."""
    return type(resource)(**{name: _value(getattr(resource, name)) for name in type(resource).model_fields})


def _value(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {key: _value(value) for key, value in given.items()}
    return given.get_value() if isinstance(given, dg.EnvVar) else given


def given_values(resource: Resource) -> dict[str, str]:
    """Its texts and variables (`dg.EnvVar`), as they were given, by name of the field or property."""
    fields = {name: getattr(resource, name) for name in type(resource).model_fields}
    return {k: v for k, v in (fields | fields.pop("properties", {})).items() if isinstance(v, str)}


def _has_password(resource: Resource, url: str) -> bool:
    if isinstance(resource, DatabaseResource):
        settings = Settings(kafka={}, database=parse_database_url(url, setting="DatabaseResource.url"))
    else:
        settings = Settings(kafka={}, database=None, registry={"url": url})
    return bool(settings.secrets())


def _unset(variable: str, name: str) -> ConfigError:
    return ConfigError(f"{variable} is not set, and {name} is to come from it", setting=variable)


def run_window(context: dg.OpExecutionContext) -> str | None:
    """The run's window (its first, where it has several)."""
    return context.partition_keys[0] if context.has_partition_key or context.has_partition_key_range else None
