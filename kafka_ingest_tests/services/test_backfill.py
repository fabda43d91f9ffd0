"""Backfills and runs on demand through a real `dagster dev`: windows, times, offsets, dry runs, retention, all at once."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.e2e import child
from kafka_ingest_tests.e2e.backfills import A_WINDOW, HOURS, PROGRAM, World, damage, fill, load_all, subprocess_environ
from kafka_ingest_tests.e2e.check import ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.streams import environment

pytestmark = pytest.mark.services
_BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATUS = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
    ... on PartitionBackfill { status error { message } runs { id status tags { key value } } } } }"""
_MATERIALIZED = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 200) { runId partition metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
_PREVIEW = """query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
    ... on ExecutionStepOutputEvent { metadataEntries { label
    ... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString } } } } } } }"""


@pytest.fixture(scope="module")
def world(kafka: LocalKafka, mysql: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    topic, url = make_topic(kafka, partitions=4), fresh_database(mysql)
    # What three windows have after the first slice is two parts of that size; of one or two it is not.
    environ = environment(kafka.bootstrap_servers, url, topic, max_rows=1_200, shards=2)
    truth = Truth()
    now = dt.datetime.now(dt.timezone.utc)
    start = now.replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=HOURS)
    fill(kafka.bootstrap_servers, topic, start, truth)
    load_all(environ)
    with DagsterDev(tmp_path_factory.mktemp("backfill") / "dagster", environ) as dagster:
        whole = {**subprocess_environ(), **environ}
        made = World(whole, url, topic, kafka.bootstrap_servers, dagster, start, truth)
        made.sensors(on=False)
        made.assert_true()
        yield made


def test_three_windows_selected_in_the_ui_are_loaded_again_by_a_run_for_each_part_and_materialized_by_one(
    world: World,
) -> None:
    damage(world, 1, 3)
    keys = [world.window(n) for n in (1, 2, 3)]
    params = {
        "assetSelection": [{"path": ["information", name]} for name in ("information", "announcement", "dead_letters")],
        "partitionNames": keys,
        "title": "three windows",
    }
    answer = world.dagster.graphql(_BACKFILL, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer

    def backfill() -> dict[str, Any]:
        found: dict[str, Any] = world.dagster.graphql(_BACKFILL_STATUS, id=answer["backfillId"])[
            "partitionBackfillOrError"
        ]
        assert found["status"] not in ("FAILED", "COMPLETED_FAILED"), (found, world.dagster.tail())
        return found

    world.dagster.wait_for(lambda: backfill()["status"] == "COMPLETED_SUCCESS", 150, "the backfill to complete")
    runs = {r["id"]: {t["key"]: t["value"] for t in r["tags"]} for r in backfill()["runs"]}
    (whole,) = (run for run, tags in runs.items() if "kafka_ingest/part_of" not in tags)
    (part,) = (tags for run, tags in runs.items() if run != whole)
    assert (part["kafka_ingest/part_of"], part["kafka_ingest/part"]) == (whole, "1/2")
    assert {tags["kafka_ingest/kind"] for tags in runs.values()} == {"backfill"}
    assert runs[whole]["kafka_ingest/progress"] == f"{3 * A_WINDOW}/{3 * A_WINDOW}"
    world.assert_true()
    for name in ("information", "announcement", "dead_letters"):
        found = world.dagster.graphql(_MATERIALIZED, key={"path": ["information", name]})["assetOrError"]
        assert not [m for m in found["assetMaterializations"] if m["runId"] in runs.keys() - {whole}]
        own = [m for m in found["assetMaterializations"] if m["runId"] == whole]
        numbers = {m["partition"]: {e["label"]: e.get("intValue") for e in m["metadataEntries"]} for m in own}
        assert sorted(numbers) == keys
        assert len(own) == len(keys)
        assert all(n["messages_of_window"] == A_WINDOW and n["messages"] == 3 * A_WINDOW for n in numbers.values())


def test_windows_times_and_offsets_by_the_command_line_leave_exactly_the_truth(world: World) -> None:
    damage(world, 2, 3)
    done = world.done("--windows", f"{world.window(2)}..{world.window(3)}")
    assert (done["status"], done["messages"]) == ("SUCCESS", 2 * A_WINDOW)
    assert done["windows"] == [world.window(2), world.window(3)]
    assert done["rows"]["information"] + done["rows"]["announcement"] + done["dead_letters"] == 2 * A_WINDOW
    world.assert_true()

    damage(world, 1, 1)
    done = world.done("--from", world.clock(1), "--to", f"{world.clock(2)}Z".replace(" ", "T"))
    assert done["messages"] == A_WINDOW
    world.assert_true()

    inside = "_kafka_partition = 2 AND _kafka_offset >= 100 AND _kafka_offset < 200"
    world.sql(f"DELETE FROM information WHERE {inside}")
    done = world.done("--from", "100", "--to", "200", "--partition", "2")
    assert done["messages"] == 100
    world.assert_true()


def test_a_dry_run_and_the_preview_job_foretell_exactly_what_the_backfill_does_and_write_nothing(world: World) -> None:
    damage(world, 0, 1)
    before, total = world.rows(), ledger_total(world.url)
    first, last = world.clock(0), world.clock(2)
    arguments = ("--from", first, "--to", last)
    plan = {"ops": {"information_dry_run": {"config": {"time_from": first, "time_to": last}}}}
    preview = world.api.launch("preview_information", plan, {"dagster/partition": world.window(0)})
    foretold = world.done("--dry-run", *arguments)
    assert world.api.follow(preview, lambda _look: None).status == "SUCCESS", world.api.failure(preview)
    events = world.dagster.graphql(_PREVIEW, run=preview)["logsForRun"]["events"]
    entries = {e["label"]: e for event in events for e in event.get("metadataEntries") or ()}
    assert json.loads(entries["details"]["jsonString"]) == foretold
    assert "| `information` |" in entries["would_change"]["mdStr"]
    assert world.rows() == before
    assert ledger_total(world.url) == total
    assert foretold["messages"] == 2 * A_WINDOW
    done = world.done(*arguments)
    after = world.rows()
    for table in ("information", "announcement"):
        old, new, said = before[table], after[table], foretold["tables"][table]
        assert said["added"] == len(new.keys() - old.keys()) > 0
        assert said["removed"] == len(old.keys() - new.keys())
        assert said["changed"] == sum(old[k] != new[k] for k in old.keys() & new.keys()) > 0
    assert foretold["tables"]["information"]["removed"] == 1
    assert foretold["dead_letters"] == done["dead_letters"] > foretold["dead_letters_now"]
    assert (
        sum(foretold["tables"]["information"][x] for x in ("added", "changed", "unchanged"))
        == done["rows"]["information"]
    )
    again = world.done("--dry-run", *arguments)
    assert all(t["added"] == t["changed"] == t["removed"] == 0 for t in again["tables"].values())
    world.assert_true()
    text = world.cli("--dry-run", *arguments)
    assert "Nothing was written." in text.stdout


def test_a_wrong_config_fails_in_words_a_person_understands_and_an_empty_stretch_does_not(world: World) -> None:
    before = (world.start - dt.timedelta(hours=30)).strftime("%Y-%m-%d-%H:%M")
    unknown = world.cli("--windows", f"{before}..{world.window(0)}")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert f"{before} is none; the windows of stream information begin at {world.window(0)}" in unknown.stderr
    empty = (world.start - dt.timedelta(hours=9), world.start - dt.timedelta(hours=8))
    hollow = world.api.launch("ingest_information", config(time_from=str(empty[0]), time_to=str(empty[1])), {})
    wrong = {
        world.api.launch("ingest_information", config(**fields), {}): error
        for fields, error in (
            ({"time_from": "yesterday"}, "time_from is 'yesterday'; it must be a time such as"),
            ({"offset_from": 0, "partitions": ["9"]}, "partitions has '9', which stream information does not read"),
            ({"ranges": [{"topic": world.topic, "partition": -1, "start": 0, "end": 1}]}, "greater than or equal to 0"),
        )
    }
    for run, error in wrong.items():
        assert world.api.follow(run, lambda _look: None).status == "FAILURE"
        assert error in world.api.failure(run)
    # A stretch without messages is no error.
    assert world.api.follow(hollow, lambda _look: None).status == "SUCCESS"
    assert world.api.loaded(hollow).numbers["information"]["messages"] == 0
    answer = world.cli("--from", "100", "--to", "50")
    assert answer.returncode == 1
    assert "offset_from is 100, not below offset_to, 50" in answer.stderr
    assert "Traceback" not in answer.stderr
    answer = subprocess.run(
        [*PROGRAM, "backfill", "information", "--yes", "--from", "1", "--url", "http://127.0.0.1:9"],
        env=world.environ, cwd=child.REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 75
    assert "no Dagster answers at http://127.0.0.1:9" in answer.stderr
    assert "dagster dev" in answer.stderr


def test_the_present_window_on_demand_loads_what_waits_commits_and_says_so(world: World) -> None:
    produce(world.servers, world.topic, news(11, 700), world.truth)
    look = world.run({}, **{"dagster/partition": world.present()})
    assert look.tags["kafka_ingest/kind"] == "live"
    loaded = world.api.loaded(world.last_run)
    assert loaded.numbers["information"]["messages"] == 700
    assert loaded.numbers["information"]["lag"] == 0
    world.assert_true()  # the consumer group's offsets among it


def test_a_live_run_and_a_backfill_and_one_on_demand_at_once_stay_exactly_once(world: World) -> None:
    damage(world, 0, 3)
    world.sensors(on=True)
    more = threading.Thread(target=produce, args=(world.servers, world.topic, news(12, 3_000), world.truth))
    more.start()
    # The whole log by times: its end continues into what the live runs are loading.
    whole = world.api.launch("ingest_information", config(time_from=world.clock(0)), {})
    windows = world.api.launch("ingest_information", {}, range_tags(world.window(0), world.window(3)))
    demand = world.api.launch("ingest_information", {}, {"dagster/partition": world.present()})
    more.join()
    for run in (whole, windows, demand):
        assert world.api.follow(run, lambda _look: None).status == "SUCCESS", world.api.failure(run)
    world.dagster.wait_for(lambda: ledger_total(world.url) >= world.truth.total, 90, "all messages")
    world.sensors(on=False)
    world.dagster.wait_for(lambda: idle(world), 60, "the runs to end")
    assert all(r["status"] == "SUCCESS" for r in world.dagster.runs() if "kafka_ingest/live" in r["tags"])
    world.assert_true()


def config(**fields: Any) -> dict[str, Any]:
    return {"ops": {"information": {"ops": {"plan": {"config": fields}}}}}


def range_tags(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def idle(world: World) -> bool:
    # A part's run that waited in the queue too long is canceled by the run that then loads the part.
    return all(r["status"] in ("SUCCESS", "FAILURE", "CANCELED") for r in world.dagster.runs())


def test_windows_that_retention_has_deleted_say_so_and_leave_the_tables_alone(world: World) -> None:
    before = world.rows()
    admin = AdminClient({"bootstrap.servers": world.servers})
    cut = A_WINDOW // 4 + 150  # into the second window
    for future in admin.delete_records([TopicPartition(world.topic, 0, cut)]).values():
        future.result(30)
    windows = f"{world.window(0)}..{world.window(4)}"
    for arguments in (
        ("--windows", windows),
        ("--windows", windows, "--dry-run"),
        ("--windows", world.window(1), "--dry-run"),
    ):
        answer = world.cli(*arguments)
        assert answer.returncode == 1, answer.stdout
        assert "retention has deleted messages of the window" in answer.stderr
        assert f"{world.topic}[0] up to offset {cut}" in answer.stderr
        assert "Traceback" not in answer.stderr
    assert world.rows() == before
    assert world.done("--windows", f"{world.window(2)}..{world.window(3)}")["messages"] == 2 * A_WINDOW
    world.assert_true()


def test_a_dry_run_reads_every_type_alike_on_mariadb(kafka: LocalKafka, mariadb: LocalDatabase) -> None:
    topic, url = make_topic(kafka, partitions=2), fresh_database(mariadb)
    truth = Truth()
    produce(kafka.bootstrap_servers, topic, news(21, 1_000, partitions=2), truth)
    environ = {**subprocess_environ(), **environment(kafka.bootstrap_servers, url, topic)}

    def foretold() -> dict[str, Any]:
        answer = subprocess.run(
            [*PROGRAM, "backfill", "information", "--dry-run", "--json", "--from", "0"],
            env=environ, cwd=child.REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    first = foretold()
    rows, keys = len(truth.information), len(truth.announcement)
    assert first["tables"]["information"] == {"added": rows, "changed": 0, "unchanged": 0, "removed": 0}
    assert first["tables"]["announcement"]["added"] == keys
    assert (first["dead_letters"], first["live_offsets"]) == (len(truth.dead_letters), 1_000)
    load_all(environment(kafka.bootstrap_servers, url, topic))
    second = foretold()
    assert second["tables"]["information"] == {"added": 0, "changed": 0, "unchanged": rows, "removed": 0}
    assert second["tables"]["announcement"] == {"added": 0, "changed": 0, "unchanged": keys, "removed": 0}
    assert (second["live_offsets"], second["dead_letters_now"]) == (0, len(truth.dead_letters))
