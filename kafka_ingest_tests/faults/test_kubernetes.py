"""Runs as Kubernetes jobs, as far as that can be seen without a cluster: what `K8sRunLauncher` would ask it for.

The launcher makes a job of a run as a stream's sensor launches it, with the settings of docs/helm/values.yaml, and hands it to a
cluster that keeps what it is given. `make chart` has helm render Dagster's chart, whose folder it is given.
For a schedule: `make hosts`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

import kafka_ingest.orchestration
from kafka_ingest.engine.shards import Shard
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.launching import ranges_config, ranges_tags
from kafka_ingest.slices import OffsetRange
from kafka_ingest_tests.e2e.child import REPOSITORY
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.world import STREAM

pytestmark = [pytest.mark.faults, pytest.mark.scheduled, pytest.mark.filterwarnings("ignore")]

VALUES_FILE = REPOSITORY / "docs" / "helm" / "values.yaml"
VALUES: dict[str, Any] = yaml.safe_load(VALUES_FILE.read_text())
PACKAGED: dict[str, Any] = yaml.safe_load(
    (Path(kafka_ingest.orchestration.__file__).parent / "dagster.yaml").read_text()
)
CHART = os.environ.get("KAFKA_INGEST_DAGSTER_CHART")
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
        dagster_home=VALUES["global"]["dagsterHome"],
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
                    # As the chart gives it with includeConfigInLaunchedRuns: what is here wins over the launcher's.
                    container_context={
                        "k8s": {
                            "env_secrets": [each["name"] for each in DEPLOYMENT["envSecrets"]],
                            "resources": DEPLOYMENT["resources"],
                        }
                    },
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
    resources = DEPLOYMENT["resources"]
    assert (container.resources.limits, container.resources.requests) == (resources["limits"], resources["requests"])
    assert made.spec.ttl_seconds_after_finished == asked["jobSpecConfig"]["ttlSecondsAfterFinished"]
    # The sensor launches the next run; Kubernetes does not start this one again.
    assert (made.spec.backoff_limit, made.spec.template.spec.restart_policy) == (0, "Never")
    labels = made.metadata.labels | made.spec.template.metadata.labels
    assert [value for value in labels.values() if not LABEL.fullmatch(value)] == []


@pytest.mark.chart
def test_the_chart_makes_the_packaged_settings_and_a_code_server_of_the_values(tmp_path: Path) -> None:
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext

    assert CHART, "which chart? make chart DAGSTER_CHART=…/helm/dagster"
    command = ["helm", "template", "dagster", CHART, "--namespace", "dagster", "--values", str(VALUES_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert [
        each["metadata"]["name"] for each in made if each["kind"] == "StatefulSet"
    ] == []  # no database of the chart's
    (instance,) = [each for each in made if "dagster.yaml" in (each.get("data") or {})]
    text = instance["data"]["dagster.yaml"]
    (tmp_path / "dagster.yaml").write_text(text)
    ref, found = InstanceRef.from_dir(str(tmp_path)), yaml.safe_load(text)  # as Dagster reads it
    assert_has({**ref.settings, "run_queue": found["run_coordinator"]["config"]}, PACKAGED)
    launcher = found["run_launcher"]["config"]
    assert process_config(resolve_to_config_type(K8sRunLauncher.config_type()), launcher).success
    assert launcher["dagster_home"] == VALUES["global"]["dagsterHome"]
    assert launcher["postgres_password_secret"] == VALUES["global"]["postgresqlSecretName"]
    assert found["event_log_storage"]["config"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    (server,) = [each for each in made if each["kind"] == "Deployment" and IMAGE in json.dumps(each)]
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert {"secretRef": {"name": "kafka-ingest"}} in container["envFrom"]
    (context,) = [each["value"] for each in container["env"] if each["name"].endswith("CONTAINER_CONTEXT")]
    run = K8sContainerContext.create_from_config(json.loads(context)).run_k8s_config.container_config
    assert {"secret_ref": {"name": "kafka-ingest"}} in run["env_from"]
    assert run["resources"] == DEPLOYMENT["resources"]


def assert_has(found: Any, wanted: Any) -> None:
    """The chart says more than the package does, and the same where both say something."""
    if not isinstance(wanted, dict):
        assert found == wanted
        return
    for name, value in wanted.items():
        assert_has(found[name], value)
