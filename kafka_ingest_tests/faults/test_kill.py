"""kill -9 between any two lines that touch Kafka or the database; after the next run everything adds up."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest_tests.e2e import child
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, as_stored, news, produce
from kafka_ingest_tests.e2e.scale import IS_FULL
from kafka_ingest_tests.e2e.streams import environment

pytestmark = pytest.mark.faults

# The steps of a load, and the moment before the group's offsets are committed. AHEAD is a slice's that is written ahead.
STEPS = [step for step in child.STEPS if step != LoadStep.AHEAD]
# Before it shows whether a slice is written ahead, or what such a slice does not have: its ranges are emptied in AHEAD.
NOT_OF_A_SLICE_AHEAD = (LoadStep.STAGE, LoadStep.BEGIN, LoadStep.EMPTY)
# What `mysql_merge.merge` sends where some keys are new and some are not.
MERGE_STATEMENTS = ("INSERT INTO `?announcement`? ", "UPDATE _kafka_ingest_stage_")

# `make faults-full` kills often: each step 20 times, and 200 times at a random moment.
REPEATS = int(os.environ.get("KAFKA_INGEST_KILLS_A_STEP", "20" if IS_FULL else "1"))
RANDOM_KILLS = int(os.environ.get("KAFKA_INGEST_RANDOM_KILLS", "200" if IS_FULL else "4"))


def run_child(environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = child.start(environ, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_run_killed_at_any_step_loses_and_doubles_nothing(
    kafka: LocalKafka, any_database_url: str, topic: str
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, any_database_url, topic)
    for number, step in enumerate(STEPS * REPEATS):
        sent = as_stored(news(seed=number, count=300, bad_ratio=0.1), any_database_url)
        produce(kafka.bootstrap_servers, topic, sent, truth)
        code, _, err = run_child(environ, "--die-at", step)
        assert code == -signal.SIGKILL, f"step {step}: {err}"
    code, _, err = run_child(environ)
    assert code == 0, err
    assert_exactly_once(any_database_url, kafka.bootstrap_servers, topic, truth)


def test_a_run_killed_while_it_writes_one_slice_ahead_of_another_loses_and_doubles_nothing(
    kafka: LocalKafka, database_url: str, topic: str
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, database_url, topic, max_rows=250)
    for number in range(8 * REPEATS):
        produce(kafka.bootstrap_servers, topic, news(seed=200 + number, count=2_000, bad_ratio=0.1), truth)
        # At once, and at some moment of the two transactions.
        code, _, err = run_child(environ, "--die-at", LoadStep.AHEAD, "--die-within", str(0.03 * (number % 2)))
        assert code == -signal.SIGKILL or number % 2, err
    code, _, err = run_child(environ)
    assert code == 0, err
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_a_backfill_killed_at_any_step_of_a_slice_written_ahead_leaves_all_to_the_next(
    kafka: LocalKafka, database_url: str, topic: str
) -> None:
    """Steps that such a slice does not have are those of the first slice, which is not written ahead."""
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, database_url, topic, max_rows=250)
    produce(kafka.bootstrap_servers, topic, news(seed=300, count=2_000, bad_ratio=0.1), truth)
    assert run_child(environ)[0] == 0
    for step in list(LoadStep) * REPEATS:
        ahead = [] if step in NOT_OF_A_SLICE_AHEAD else ["--in-slice-ahead"]
        for _ in range(5):  # a slice is written ahead only where the one before it is still being loaded
            damage_by_hand(database_url)
            code, _, err = run_child(environ, "--backfill", "--die-at", step, *ahead)
            if code != 0 or not ahead:
                break
        assert code == -signal.SIGKILL, f"step {step}: {err}"
        assert ledger_total(database_url) == truth.total
    with pytest.raises(AssertionError):  # what was damaged last is not all mended yet
        assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)
    code, _, err = run_child(environ, "--backfill")
    assert code == 0, err
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def damage_by_hand(url: str) -> None:
    """Rows changed and gone, in every slice: what a backfill is for."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in (
            "UPDATE information SET title = 'changed by hand' WHERE _kafka_offset % 3 = 0",
            "DELETE FROM information WHERE _kafka_offset % 5 = 0",
            "UPDATE announcement SET body = NULL WHERE _kafka_offset % 3 = 0",
            "DELETE FROM announcement WHERE _kafka_offset % 2 = 0",
            "DELETE FROM kafka_ingest_dead_letters WHERE kafka_offset % 2 = 0",
        ):
            connection.execute(sa.text(statement))
    engine.dispose()


def test_a_run_killed_between_the_statements_of_a_merge_loses_and_doubles_nothing(
    kafka: LocalKafka, database_url: str, topic: str
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, database_url, topic)
    produce(kafka.bootstrap_servers, topic, news(seed=400, count=1_000), truth)
    assert run_child(environ)[0] == 0
    for number, statement in enumerate(MERGE_STATEMENTS * REPEATS):
        # Of 700 keys of announcements some are there, some not.
        produce(kafka.bootstrap_servers, topic, news(seed=401 + number, count=200), truth)
        loaded = ledger_total(database_url)
        code, _, err = run_child(environ, "--die-before-sql", statement)
        assert code == -signal.SIGKILL, f"{statement}: {err}"
        assert ledger_total(database_url) == loaded
    code, _, err = run_child(environ)
    assert code == 0, err
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_a_run_killed_during_the_commit_loses_and_doubles_nothing(
    kafka: LocalKafka, database_url: str, topic: str
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, database_url, topic)
    for number in range(8):
        produce(kafka.bootstrap_servers, topic, news(seed=100 + number, count=2_000), truth)
        run_child(environ, "--die-at", LoadStep.COMMIT, "--die-within", "0.02")
    code, _, err = run_child(environ)
    assert code == 0, err
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_runs_killed_at_random_moments_in_a_row_lose_and_double_nothing(
    kafka: LocalKafka, mysql_url: str, topic: str
) -> None:
    """On a stream that never stops. Dozens of runs in a row never end by themselves, and each goes on where the ledger is."""
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, mysql_url, topic)
    done = threading.Event()

    def never_stop() -> None:
        seed = 0
        while not done.is_set():
            produce(kafka.bootstrap_servers, topic, news(seed=seed, count=200), truth)
            seed += 1
            done.wait(0.5)

    producer = threading.Thread(target=never_stop)
    producer.start()
    try:
        killed, moved, position = 0, 0, 0
        while killed < RANDOM_KILLS:
            # From the first step of the first slice on: starting Python takes longer than all of it.
            code, _, err = run_child(environ, "--live", "--die-at", LoadStep.STAGE, "--die-within", "3.0")
            assert code == -signal.SIGKILL, err
            killed += 1
            now = ledger_total(mysql_url)
            moved += now > position
            position = now
    finally:
        done.set()
        producer.join()
    assert moved > RANDOM_KILLS // 2, f"only {moved} of {killed} killed runs had loaded something"
    code, _, err = run_child(environ)
    assert code == 0, err
    assert_exactly_once(mysql_url, kafka.bootstrap_servers, topic, truth)
    sys.stderr.write(f"killed at a random moment: {killed} times, {truth.total} messages\n")


def test_two_runs_started_at_the_same_moment_load_everything_once(
    kafka: LocalKafka, database_url: str, topic: str, tmp_path: Path
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, database_url, topic)
    produce(kafka.bootstrap_servers, topic, news(seed=7, count=3_000), truth)
    # Both have read the same messages before either may begin its transaction.
    both = [child.start(environ, "--meet", str(tmp_path), "--at", LoadStep.BEGIN) for _ in range(2)]
    results = []
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        results.append(json.loads(out)["messages"])
    assert sum(results) == truth.total
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_dagster_runs_killed_while_loading_are_followed_by_runs_that_finish(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path
) -> None:
    truth = Truth()
    with DagsterDev(tmp_path / "dagster", environment(kafka.bootstrap_servers, mysql_url, topic)) as dagster:

        def produce_slowly() -> None:
            for seed in range(60):
                produce(kafka.bootstrap_servers, topic, news(seed=seed, count=400), truth)
                time.sleep(0.4)

        producer = threading.Thread(target=produce_slowly)
        producer.start()
        killed: set[str] = set()
        for _ in range(3):
            dagster.wait_for(lambda: _loading(dagster, killed) is not None, 60, "a run to kill")
            time.sleep(2.0)
            run = _loading(dagster, killed)
            if run is not None:
                killed.add(run[0])
                os.kill(run[1], signal.SIGKILL)
        producer.join()
        dagster.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        dagster.wait_for(
            lambda: all(r["status"] in ("SUCCESS", "FAILURE") for r in dagster.runs()), 60, "the runs to end"
        )
        assert len(killed) >= 2
        statuses = {r["runId"]: r["status"] for r in dagster.runs()}
        assert all(statuses[run_id] == "FAILURE" for run_id in killed)
    assert_exactly_once(mysql_url, kafka.bootstrap_servers, topic, truth)


def test_after_everything_is_killed_at_once_a_restart_recovers_without_a_person(
    kafka: LocalKafka, mariadb_url: str, topic: str, tmp_path: Path
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, mariadb_url, topic)
    produce(kafka.bootstrap_servers, topic, news(seed=1, count=2_000), truth)
    with DagsterDev(tmp_path / "dagster", environ) as dagster:
        dagster.wait_for(lambda: _loading(dagster, set()) is not None, 60, "a run")
        dagster.kill_everything()
    produce(kafka.bootstrap_servers, topic, news(seed=2, count=2_000), truth)
    with DagsterDev(tmp_path / "dagster", environ) as dagster:
        dagster.wait_for(lambda: ledger_total(mariadb_url) >= truth.total, 120, "all messages")
        dagster.wait_for(
            lambda: all(r["status"] in ("SUCCESS", "FAILURE") for r in dagster.runs()), 60, "the runs to end"
        )
        assert "FAILURE" in {r["status"] for r in dagster.runs()}  # the sensor gave up the run whose process is gone
    assert_exactly_once(mariadb_url, kafka.bootstrap_servers, topic, truth)


def _loading(dagster: DagsterDev, known: set[str]) -> tuple[str, int] | None:
    """A started run not yet known, and its process id."""
    for run in dagster.runs():
        process = run["tags"].get("kafka_ingest/process")
        if run["status"] == "STARTED" and process and run["runId"] not in known:
            return run["runId"], int(process.rsplit(":", 2)[1])
    return None
