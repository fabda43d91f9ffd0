"""The peers' harness: what it counts, when it stops, that nothing is left running. The peers themselves run in `make bench`."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from benchmarks.messages import MESSAGE_BYTES, news
from benchmarks.peers import PEERS, Job, NotMeasured, Result
from benchmarks.peers.connect import RENAMES, SCHEMA
from benchmarks.peers.freshness import Freshness, ProbeWatch, freshness_of, probe_interval
from benchmarks.peers.limit import COLUMNS, load_data_rates
from benchmarks.peers.program import Program, program
from benchmarks.peers.report import Figures, report
from benchmarks.peers.tables import ROW_NUMBER, make_table
from benchmarks.peers.watch import measure
from kafka_ingest.streams.information import Information
from kafka_ingest.streams.model import KAFKA_COLUMNS
from kafka_ingest.streams.target import TargetTable

PEERS_FOLDER = Path(program("spark_stream.py")).parents[1]
NAMES = [c for c in TargetTable.of(Information).columns if c not in KAFKA_COLUMNS]

# Inserts rows in transactions of ten, then waits or ends.
WRITER = """
import os, subprocess, sys, time
import sqlalchemy as sa
rows, then = int(sys.argv[1]), sys.argv[2]
child = subprocess.Popen([sys.executable, "-c", "import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print("child", child.pid, flush=True)
engine = sa.create_engine(os.environ["URL"])
for start in range(0, rows, 10):
    with engine.begin() as connection:
        for number in range(start, start + 10):
            connection.execute(sa.text("INSERT INTO t (id, title) VALUES (:id, :title)"), {"id": number, "title": None})
    time.sleep(0.3)
if then == "end":
    child.kill()
    sys.exit(3)
time.sleep(600)
"""


def run(url: str, rows: int, then: str, *, messages: int, cap: float, required: tuple[str, ...] = ("id",)) -> Result:
    make_table(url, "t")
    command = [sys.executable, "-c", WRITER, str(rows), then]
    program = Program("writer", command, "t", "a writer", environment={"URL": url}, required=required)
    return measure(program, Job("", "", url, "t", messages, cap))


def writers() -> list[psutil.Process]:
    """Every process of a writer, its deaf child included."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("signal.SIG_IGN" in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_news_are_of_the_size_they_say_and_the_same_for_the_same_seed() -> None:
    values = list(itertools.islice(news(), 500))
    assert {len(v) for v in values} <= set(range(MESSAGE_BYTES - 2, MESSAGE_BYTES + 1))
    assert values == list(itertools.islice(news(), 500))
    assert len({json.loads(v)["id"] for v in values}) == 500


def test_connect_fills_columns_that_the_table_has() -> None:
    names = set()
    for field in SCHEMA["fields"]:
        parts = [f"{field['field']}_{inner['field']}" for inner in field.get("fields", ())]
        names |= set(parts or [field["field"]])
    renames = dict(pair.split(":") for pair in RENAMES.split(","))
    assert set(renames) <= names
    assert {renames.get(n, n) for n in names} == set(NAMES) - {"tags"}


def test_limit_fills_every_column_of_the_products_table() -> None:
    assert sorted(COLUMNS) == sorted(TargetTable.of(Information).columns)


def test_rates_are_of_the_rows_loaded_not_of_those_asked_for() -> None:
    result = Result("p", 300, 1_000, 10.0, 200, 5.0, 3.0, 1.0, 1, "")
    assert (result.rate, result.steady_rate, result.best_rate, result.complete) == (30.0, 40.0, 40.0, False)
    assert (result.cpu_us_per_row, result.steady_cpu_us_per_row) == (10_000, 5_000)


def test_rows_seen_all_at_once_have_no_steady_rate() -> None:
    result = Result("p", 300, 300, 10.0, 0, 0.0, 1.0, 0.0, 1, "")
    assert (result.steady_rate, result.best_rate, result.complete) == (None, 30.0, True)
    assert result.steady_cpu_us_per_row is None


def test_every_partition_gets_probes_at_any_rate() -> None:
    for rate in (1, 100, 200, 5_000, 20_000):
        assert {number * probe_interval(rate) % 4 for number in range(4)} == {0, 1, 2, 3}


def test_probes_that_were_never_seen_count_among_the_ages() -> None:
    fresh = freshness_of(100, [0.1] * 98, [], 1.0)
    assert (fresh.probes, fresh.unseen, fresh.p50_seconds, fresh.p99_seconds) == (98, 0, 0.1, 0.1)
    late = freshness_of(100, [0.1] * 98, [30.0, 40.0], 1.0)
    assert (late.probes, late.unseen, late.p50_seconds) == (100, 2, 0.1)
    assert late.p99_seconds >= 30


def test_a_probe_is_seen_when_its_row_can_be_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (id TEXT)"))
        connection.execute(sa.text("INSERT INTO t VALUES ('first'), ('no probe')"))
    produced = time.time() - 5
    with closing(ProbeWatch(url, "t")) as watch, watch:
        watch.expect("first", produced)
        assert watch.wait_seen(30, lambda: False)
        watch.expect("second", produced)
        assert not watch.wait_seen(0.2, lambda: False)
        assert [age >= 5 for age in watch.unseen_ages()] == [True]
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO t VALUES ('second')"))
        assert watch.wait_seen(30, lambda: False)
        assert [5 <= age < 60 for age in watch.seen_ages()] == [True, True]
    engine.dispose()


def test_table_says_which_peer_is_too_slow_and_which_was_not_measured() -> None:
    result = Result("p", 300, 1_000, 10.0, 200, 5.0, 3.0, 1.0, 2_000_000, "")
    slow = [Freshness(100, 100, 3, 1.0, 31.0, 50.0)]
    fresh = [Freshness(100, 100, 0, 0.1, 0.25, 50.0), Freshness(5_000, 100, 0, 1.0, 2.0, 50.0)]
    found = {
        "quick": Figures(result, fresh, (2.0, 3.4)),
        "slow": Figures(result, slow, (2.0, 3.4)),
        "missing": Figures("no pip", "no pip", (2.0, 3.4)),
    }
    _, _, *lines = report(found, 400.0, (100, 5_000)).splitlines()
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == [
        ["`quick`", "30", "40", "0.1000", "10,000", "5,000", "2", "0.10 / 0.25 s", "1.00 / 2.00 s", "2 → 3"],
        ["`slow`", "30", "40", "0.1000", "10,000", "5,000", "2", "> 1.00 / > 31.00 s", "too slow", "2 → 3"],
        ["`missing`", "not measured", *[""] * 5, "not measured", "not measured", "2 → 3"],
    ]
    assert found["quick"].to_json(400.0)["freshness"]["5000"]["p99_seconds"] == 2.0
    assert found["missing"].to_json(400.0)["not_measured"] == "no pip"


def test_sparks_kafka_source_is_of_the_version_of_pyspark() -> None:
    (pyspark,) = re.findall("pyspark==(.*)", (PEERS_FOLDER / "requirements-spark.txt").read_text())
    source = "<artifactId>spark-sql-kafka-0-10_2.13</artifactId>"
    assert re.search(
        f"{source}\\s*<version>{re.escape(pyspark)}</version>", (PEERS_FOLDER / "spark-pom.xml").read_text()
    )


def test_every_peers_program_and_requirements_are_there() -> None:
    assert {p.name for p in (PEERS_FOLDER / "programs").glob("*.*")} == {
        "connect_cluster.py",
        "dagster_kafka_load.py",
        "faust_consumer.py",
        "flink_news.sql",
        "spark_stream.py",
    }
    assert {p.name for p in PEERS_FOLDER.glob("requirements-*.txt")} == {
        "requirements-dagster-kafka.txt",
        "requirements-faust.txt",
        "requirements-spark.txt",
    }
    assert list(PEERS) == [
        "kafka_ingest",
        "faust-10",
        "faust-1000",
        "dagster-kafka",
        "dagster-kafka-unlimited",
        "connect",
        "connect-distributed",
        "flink",
        "spark",
    ]


@pytest.mark.services
def test_peers_table_has_the_models_columns_and_the_index_on_id(mysql_url: str) -> None:
    make_table(mysql_url, "t")
    make_table(mysql_url, "t", text_dates=True)
    engine = sa.create_engine(mysql_url)
    try:
        inspector = sa.inspect(engine)
        columns = {c["name"]: str(c["type"]).split("(")[0] for c in inspector.get_columns("t")}
        assert list(columns) == [ROW_NUMBER, *NAMES]
        assert {columns["publish_time"], columns["crawl_time"]} == {"VARCHAR"}
        assert [i["column_names"] for i in inspector.get_indexes("t")] == [["id"]]
    finally:
        engine.dispose()


@pytest.mark.services
def test_a_peer_is_measured_until_its_last_row_and_then_ended_with_its_children(mysql_url: str) -> None:
    result = run(mysql_url, 50, "wait", messages=50, cap=60)
    assert (result.rows, result.complete) == (50, True)
    assert 0 < result.steady_rows <= 40
    assert 0.1 < result.steady_seconds < result.seconds < 60
    assert 0 <= result.steady_cpu_seconds < result.cpu_seconds  # in ticks of 10 ms
    assert result.peak_rss_bytes > 1_000_000
    assert not writers()


@pytest.mark.services
def test_a_slow_peer_is_stopped_when_its_time_is_up(mysql_url: str) -> None:
    started = time.monotonic()
    result = run(mysql_url, 10_000_000, "wait", messages=10_000_000, cap=4)
    assert time.monotonic() - started < 40
    assert (0 < result.rows < 10_000_000, result.complete) == (True, False)
    assert result.seconds <= 4.5
    assert "stopped after 4 s" in result.note
    assert not writers()


@pytest.mark.services
def test_a_peer_that_ends_early_or_loads_empty_columns_is_not_measured(mysql_url: str) -> None:
    with pytest.raises(NotMeasured, match=r"ended by itself:\n.*child \d+"):
        run(mysql_url, 20, "end", messages=100, cap=60)
    with pytest.raises(NotMeasured, match=r"columns are empty: \{'title': 20\}"):
        run(mysql_url, 20, "wait", messages=20, cap=60, required=("id", "title"))
    with pytest.raises(NotMeasured, match="no row within 2 s"):
        run(mysql_url, 0, "wait", messages=20, cap=2)
    assert not writers()


@pytest.mark.services
def test_limit_is_measured_on_the_products_table(mysql_url: str) -> None:
    rates = load_data_rates(list(itertools.islice(news(), 400)), mysql_url, rounds=3)
    assert len(rates) == 3
    assert rates == sorted(rates)
    engine = sa.create_engine(mysql_url)
    try:
        with engine.connect() as connection:
            table = Information.__table__.c
            counts = (sa.func.count(), sa.func.count(table.crawl_time.distinct()), sa.func.min(table.publish_time))
            rows = connection.execute(sa.select(*counts)).one()
        assert rows[0] == 400
        assert rows[1] > 100
        # The first items are of 08:00 UTC, whatever form and zone their dates are written in.
        assert f"{rows[2]:%Y-%m-%d %H}" == "2026-03-01 08"
    finally:
        engine.dispose()


def test_a_peer_dies_with_the_harness() -> None:
    """Also when the harness is killed, so that it cannot clean up."""
    harness = (
        "import subprocess, sys; from benchmarks.peers.process import die_with_parent;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], preexec_fn=die_with_parent);"
        "print('started', flush=True); sys.stdin.read()"
    )
    with psutil.Popen([sys.executable, "-c", harness], stdin=-1, stdout=-1, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout.readline() == b"started\n"
        (peer,) = process.children()
        process.kill()
        process.wait(10)
    peer.wait(10)
    assert not peer.is_running() or peer.status() == psutil.STATUS_ZOMBIE
