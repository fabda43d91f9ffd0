"""The files for Docker Compose, Celery and Dagster's chart: they start what is installed, and set what the package's settings
set."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager

import kafka_ingest.orchestration
from kafka_ingest.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docs" / "compose"
DOCKERFILE = (COMPOSE / "Dockerfile").read_text()
HOME = re.findall(r"DAGSTER_HOME=(\S+)", DOCKERFILE)
CELERY = COMPOSE / "dagster_celery_config.py"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "kafka-ingest:latest"}
PACKAGED: dict[str, Any] = yaml.safe_load(
    (Path(kafka_ingest.orchestration.__file__).parent / "dagster.yaml").read_text()
)
INSTANCE: dict[str, Any] = yaml.safe_load((COMPOSE / "dagster.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "helm" / "values.yaml").read_text())


def test_compose_has_every_process_of_a_deployment_and_its_servers() -> None:
    assert set(OURS) == {"code", "daemon", "web", "worker"}
    assert set(SERVICES) - set(OURS) == {"kafka", "mysql", "postgresql", "redis"}
    for service in SERVICES.values():
        assert service["restart"] == "unless-stopped"
        for name, condition in service.get("depends_on", {}).items():
            is_watched = "healthcheck" in SERVICES[name]
            assert condition["condition"] == ("service_healthy" if is_watched else "service_started")


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_starts_a_command_that_the_image_installs(name: str) -> None:
    command = OURS[name]["command"][0]
    assert command in DOCKERFILE or (Path(sys.executable).parent / command).exists()


def test_the_image_has_every_file_that_containers_name() -> None:
    (home,) = HOME
    (copied,) = re.findall(rf"^COPY (docs/.*) {home}/$", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / each).is_file() for each in copied.split())
    named = {word for service in OURS.values() for word in service["command"] if word.endswith(".yaml")}
    assert named | {"dagster.yaml", CELERY.name} == {Path(each).name for each in copied.split()}


def test_the_image_has_no_passwords_of_a_clone() -> None:
    """`.dockerignore`, which every builder reads; a Dockerfile's own is known to BuildKit alone."""
    assert {".git", "**/.env"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_environment_is_one_that_the_settings_take() -> None:
    environ = {
        name: str(value).replace("${MYSQL_PASSWORD:?}", "x") for name, value in OURS["code"]["environment"].items()
    }
    settings = Settings.from_environment(environ)
    assert settings.bootstrap_servers == "kafka:9092"
    assert settings.database_url.host == "mysql"
    needed = set(re.findall(r"\$\{(\w+)", (COMPOSE / "compose.yaml").read_text()))
    assert needed == {"MYSQL_PASSWORD", "DAGSTER_PG_PASSWORD"}  # secrets, which come from outside


def test_the_instance_is_the_packaged_one_with_storage_and_a_launcher_for_several_hosts() -> None:
    assert {name: INSTANCE[name] for name in PACKAGED} == PACKAGED
    assert INSTANCE["storage"]["postgres"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    assert INSTANCE["compute_logs"]["module"] == NoOpComputeLogManager.__module__


@pytest.fixture
def celery(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Celery's workers get of the module."""
    monkeypatch.setenv("CELERY_BROKER", "redis://broker")
    return runpy.run_path(str(CELERY))


def test_workers_tell_where_the_launcher_asks(celery: dict[str, Any]) -> None:
    launcher = INSTANCE["run_launcher"]["config"]
    assert launcher["broker"] == launcher["backend"] == {"env": "CELERY_BROKER"}
    assert celery["broker_url"] == celery["result_backend"] == "redis://broker"


def test_a_worker_has_new_code_with_each_run_and_gets_no_task_twice(celery: dict[str, Any]) -> None:
    assert celery["worker_max_tasks_per_child"] == 1
    assert celery["worker_prefetch_multiplier"] == 1
    assert celery["broker_transport_options"]["visibility_timeout"] > 600 + 900


def test_a_worker_is_celery_itself_and_has_time_to_end_its_runs() -> None:
    """`dagster-celery worker start` has Celery as a child and hands no signal on to it: `docker stop` would kill the runs."""
    assert OURS["worker"]["command"][0] == "celery"
    assert OURS["worker"]["stop_grace_period"] == "11m"  # over max_run_seconds


def test_the_charts_values_set_what_the_packaged_settings_set() -> None:
    """By the names of the chart's values.schema.json, as of Dagster 1.13."""
    daemon = VALUES["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert {
        "run_queue": {
            "max_concurrent_runs": queue["maxConcurrentRuns"],
            "dequeue_interval_seconds": queue["dequeueIntervalSeconds"],
            "tag_concurrency_limits": queue["tagConcurrencyLimits"],
        },
        "run_monitoring": {
            "enabled": daemon["runMonitoring"]["enabled"],
            "start_timeout_seconds": daemon["runMonitoring"]["startTimeoutSeconds"],
            "poll_interval_seconds": daemon["runMonitoring"]["pollIntervalSeconds"],
        },
        "sensors": {"use_threads": daemon["sensors"]["useThreads"], "num_workers": daemon["sensors"]["numWorkers"]},
        "retention": {"sensor": {"purge_after_days": VALUES["retention"]["sensor"]["purgeAfterDays"]}},
        "telemetry": VALUES["telemetry"],
        **VALUES["additionalInstanceConfig"],
    } == PACKAGED
    assert daemon["runMonitoring"]["maxResumeRunAttempts"] == 0
    assert VALUES["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"


def test_the_charts_runs_write_where_the_images_user_may() -> None:
    assert [VALUES["global"]["dagsterHome"]] == HOME


def test_the_charts_runs_get_the_resources_of_their_code_server() -> None:
    """The chart hands them on with includeConfigInLaunchedRuns, and they win over the launcher's (dagster issue 13921)."""
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    assert deployment["resources"]["limits"]["memory"] == "1Gi"
    assert "containerConfig" not in VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
