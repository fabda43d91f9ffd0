"""What a person does in the browser, against a real `dagster dev`; the tables are checked in MySQL after each."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.support.meanwhile import meanwhile
from kafka_ingest_tests.ui.browser import Hand, at_most, open_page, screenshot

pytestmark = pytest.mark.ui

HOURS = 6
SENSOR = "/locations/kafka_ingest.definitions/sensors/information_sensor"
TABLE = "/assets/information/information"
LEDGER = "/assets/information/ledger"
FIND_JOB = "find_message_information"


@dataclass
class World:
    """Six hours of news, loaded by the sensor, and a browser."""

    dagster: DagsterDev
    page: Page
    url: str
    servers: str
    topic: str
    truth: Truth
    first: dt.datetime

    def window(self, number: int) -> str:
        return (self.first + dt.timedelta(hours=number)).strftime("%Y-%m-%d-%H:%M")

    def check(self) -> None:
        assert_exactly_once(self.url, self.servers, self.topic, self.truth)

    def execute(self, sql: str) -> int:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            changed = connection.execute(sa.text(sql)).rowcount
        engine.dispose()
        return int(changed)

    def read(self, sql: str) -> Any:
        """The first row's values."""
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            found = connection.execute(sa.text(sql)).first()
        engine.dispose()
        return found

    def started(self) -> str:
        """The run of the stream that is loading; "" where none is."""
        runs = [
            r["runId"] for r in self.dagster.runs() if r["status"] == "STARTED" and r["jobName"] == "ingest_information"
        ]
        return runs[0] if runs else ""

    def wait_for_new_run(self, known: set[str], seconds: float = 240) -> dict[str, str]:
        """The run launched by hand after `known`, ended: sensors and schedules launch others, as the audit at three."""

        def ended() -> list[dict[str, str]]:
            by_itself = {"dagster/sensor_name", "dagster/schedule_name"}
            new = [r for r in self.dagster.runs() if r["runId"] not in known and not by_itself & r["tags"].keys()]
            return [r for r in new if r["status"] in ("SUCCESS", "FAILURE")]

        wait(ended, seconds, "the run to end")
        return ended()[0]


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def world(kafka: LocalKafka, mysql: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    topic, url = make_topic(kafka, partitions=4), fresh_database(mysql)
    first = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=HOURS)
    truth = Truth()
    for hour in range(HOURS):
        start = int((first + dt.timedelta(hours=hour)).timestamp() * 1000)
        messages = news(seed=hour, count=400)
        produce(kafka.bootstrap_servers, topic, messages, truth, timestamp_ms=lambda n, start=start: start + n * 8_000)  # type: ignore[misc]
    environ = environment(kafka.bootstrap_servers, url, topic)
    with (
        DagsterDev(tmp_path_factory.mktemp("ui") / "dagster", environ) as dagster,
        open_page(f"http://127.0.0.1:{dagster.port}") as page,
    ):
        dagster.wait_for(lambda: ledger_total(url) >= truth.total, 120, "the sensor to load everything")
        dagster.wait_for(lambda: all(r["status"] == "SUCCESS" for r in dagster.runs()), 60, "the runs to end")
        yield World(dagster, page, url, kafka.bootstrap_servers, topic, truth, first)


def test_the_lineage_leads_from_the_topic_to_the_tables(world: World) -> None:
    page = world.page
    page.goto(TABLE + "?view=lineage")
    expect(page.get_by_text("information", exact=True).first).to_be_visible()
    expect(page.get_by_text(world.topic.replace(".", "_")).first).to_be_visible()
    expect(page.get_by_text("Loading")).to_have_count(0)
    screenshot(page, "lineage")


def test_the_ticks_read_as_a_log_of_decisions(world: World) -> None:
    page = world.page
    page.goto(SENSOR)
    expect(page.get_by_text("information_sensor").first).to_be_visible()
    expect(page.get_by_text("It looks every 5 s, as often as Dagster lets it")).to_be_visible()
    screenshot(page, "sensor")
    page.get_by_role("button", name="0 runs requested").first.click()
    expect(page.get_by_role("dialog").get_by_text("Skip reason:").first).to_be_visible()
    screenshot(page, "tick")
    page.goto("/runs")
    expect(page.get_by_text("ingest_information").first).to_be_visible()
    screenshot(page, "runs")
    (run,) = [r for r in world.dagster.runs() if r["jobName"] == "ingest_information"]
    page.goto(f"/runs/{run['runId']}")
    expect(page.get_by_text("Succeeded (6)")).to_be_visible()
    expect(page.get_by_text("information.plan").first).to_be_visible()
    screenshot(page, "run")


def test_a_tables_page_shows_what_was_loaded(world: World) -> None:
    page = world.page
    page.goto(TABLE + "?view=events")
    for label in ("rows", "lag", "offset_ranges", "dead_letters"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    expect(page.get_by_text("latency_p50_seconds")).to_have_count(0)  # what was loaded is hours old
    screenshot(page, "events")
    page.goto(TABLE + "?view=overview")
    expect(page.get_by_text("publish_time").first).to_be_visible()
    screenshot(page, "asset")


def test_dead_letters_are_read_in_the_browser(world: World) -> None:
    page = world.page
    page.goto("/assets/information/dead_letters?view=events")
    expect(page.get_by_text("dead_letter_ratio", exact=True).first).to_be_visible()
    expect(page.get_by_text("kafka-ingest dead-letters list --stream information").first).to_be_visible()
    newest = world.read(
        "SELECT topic, kafka_partition, kafka_offset FROM kafka_ingest_dead_letters ORDER BY id DESC LIMIT 1"
    )
    table = page.get_by_role("table").filter(has_text="position").filter(has_text="error").last
    expect(table.get_by_text(f"{newest.topic}[{newest.kafka_partition}]@{newest.kafka_offset}")).to_be_visible()
    screenshot(page, "dead_letters")


def test_why_a_row_is_missing_is_asked_from_its_tables_page(world: World) -> None:
    page = world.page
    letter = world.read("SELECT kafka_partition, kafka_offset FROM kafka_ingest_dead_letters ORDER BY id LIMIT 1")
    page.goto(TABLE)
    with at_most(4, "why is a row missing") as hand:
        hand.click(page.get_by_role("button", name="Search").first)
        page.keyboard.type(FIND_JOB)
        expect(page.get_by_role("link", name=FIND_JOB).or_(page.get_by_text(FIND_JOB)).last).to_be_visible()
        page.keyboard.press("Enter")
        hand.click(page.get_by_role("tab", name="Launchpad"))
        hand.click(page.locator(".CodeMirror-line", has_text="text:").get_by_text("''"))
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        page.keyboard.type(f"{letter.kafka_partition}:{letter.kafka_offset}")
        hand.click(page.get_by_role("button", name="Launch Run"))
        position = f"{world.topic}[{letter.kafka_partition}]@{letter.kafka_offset}"
        expect(page.get_by_text(f"{position} is `a dead letter").first).to_be_visible()


def test_lag_is_seen_over_time(world: World) -> None:
    page = world.page
    page.goto("/assets")
    with at_most(2, "lag over time") as hand:
        hand.click(page.get_by_role("link", name=f"kafka / {world.topic}").first)
        hand.click(page.get_by_role("button", name="Plots"))
        expect(page.get_by_text("lag", exact=True)).to_be_visible()
        expect(page.locator("canvas").first).to_be_visible()


def test_checks_show_their_last_result_while_a_run_goes_on(world: World) -> None:
    page = world.page
    with producing(world):
        world.dagster.wait_for(lambda: world.started(), 60, "a run")
        run_id = world.started()
        page.goto(LEDGER + "?view=checks")
        for name in ("consumer_group", "dead_letter_ratio", "run_accounting", "run_rows_information", "run_tiling"):
            expect(page.get_by_text(name, exact=True).first).to_be_visible()
        for _ in range(5):
            expect(page.get_by_text("Succeeded").nth(4)).to_be_visible()
            expect(page.get_by_text("In progress")).to_have_count(0)
            page.wait_for_timeout(2_000)
        page.get_by_text("run_rows_information", exact=True).first.click()
        expect(page.get_by_role("link", name=run_id[:8]).first).to_be_visible()
        screenshot(page, "checks")
        assert world.started() == run_id
    world.dagster.wait_for(lambda: not world.started(), 60, "the run to end")


def test_a_check_executed_by_hand_looks_at_the_run_that_loaded_last(world: World) -> None:
    page = world.page
    last = world.read("SELECT run_id FROM kafka_ingest_offsets ORDER BY updated_at DESC LIMIT 1").run_id
    known = {r["runId"] for r in world.dagster.runs()}
    page.goto(LEDGER + "?view=checks&checkDetail=run_rows_information")
    page.get_by_role("button", name="execute Execute", exact=True).click()
    run = world.wait_for_new_run(known)
    assert run["status"] == "SUCCESS"
    page.reload()
    expect(page.locator(f"a[href*='{run['runId']}']").first).to_be_visible()
    expect(page.get_by_text("ranges_checked").first).to_be_visible()
    expect(page.get_by_role("link", name=last[:8]).first).to_be_visible()


def test_turning_the_sensor_off_pauses_the_stream_and_materialize_loads_what_waits(world: World) -> None:
    page = world.page
    page.goto(SENSOR)
    # The switch is a styled checkbox: the box itself has no size to be clicked on.
    page.locator("input[type=checkbox]").first.evaluate("box => box.click()")
    expect(page.get_by_text("Next tick")).to_have_count(0)
    produce(world.servers, world.topic, news(seed=99, count=250), world.truth)
    time.sleep(12)  # two ticks' time: nothing may happen
    assert ledger_total(world.url) == world.truth.total - 250
    known = {r["runId"] for r in world.dagster.runs()}
    page.goto(TABLE + "?view=partitions")
    hand = Hand()
    open_launch_dialog(page, hand)
    hand.click(page.get_by_role("dialog").get_by_role("button", name="Latest"))
    launch(page, hand)
    run = world.wait_for_new_run(known)
    assert run["status"] == "SUCCESS"
    world.check()


def test_a_backfill_of_three_windows_from_the_partition_dialog_repairs_damaged_rows(world: World) -> None:
    page = world.page
    low, high = world.first + dt.timedelta(hours=1), world.first + dt.timedelta(hours=4)
    inside = f"_kafka_timestamp >= '{low:%Y-%m-%d %H:%M}' AND _kafka_timestamp < '{high:%Y-%m-%d %H:%M}'"
    assert world.execute(f"DELETE FROM information WHERE {inside} AND _kafka_offset % 2 = 0") > 100
    assert world.execute(f"UPDATE information SET title = 'damaged' WHERE {inside}") > 100
    known = {r["runId"] for r in world.dagster.runs()}
    page.goto(TABLE)
    with at_most(6, "backfill of three windows") as hand:
        open_launch_dialog(page, hand)
        selection = page.get_by_role("dialog").get_by_placeholder("No matching partitions")
        hand.click(selection)
        selection.press("Control+a")
        page.keyboard.type(f"[{world.window(1)}...{world.window(3)}]")
        selection.press("Enter")
        expect(page.get_by_role("dialog").get_by_text("3 partitions").first).to_be_visible()
        screenshot(page, "backfill")
        launch(page, hand)
    run = world.wait_for_new_run(known)
    assert run["status"] == "SUCCESS"
    page.goto(f"/runs/{run['runId']}")
    expect(page.get_by_text("Success").first).to_be_visible()
    expect(page.get_by_text("Succeeded (6)")).to_be_visible()
    world.check()


def open_launch_dialog(page: Page, hand: Hand) -> None:
    """No other dialog comes before it, such as one of "additional assets"."""
    hand.click(page.get_by_role("button", name="Materialize").first)
    expect(page.get_by_text("Launch runs to materialize").first).to_be_visible()


def launch(page: Page, hand: Hand) -> None:
    hand.click(page.get_by_role("dialog").get_by_role("button", name="Launch").last)
    expect(page.get_by_text("Launch runs to materialize")).to_have_count(0)


@contextmanager
def producing(world: World) -> Iterator[None]:
    """A message every tenth of a second meanwhile."""
    seeds = count(1_000)

    def some() -> None:
        produce(world.servers, world.topic, news(seed=next(seeds), count=5), world.truth)

    with meanwhile(some, every_seconds=0.5):
        yield
