"""Where ops hand over between hosts: what cannot work is refused as definitions load, or by the run before it reads."""

from __future__ import annotations

import dagster as dg
import pytest

from kafka_ingest.cli.ingest import failure_of
from kafka_ingest.errors import ConfigError
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.handover import ELSEWHERE, HANDOVER, check_executor, handover_place
from kafka_ingest_tests.support.world import STREAM, World

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.mark.parametrize("place", ["/mnt/shared/handover", "file:///mnt/shared", "relative/folder"])
def test_a_folder_works(place: str) -> None:
    assert handover_place({HANDOVER: place}) == place


def test_none_is_named_where_the_variable_is_empty_or_missing() -> None:
    assert (handover_place({}), handover_place({HANDOVER: ""})) == (None, None)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://bucket/path", "not installed here: Install s3fs"),
        ("gs://bucket/path", "not installed here: Please install gcsfs"),
        ("s4://bucket/path", "no kind that fsspec knows"),
        ("memory://handover", "memory of one process"),
        ("s3://KEY:hunter2@bucket/path", "its own environment"),
        ("https://store/path?token=hunter2", "its own environment"),
    ],
)
def test_what_cannot_work_is_refused_as_definitions_load_and_no_secret_is_shown(
    place: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HANDOVER, place)
    with pytest.raises(ConfigError, match=said) as caught:
        build_definitions([STREAM])
    assert caught.value.setting == HANDOVER
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("executor", sorted(ELSEWHERE))
def test_an_executor_with_a_host_for_each_op_needs_a_place(executor: str) -> None:
    with pytest.raises(ConfigError, match=f"executor '{executor}'.*set {HANDOVER}.*Nothing was loaded"):
        check_executor(executor, lambda: "DefaultRunLauncher", {})
    check_executor(executor, lambda: "DefaultRunLauncher", {HANDOVER: "/mnt/shared"})


@pytest.mark.parametrize(
    "executor", [dg.in_process_executor, dg.multiprocess_executor, dg.multi_or_in_process_executor]
)
def test_executors_of_one_host_need_none(executor: dg.ExecutorDefinition) -> None:
    check_executor(executor.name, lambda: "CeleryRunLauncher", {})


def test_tasks_of_celery_do_not_wait_for_others() -> None:
    with pytest.raises(ConfigError, match=r"Never call result.get.*Choose one"):
        check_executor("celery", lambda: "CeleryRunLauncher", {HANDOVER: "/mnt/shared"})


def test_a_run_whose_ops_go_elsewhere_fails_before_it_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the run of a backfill does in a code location with Celery's executor: Dagster's implicit job has that one."""

    @dg.executor(name="celery", requirements=dg.multiple_process_executor_requirements())
    def elsewhere(context: dg.InitExecutorContext) -> dg.Executor:
        return dg.in_process_executor.executor_creation_fn(context)  # type: ignore[misc]

    definitions = dg.Definitions.merge(build_definitions([STREAM]), dg.Definitions(executor=elsewhere))
    job = definitions.resolve_implicit_global_asset_job_def()
    assert job.executor_def.name == "celery"
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert result.success  # execute_in_process has an executor of its own, so the check is asked in its place
    monkeypatch.setattr(
        "kafka_ingest.orchestration.ops.check_executor", lambda _name, launcher: check_executor("celery", launcher, {})
    )
    with dg.DagsterInstance.ephemeral() as instance:
        failed = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not failed.success
    assert "puts each op on a host of its own" in failure_of(failed)
