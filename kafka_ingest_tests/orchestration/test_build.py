"""`build_definitions` in a project of one's own: several sets in one code location, beside the project's definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.names import table_key
from kafka_ingest.orchestration.resources import DatabaseResource, KafkaResource
from kafka_ingest.orchestration.translator import KafkaIngestTranslator, KafkaIngestTranslatorData
from kafka_ingest.testing.models import MIXED, Event

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def one_set(key_prefix: str | list[str] | None, url: str = "sqlite://", **options: object) -> dg.Definitions:
    kafka, database = KafkaResource(bootstrap_servers=f"{key_prefix}:9092"), DatabaseResource(url=url)
    return build_definitions([MIXED], kafka=kafka, database=database, key_prefix=key_prefix, **options)  # type: ignore[arg-type]


@dg.asset
def of_the_project() -> None: ...


@dg.job
def own_job() -> None: ...


def test_two_sets_of_one_stream_stand_beside_the_projects_own_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_ALERT_WEBHOOK", "http://127.0.0.1:1/hook")
    own = dg.Definitions(assets=[of_the_project], jobs=[own_job], executor=dg.multiprocess_executor)
    both = dg.Definitions.merge(one_set("eu"), one_set(["us", "west"], "postgresql+psycopg://h/db"), own)
    dg.Definitions.validate_loadable(both)
    repository = both.get_repository_def()
    specs = {spec.key.to_user_string(): spec for spec in both.resolve_all_asset_specs()}
    for prefix in ("eu", "us/west"):
        assert {f"{prefix}/kafka/mixed", f"{prefix}/mixed/t_event", f"{prefix}/mixed/dead_letters"} <= set(specs)
        assert specs[f"{prefix}/mixed/t_event"].group_name == f"{prefix.replace('/', '_')}_mixed"
    assert "sqlite" in specs["eu/mixed/t_event"].kinds
    assert "postgresql" in specs["us/west/mixed/t_event"].kinds
    named = [n for n in (*repository.job_names, *(s.name for s in repository.sensor_defs)) if not n.startswith("__")]
    assert {n.split("_")[0] for n in named} == {"eu", "us", "own"}
    ours = both.resolve_job_def("us_west_ingest_mixed")
    assert ours.executor_def is dg.in_process_executor
    assert ours.tags["kafka_ingest/stream"] == "us/west/mixed"
    assert both.resolve_job_def("own_job").executor_def is dg.multiprocess_executor
    for name in repository.job_names:
        if not name.startswith(("__", "own")):
            assert both.resolve_job_def(name).executor_def is dg.in_process_executor, name


def test_every_name_a_set_gives_has_the_prefix() -> None:
    """Or a project that has such a name itself could not use it."""
    repository = one_set("eu").get_repository_def()
    names = [
        *repository.job_names,
        *(s.name for s in repository.sensor_defs),
        *(s.name for s in repository.schedule_defs),
    ]
    names += [*repository.get_top_level_resources(), *repository.assets_defs_by_key]  # type: ignore[list-item]
    ops = {
        handle.name
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
        for handle in job.graph.iterate_op_defs()
    }
    groups = {spec.group_name for spec in one_set("eu").resolve_all_asset_specs()}
    found = {n.path[0] if isinstance(n, dg.AssetKey) else n for n in (*names, *ops, *groups)}
    assert {n for n in found if not str(n).startswith(("eu", "__"))} == set()


def test_owners_tags_and_group_are_on_every_asset() -> None:
    specs = one_set(None, owners=["team:data"], tags={"domain": "news"}, group_name="ours").resolve_all_asset_specs()
    assert specs
    for spec in specs:
        assert list(spec.owners) == ["team:data"]
        assert spec.tags["domain"] == "news"
        assert spec.group_name == "ours"
        assert spec.kinds


class Renaming(KafkaIngestTranslator):
    """Gives tables keys and owners of the project's own."""

    def get_asset_spec(self, data: KafkaIngestTranslatorData) -> dg.AssetSpec:
        spec = super().get_asset_spec(data)
        if data.target is None:
            return spec.replace_attributes(key=spec.key.with_prefix("raw"))
        return spec.replace_attributes(
            key=["warehouse", data.target.name],
            description=f"from {data.stream.topic_text}",
            owners=["team:bi"],
            metadata={**spec.metadata, "own": 1},
        )


def test_a_translator_renames_assets_and_their_topics_checks_and_lineage_follow() -> None:
    defs = one_set(None, translator=Renaming())
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == {
        *("raw/kafka/mixed", "raw/kafka/mixed2", "raw/mixed/ledger", "raw/mixed/dead_letters"),
        *("warehouse/t_event", "warehouse/t_account"),
    }
    table = specs["warehouse/t_event"]
    assert (table.description, list(table.owners), table.metadata["own"]) == ("from mixed, mixed2", ["team:bi"], 1)
    assert {dep.asset_key.to_user_string() for dep in table.deps} == {"raw/kafka/mixed", "raw/kafka/mixed2"}
    (first, *_) = table.metadata["dagster/column_lineage"].deps_by_column.values()
    assert first[0].asset_key.to_user_string() == "raw/kafka/mixed"
    checks = {key.to_user_string() for key in defs.resolve_asset_graph().asset_check_keys}
    assert "raw/mixed/ledger:run_rows_t_event" in checks
    assert table.metadata["checks"].asset_key.to_user_string() == "raw/mixed/ledger"
    assert {c.split(":")[0] for c in checks} <= set(specs)


def test_a_tables_page_links_to_its_model() -> None:
    spec = next(s for s in one_set(None).resolve_all_asset_specs() if s.key.path == ["mixed", "t_event"])
    (reference,) = spec.metadata["dagster/code_references"].code_references
    lines = Path(reference.file_path).read_text(encoding="utf-8").splitlines()
    assert lines[reference.line_number - 1].startswith(f"class {Event.__name__}(")


@pytest.mark.parametrize("prefix", ["a-b", "", ["a", "b.c"], "é"])
def test_a_prefix_that_no_job_can_have_is_refused(prefix: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="key_prefix has the part"):
        one_set(prefix)


def test_streams_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="both read 'mixed' with one consumer group"):
        build_definitions([MIXED, replace(MIXED, name="other")])


def test_a_projects_own_asset_finds_a_table_by_its_prefix() -> None:
    target = MIXED.targets[0]
    assert table_key(MIXED, target, "eu") in {spec.key for spec in one_set("eu").resolve_all_asset_specs()}
    assert table_key(MIXED, target) in {spec.key for spec in one_set(None).resolve_all_asset_specs()}
