"""Runs as Kubernetes jobs, as far as that can be seen without a cluster: what `K8sRunLauncher` would ask it for.

The launcher makes a job of a run as a stream's sensor launches it, with the settings of docs/helm/values.yaml, and hands it to a
cluster that keeps what it is given. For a schedule: `make hosts`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from kafka_ingest.engine.shards import Shard
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.launching import ranges_config, ranges_tags
from kafka_ingest.slices import OffsetRange
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.world import STREAM

pytestmark = [pytest.mark.faults, pytest.mark.scheduled, pytest.mark.filterwarnings("ignore")]

VALUES: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docs" / "helm" / "values.yaml").read_text())
(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]
IMAGE = f"{DEPLOYMENT['image']['repository']}:{DEPLOYMENT['image']['tag']}"
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: x
"""
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Cluster:
    """Of the batch API what a launch needs."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def create_namespaced_job(self, *, body: Any, namespace: str, **_options: Any) -> None:
        assert namespace
        self.jobs.append(body)


def snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def launched(tmp_path: Path) -> Any:
    """The job that the launcher makes of a shard's live run."""
    from dagster_k8s import K8sRunLauncher  # of the extra `hosts`, which only `make hosts` installs

    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    cluster, asked = Cluster(), VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    launcher = K8sRunLauncher(
        service_account_name="dagster",
        instance_config_map="dagster-instance",
        dagster_home="/opt/dagster/dagster_home",
        load_incluster_config=False,
        kubeconfig_file=str(kubeconfig),
        k8s_client_batch_api=cluster,
        image_pull_policy=asked["imagePullPolicy"],
        run_k8s_config={snake(name): value for name, value in asked["runK8sConfig"].items()},
    )
    ranges = [OffsetRange("mixed", 0, 0, 10)]
    job = build_definitions([STREAM]).resolve_job_def(NAMES.job(STREAM))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(
            job,
            run_config=ranges_config(NAMES, STREAM, ranges, "live"),
            tags=ranges_tags(NAMES, STREAM, ranges, "live", Shard(1, 4)),
            job_code_origin=JobPythonOrigin(
                job.name,
                RepositoryPythonOrigin(
                    sys.executable,
                    ModuleCodePointer("kafka_ingest.definitions", "defs"),
                    container_image=IMAGE,
                    entry_point=["dagster"],
                    # As the chart gives it with includeConfigInLaunchedRuns.
                    container_context={"k8s": {"env_secrets": [each["name"] for each in DEPLOYMENT["envSecrets"]]}},
                ),
            ),
        )
        launcher.launch_run(LaunchRunContext(run, workspace=None))
    (made,) = cluster.jobs
    return made


def test_the_launcher_makes_a_job_of_a_streams_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", f"sqlite:///{tmp_path}/target.db")
    made = launched(tmp_path)
    (container,) = made.spec.template.spec.containers
    assert container.args[:3] == ["dagster", "api", "execute_run"]
    assert container.image == IMAGE
    assert [source.secret_ref.name for source in container.env_from if source.secret_ref] == ["kafka-ingest"]
    asked = VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    resources = asked["containerConfig"]["resources"]
    assert (container.resources.limits, container.resources.requests) == (resources["limits"], resources["requests"])
    assert made.spec.ttl_seconds_after_finished == asked["jobSpecConfig"]["ttlSecondsAfterFinished"]
    # The sensor launches the next run; Kubernetes does not start this one again.
    assert (made.spec.backoff_limit, made.spec.template.spec.restart_policy) == (0, "Never")
    labels = made.metadata.labels | made.spec.template.metadata.labels
    assert [value for value in labels.values() if not LABEL.fullmatch(value)] == []
