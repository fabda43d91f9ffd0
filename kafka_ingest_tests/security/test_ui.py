"""HTML in a message does not run in the browser of whoever reads about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer
from playwright.sync_api import Page, expect

from kafka_ingest.cli.dagster_api import DagsterApi
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.check import ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.ui.browser import open_page

pytestmark = pytest.mark.ui

# What a type is quoted in: plain, after the end of inline code, and after the end of a table's row.
ATTACKS = [
    "<img src=x onerror='window.owned=1'>",
    "`<img src=x onerror='window.owned=1'>`",
    "` |\n\n<img src=x onerror='window.owned=1'>\n\n[click](javascript:window.owned=1)",
]
# The first page compiles the whole UI.
PAGE_MS = 60_000


def test_an_image_in_a_messages_type_is_text_in_the_pages_of_runs(kafka: LocalKafka, tmp_path: Path) -> None:
    topic, url = make_topic(kafka, partitions=1), f"sqlite:///{tmp_path}/ui.db"
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for attack in ATTACKS:
        producer.produce(topic, json.dumps({"type": attack}), "attack")
    producer.flush(30)
    with (
        DagsterDev(tmp_path / "dagster", environment(kafka.bootstrap_servers, url, topic)) as dagster,
        open_page(f"http://127.0.0.1:{dagster.port}") as page,
    ):
        dagster.wait_for(lambda: ledger_total(url) == len(ATTACKS), 90, "the messages")
        api = DagsterApi(f"http://127.0.0.1:{dagster.port}")
        preview = {"ops": {"information_dry_run": {"config": {"offset_from": 0, "offset_to": len(ATTACKS)}}}}
        search = {"ops": {"information_find_message": {"config": {"topic": topic, "text": "attack"}}}}
        for job, config in (
            ("replay_dead_letters_information", {}),
            ("preview_information", preview),
            ("find_message_information", search),
        ):
            run_id = api.launch(job, config, {})
            assert api.follow(run_id, lambda _look: None).status == "SUCCESS"
            page.goto(f"/runs/{run_id}")
            read_markdown(page)


def read_markdown(page: Page) -> None:
    """Open what the run's log offers to show, one by one, until the attack's words have been seen."""
    links = page.get_by_text(re.compile("Show Markdown"))
    expect(links.first).to_be_visible(timeout=PAGE_MS)
    seen = 0
    for number in range(links.count()):
        links.nth(number).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.first).to_be_visible()
        page.wait_for_timeout(500)
        assert_text_only(page)
        seen += (dialog.first.text_content() or "").count("window.owned=1")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    assert seen >= len(ATTACKS)


def assert_text_only(page: Page) -> None:
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.evaluate("window.owned") is None
