"""The alert sensor on a real instance, a real database and a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.orchestration import alerts
from kafka_ingest.orchestration.alerts import alerts_sensor
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.names import KIND_TAG, STREAM_TAG
from kafka_ingest.settings import MonitoringSettings, Settings
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import one
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import FakeMetadata, Log, log
from kafka_ingest_tests.support.hook import Hook
from kafka_ingest_tests.support.placed import NAMES, environment_resources, placed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

P0 = TopicPartition("mixed", 0)


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()
    yield found
    found.close()


class Watched:
    """An instance, a stream's database and log, and the sensor with its cursor."""

    def __init__(self, folder: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance) -> None:
        url = f"sqlite:///{folder}/target.db"
        monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", url)
        monkeypatch.setenv("KAFKA_INGEST_ALERT_WEBHOOK", hook.url)
        monkeypatch.setenv("KAFKA_INGEST_DAGSTER_URL", "http://ui")
        self.hook, self.instance = hook, instance
        self.target = Target(MIXED, SQLiteSink(sa.make_url(url)))
        self.target.pin({P0: 0})
        self.metadata = FakeMetadata({P0: log(P0, range(5), 5)})
        clients = Clients(Settings.from_environment(), self.metadata, self.target.sink)
        monkeypatch.setattr(alerts, "clients_for", lambda _resource: clients)
        self.job = build_definitions([MIXED]).resolve_job_def("ingest_mixed")
        self.cursor: str | None = None

    def tick(self) -> list[tuple[str, str]]:
        """Alerts of one tick."""
        before = len(self.hook.got)
        sensor = alerts_sensor([placed(MIXED)], NAMES, MonitoringSettings.from_environment())
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=environment_resources()
        ) as context:
            result = sensor.evaluate_tick(context)
        self.cursor, self.reason = result.cursor, str(result.skip_message)
        return [(d["alert"], d["state"]) for d in self.hook.got[before:]]

    def run(self, ok: bool, **tags: str) -> str:
        run = self.instance.create_run_for_job(self.job, tags={STREAM_TAG: "mixed", **tags})
        if ok:
            event = dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name=run.job_name)
            self.instance.report_dagster_event(event, run.run_id)
        else:
            self.instance.report_run_failed(run, "password=s3cret-t0ken broke")
        return run.run_id


@pytest.fixture
def watched(tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Watched(tmp_path, hook, monkeypatch, instance)


def test_the_sensor_is_defined_only_where_a_webhook_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_INGEST_ALERT_WEBHOOK", raising=False)
    assert "alerts" not in {s.name for s in build_definitions([MIXED]).sensors or ()}
    monkeypatch.setenv("KAFKA_INGEST_ALERT_WEBHOOK", "http://h/x")
    sensor = build_definitions([MIXED]).resolve_sensor_def("alerts")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_the_first_failure_of_several_is_told_and_the_recovery(watched: Watched) -> None:
    assert watched.tick() == []
    first = watched.run(False)
    assert watched.tick() == [("run:ingest_mixed", "firing")]
    sent = watched.hook.got[0]
    assert (sent["run_id"], sent["url"], sent["stream"]) == (first, f"http://ui/runs/{first}", "mixed")
    watched.run(False)
    assert watched.tick() == []
    watched.run(True)
    assert watched.tick() == [("run:ingest_mixed", "resolved")]
    assert watched.tick() == []


def test_a_failed_backfill_is_no_failure_of_the_live_runs(watched: Watched) -> None:
    watched.run(False, **{KIND_TAG: "backfill"})
    watched.run(True)
    assert watched.tick() == [("run:ingest_mixed:backfill", "firing")]


def test_an_alert_the_webhook_did_not_take_is_sent_at_the_next_tick(watched: Watched) -> None:
    watched.tick()
    watched.run(False)
    watched.hook.answers = [500]
    assert watched.tick() == []
    assert "HTTP 500" in watched.reason
    assert "s3cret" not in watched.reason + (watched.cursor or "")
    assert watched.tick() == [("run:ingest_mixed", "firing")]


def test_lag_over_its_limit_is_told_until_it_is_well_below(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched.tick() == []  # no limit, no alert
    monkeypatch.setenv("KAFKA_INGEST_ALERT_LAG", "4")
    assert watched.tick() == [("lag:mixed", "firing")]
    assert watched.hook.got[0]["value"] == 5
    watched.metadata.logs[P0] = Log({}, 4)
    assert watched.tick() == []
    watched.metadata.logs[P0] = Log({}, 3)
    assert watched.tick() == [("lag:mixed", "resolved")]


def test_waiting_dead_letters_over_their_limit_are_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_ALERT_DEAD_LETTERS", "2")
    watched.target.load(one(b"{", b"{"))
    assert watched.tick() == []
    monkeypatch.setenv("KAFKA_INGEST_ALERT_DEAD_LETTERS", "1")
    assert watched.tick() == [("dead_letters:mixed", "firing")]
    with watched.target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE kafka_ingest_dead_letters SET replay_outcome = 'row'")
    assert watched.tick() == [("dead_letters:mixed", "resolved")]


def test_a_cluster_that_is_away_keeps_the_state_as_it_was(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from kafka_ingest.errors import KafkaUnavailable

    monkeypatch.setenv("KAFKA_INGEST_ALERT_LAG", "1")
    assert watched.tick() == [("lag:mixed", "firing")]

    def away(*_arguments: object) -> None:
        raise KafkaUnavailable("broker down")

    monkeypatch.setattr(watched.metadata, "watermarks", away)
    assert watched.tick() == []
    assert "KafkaUnavailable: broker down" in watched.reason
    assert json.loads(watched.cursor or "{}")["firing"] == ["lag:mixed"]


def test_a_check_that_fails_is_told_one_that_warns_is_not(watched: Watched) -> None:
    for name, severity in (
        ("run_tiling", dg.AssetCheckSeverity.ERROR),
        ("dead_letter_ratio", dg.AssetCheckSeverity.WARN),
    ):
        watched.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=placed(MIXED).ledger.key, check_name=name, passed=False, severity=severity, metadata={}
            )
        )
    assert watched.tick() == [("check:mixed/ledger:run_tiling", "firing")]
    assert "Load a gap again" in watched.hook.got[0]["text"]


def test_what_failed_long_before_the_sensor_was_on_is_not_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.run(False)
    monkeypatch.setattr(alerts, "FIRST_LOOK_SECONDS", -100.0)
    assert watched.tick() == []
