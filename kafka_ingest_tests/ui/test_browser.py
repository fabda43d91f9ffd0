"""What a person does in the browser, against a real `dagster dev`; the tables are checked in MySQL after each."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
from kafka_ingest_tests.ui.browser import open_page, screenshot

pytestmark = pytest.mark.ui

HOURS = 6
SENSOR = "/locations/kafka_ingest.definitions/sensors/information_sensor"
TABLE = "/assets/information/information"


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

    def wait_for_new_run(self, known: set[str], seconds: float = 120) -> dict[str, str]:
        """The run launched by hand after `known`, ended: a sensor may launch others, as for the table of hours on the hour."""

        def ended() -> list[dict[str, str]]:
            new = [r for r in self.dagster.runs() if r["runId"] not in known and "dagster/sensor_name" not in r["tags"]]
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
    screenshot(page, "lineage")


def test_the_ticks_read_as_a_log_of_decisions(world: World) -> None:
    page = world.page
    page.goto(SENSOR)
    expect(page.get_by_text("information_sensor").first).to_be_visible()
    screenshot(page, "sensor")
    page.get_by_role("button", name="0 runs requested").first.click()
    expect(page.get_by_role("dialog").get_by_text("Skip reason:").first).to_be_visible()
    screenshot(page, "tick")
    page.goto("/runs")
    expect(page.get_by_text("ingest_information").first).to_be_visible()
    screenshot(page, "runs")


def test_a_tables_page_shows_what_was_loaded(world: World) -> None:
    page = world.page
    page.goto(TABLE + "?view=events")
    for label in ("rows", "lag", "latency_p50_seconds", "offset_ranges", "dead_letters"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    screenshot(page, "events")
    page.goto(TABLE + "?view=overview")
    expect(page.get_by_text("publish_time").first).to_be_visible()
    screenshot(page, "asset")


def test_dead_letters_are_read_in_the_browser(world: World) -> None:
    page = world.page
    page.goto("/assets/information/dead_letters?view=events")
    expect(page.get_by_text("dead_letter_ratio", exact=True).first).to_be_visible()
    expect(page.get_by_text("kafka-ingest dead-letters list --stream information").first).to_be_visible()
    screenshot(page, "dead_letters")


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
    open_launch_dialog(page)
    page.get_by_role("dialog").get_by_role("button", name="Latest").click()
    launch(page)
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
    page.goto(TABLE + "?view=partitions")
    open_launch_dialog(page)
    selection = page.get_by_role("dialog").get_by_placeholder("No matching partitions")
    selection.fill(f"[{world.window(1)}...{world.window(3)}]")
    selection.press("Enter")
    expect(page.get_by_role("dialog").get_by_text("3 partitions").first).to_be_visible()
    screenshot(page, "backfill")
    launch(page)
    run = world.wait_for_new_run(known, 180)
    assert run["status"] == "SUCCESS"
    page.goto(f"/runs/{run['runId']}")
    expect(page.get_by_text("Success").first).to_be_visible()
    expect(page.get_by_text("information.load").first).to_be_visible()
    screenshot(page, "run")
    world.check()


def open_launch_dialog(page: Page) -> None:
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="Confirm").click()  # the stream's other tables come along
    expect(page.get_by_text("Launch runs to materialize").first).to_be_visible()


def launch(page: Page) -> None:
    button = page.get_by_role("dialog").get_by_role("button", name="Launch").last
    expect(button).to_be_enabled()
    button.click()
    expect(page.get_by_text("Launch runs to materialize")).to_have_count(0)
