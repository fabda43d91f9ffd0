"""The Component in a `defs.yaml`: what it makes of its attributes, and what it refuses, with the line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from dagster.components.testing.utils import component_defs

from kafka_ingest import KafkaIngestComponent, KafkaIngestTranslatorData
from kafka_ingest.orchestration.launching import ranges_config
from kafka_ingest.orchestration.names import LIVE_TAG, Names
from kafka_ingest.orchestration.resources import check_resources
from kafka_ingest.testing.models import BOOKINGS, MIXED
from kafka_ingest_tests.support.defs_yaml import of_dagsters_own, specs
from kafka_ingest_tests.support.world import World

pytestmark = of_dagsters_own

ENVIRONMENT = {
    "BROKERS": "broker-1:9093,broker-2:9093",
    "BROKER_PASSWORD": "s3cret-of-kafka",
    "DATABASE_URL": "mysql+pymysql://loader:s3cret-of-mysql@warehouse/news",
    "REGISTRY_USER": "ann:s3cret-of-registry",
    "HOST": "broker",
    "MANY": "500",
}
TRADES = """\
name: trades
topics: trades
routes:
  trade:
    table: trades
    columns:
      symbol: VARCHAR(16)
      price: {type: DOUBLE, path: last.price}
"""
CONNECTIONS = """\
kafka: {bootstrap_servers: "{{ env.BROKERS }}"}
database: {url: "{{ env.DATABASE_URL }}"}
"""


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def streams(*each: str) -> str:
    """The attribute; each a path, a template or a declaration."""
    return "streams:\n" + "".join(f"  - {indent(text, '    ').strip()}\n" for text in each)


@contextmanager
def loaded(attributes: str, more: str = "", **modules: str) -> Iterator[tuple[KafkaIngestComponent, dg.Definitions]]:
    """The component of a `defs.yaml` with these attributes, beside these modules; and its definitions."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "market"
        folder.mkdir()
        for name, content in modules.items():
            (folder / f"{name}.py").write_text(content)
        text = f"type: kafka_ingest.KafkaIngestComponent\nattributes:\n{indent(attributes, '  ')}{more}"
        (folder / "defs.yaml").write_text(text)
        with sandbox.load_component_and_build_defs(folder) as (component, defs):
            assert isinstance(component, KafkaIngestComponent)
            yield component, defs


def refused(attributes: str, **modules: str) -> str:
    """What is said of attributes that cannot be; from the name of the file on, where it is said."""
    with pytest.raises(Exception, match="Error while") as caught, loaded(attributes, **modules):
        pass
    error: BaseException = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).rpartition("/market/")[2]


# Streams.


def test_streams_come_by_path_from_anywhere_from_the_components_folder_and_as_declarations() -> None:
    written = CONNECTIONS + streams("kafka_ingest.testing.models.MIXED", ".bookings.STREAM", TRADES)
    with loaded(written, bookings="from kafka_ingest.testing.models import BOOKINGS as STREAM") as (component, defs):
        assert list(component.streams[:2]) == [MIXED, BOOKINGS]
        assert component.streams[2].name == "trades"
        assert {"mixed/t_event", "bookings/t_booking", "trades/trades", "kafka/trades"} <= specs(defs).keys()
        dg.Definitions.validate_loadable(defs)


def test_message_types_that_share_a_table_are_written_with_an_alias() -> None:
    shared = TRADES.replace("trade:\n", "trade: &trade\n") + "  correction: *trade\n"
    with loaded(CONNECTIONS + streams(shared)) as (component, _):
        (stream,) = component.streams
        assert stream.routes["trade"] is stream.routes["correction"]


def test_templates_are_filled_in_and_other_texts_stay_as_they_are() -> None:
    declared = TRADES.replace("topics: trades", 'topics: ["{{ env.HOST }}-trades", "0123", "1"]')
    declared += "batch: {min_messages: '{{ env.MANY }}'}\nfresh_warn: '{{ datetime.timedelta(hours=2) }}'\n"
    with loaded(CONNECTIONS + streams(declared)) as (component, _):
        (stream,) = component.streams
        assert stream.topics == ("broker-trades", "0123", "1")
        assert stream.batch.min_messages == 500
        assert stream.fresh_warn.total_seconds() == 7200


@pytest.mark.parametrize("written", ["streams: '{{ ours }}'\n", streams("'{{ ours[0] }}'")])
def test_streams_may_come_from_a_template(written: str) -> None:
    variables = (
        "import dagster as dg\nfrom kafka_ingest.testing.models import MIXED\n"
        "@dg.template_var\ndef ours():\n    return [MIXED]\n"
    )
    with loaded(CONNECTIONS + written, "template_vars_module: .variables\n", variables=variables) as (component, _):
        assert list(component.streams) == [MIXED]


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (
            TRADES.replace("VARCHAR(16)", "VARCHR(16)"),
            "defs.yaml:14 - attributes.streams.0.routes.trade.columns.symbol.type",
        ),
        (TRADES + "batch: {max_rows: 0}\n", "defs.yaml:16 - attributes.streams.0.batch.max_rows"),
        (TRADES + "steps:\n  - .steps.clean\n", "defs.yaml:17 - attributes.streams.0.steps.0"),
        (".no_such.STREAM", "defs.yaml:8 - attributes.streams.0"),
        ("7", "defs.yaml:8 - attributes.streams.0"),
    ],
)
def test_an_error_in_a_stream_names_its_line(stream: str, says: str) -> None:
    # Lines 1 and 2 are type and attributes, 3 and 4 the connections.
    said = refused(CONNECTIONS + "# a comment\n# another\n" + streams(stream))
    assert said.startswith(says + "\n")
    assert "streams[0]" in said.splitlines()[-1]


def test_streams_that_do_not_go_together_are_refused() -> None:
    other = TRADES.replace("name: trades", "name: other").replace("table: trades", "table: others")
    assert "both read 'trades' with one consumer group" in refused(CONNECTIONS + streams(TRADES, other))


# Kafka and the database.


def test_a_variable_of_the_environment_is_named_and_its_value_is_nowhere() -> None:
    written = """\
kafka:
  bootstrap_servers: "{{ env.HOST }}:9092"
  security_protocol: SASL_SSL
  sasl_password: "{{ env('BROKER_PASSWORD') }}"
  properties: {ssl.key.password: "{{env.BROKER_PASSWORD}}", client.id: "7"}
database: {url: '{{ env("DATABASE_URL") }}'}
registry: {url: 'https://registry', basic_auth_user_info: '{{ env.REGISTRY_USER }}'}
"""
    with loaded(written + streams(TRADES)) as (component, defs):
        kafka, database, registry = component.kafka, component.database, component.registry
        assert kafka is not None
        assert database is not None
        assert registry is not None
        assert (kafka.bootstrap_servers, kafka.security_protocol) == ("broker:9092", "SASL_SSL")
        named = {kafka.sasl_password, kafka.properties["ssl.key.password"], database.url}
        assert named == {dg.EnvVar("BROKER_PASSWORD"), dg.EnvVar("DATABASE_URL")}
        assert all(isinstance(each, dg.EnvVar) for each in named)
        assert kafka.properties["client.id"] == "7"
        found = check_resources(kafka, database, registry)
        assert found.kafka["sasl.password"] == "s3cret-of-kafka"
        assert found.registry == {"url": "https://registry", "basic.auth.user.info": "ann:s3cret-of-registry"}
        shown = repr(component) + repr(defs)
        for resource in defs.get_repository_def().get_top_level_resources().values():
            shown += resource.config_schema.default_value_as_json_str if resource.config_schema.default_provided else ""
        assert "BROKER_PASSWORD" in shown
        assert "s3cret" not in shown


def test_where_they_are_left_out_they_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "postgresql+psycopg://h/db")
    with loaded(streams(TRADES)) as (component, defs):
        assert (component.kafka, component.database) == (None, None)
        assert "postgresql" in specs(defs)["trades/trades"].kinds


@pytest.mark.parametrize(
    ("connections", "says"),
    [
        (
            "kafka: {bootstrap_servers: a, sasl_password: plain-word}",
            "kafka.sasl_password\nKafkaResource: sasl_password",
        ),
        (
            "kafka: {bootstrap_servers: a, properties: {ssl.key.password: plain-word}}",
            "kafka.properties.ssl.key.password",
        ),
        ("database: {url: 'mysql+pymysql://u:plain-word@h/db'}", "database.url\nDatabaseResource: url has a secret"),
        ("database: {url: 'mysql+pymysql://u@h/db', password: plain-word}", "database.password\nDatabaseResource"),
        (
            "registry: {url: 'http://r', bearer_auth_token: plain-word}",
            "registry.bearer_auth_token\nSchemaRegistryResource: bearer_auth_token has a secret",
        ),
    ],
)
def test_a_secret_in_plain_text_is_refused_with_its_line_and_without_its_text(connections: str, says: str) -> None:
    said = refused(connections + "\n" + streams(TRADES))
    assert said.startswith(f"defs.yaml:3 - attributes.{says}")
    assert said.endswith("in YAML as '{{ env.NAME }}'")
    assert "plain-word" not in said


def test_a_secret_that_a_template_has_put_into_a_text_is_refused() -> None:
    said = refused('database: {url: "mysql+pymysql://u:{{ env.BROKER_PASSWORD }}@h/db"}\n' + streams(TRADES))
    assert said.startswith("defs.yaml:3 - attributes.database.url\nDatabaseResource: url has a secret")
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("connections", "says"),
    [
        ("kafka: {bootstrap_servers: '{{ env.NO_SUCH }}'}", "kafka.bootstrap_servers\nNO_SUCH is not set"),
        ("database: {url: '{{ env.NO_SUCH }}'}", "database.url\nNO_SUCH is not set"),
        ("registry: {url: '{{ env.NO_SUCH }}'}", "registry.url\nNO_SUCH is not set"),
        ("database: {url: nonsense}", "database\nDatabaseResource.url is not an SQLAlchemy URL"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_with_its_line(connections: str, says: str) -> None:
    assert refused(connections + "\n" + streams(TRADES)).startswith(f"defs.yaml:3 - attributes.{says}")


# How the assets look.


def test_prefix_group_owners_and_tags_are_those_of_build_definitions() -> None:
    look = "key_prefix: [eu, west]\ngroup_name: ours\nowners: ['team:data']\ntags: {domain: news}\n"
    with loaded(CONNECTIONS + look + streams(TRADES)) as (_, defs):
        found = specs(defs)
        assert all(key.startswith("eu/west/") for key in found)
        for spec in found.values():
            assert (spec.group_name, list(spec.owners), spec.tags["domain"]) == ("ours", ["team:data"], "news")
        assert "eu_west_ingest_trades" in defs.get_repository_def().job_names


def test_two_components_with_prefixes_stand_beside_each_other() -> None:
    with (
        loaded(CONNECTIONS + "key_prefix: eu\n" + streams(TRADES)) as (_, one),
        loaded(CONNECTIONS + "key_prefix: us\n" + streams(TRADES)) as (_, other),
    ):
        dg.Definitions.validate_loadable(dg.Definitions.merge(one, other))


TRANSLATION = """\
translation:
  key: "{{ 'warehouse/' ~ target.name if part == 'table' else spec.key.to_user_string() }}"
  description: "{{ part }} of {{ stream.name }}{{ ' from ' ~ topic if topic else '' }}"
  tags: {by: component}
"""


def test_a_translation_changes_single_assets() -> None:
    with loaded(CONNECTIONS + "tags: {domain: news}\n" + TRANSLATION + streams(TRADES)) as (_, defs):
        found = specs(defs)
        assert {key: spec.description for key, spec in found.items()} == {
            "warehouse/trades": "table of trades",
            "kafka/trades": "topic of trades from trades",
            "trades/ledger": "ledger of trades",
            "trades/dead_letters": "dead_letters of trades",
        }
        assert {(spec.tags["domain"], spec.tags["by"]) for spec in found.values()} == {("news", "component")}
        assert [dep.asset_key.to_user_string() for dep in found["warehouse/trades"].deps] == ["kafka/trades"]


def test_dagsters_post_processing_applies() -> None:
    more = "post_processing:\n  assets:\n    - {target: 'key:trades/trades', attributes: {metadata: {tier: 1}}}\n"
    with loaded(CONNECTIONS + streams(TRADES), more) as (_, defs):
        found = specs(defs)
        assert {key for key, spec in found.items() if "tier" in spec.metadata} == {"trades/trades"}
        dg.Definitions.validate_loadable(defs)


def test_a_tables_page_links_to_the_defs_yaml() -> None:
    with loaded(CONNECTIONS + streams(TRADES)) as (_, defs):
        (reference,) = specs(defs)["trades/trades"].metadata["dagster/code_references"].code_references
        assert reference.file_path.endswith("market/defs.yaml")


class Ours(KafkaIngestComponent):
    """A project's own."""

    def get_asset_spec(self, data: KafkaIngestTranslatorData) -> dg.AssetSpec:
        """With an owner of the project's."""
        return super().get_asset_spec(data).replace_attributes(owners=["team:ours"])


def test_a_class_of_ones_own_may_override_the_spec_of_an_asset() -> None:
    component = Ours(streams=[MIXED])
    defs = component_defs(component=component)
    assert {tuple(spec.owners) for spec in specs(defs).values()} == {("team:ours",)}


# A run.

MIXED_DECLARED = """\
name: mixed
topics: [mixed, mixed2]
batch: {linger_seconds: 0}
routes:
  event: &event
    table: t_event
    columns:
      name: VARCHAR(20)
      amount: {type: INTEGER, nullable: true}
      code: {type: VARCHAR(20), nullable: true, unique: true}
  evt: *event
  account:
    table: t_account
    delete_on_tombstone: true
    tombstone_key: text
    columns:
      id: {type: VARCHAR(8), primary_key: true}
      balance: {type: INTEGER, nullable: true}
"""


def test_a_run_loads_a_declared_stream_and_reports_the_assets_by_the_keys_of_the_translation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch)
    monkeypatch.setenv("DATABASE_URL", world.url)
    with (
        loaded(CONNECTIONS + TRANSLATION + streams(MIXED_DECLARED)) as (component, defs),
        dg.DagsterInstance.ephemeral() as instance,
    ):
        result = defs.resolve_job_def("ingest_mixed").execute_in_process(
            run_config=ranges_config(Names(), component.streams[0], (), "live"),
            partition_key="2026-01-01-07:00",
            instance=instance,
            tags={LIVE_TAG: "mixed"},
        )
        assert world.names() == world.all_names() != []
        reported = {
            event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key
        }
        assert reported == {"warehouse/t_event", "warehouse/t_account", "mixed/dead_letters"}
