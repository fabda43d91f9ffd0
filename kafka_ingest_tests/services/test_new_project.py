"""What a new user does with a wheel in a fresh environment, on real servers until messages are rows: the project that
`kafka-ingest init` writes, looked at closely, and README as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import free_port
from kafka_ingest_tests.docs.blocks import Reader
from kafka_ingest_tests.docs.pages import ROOT
from kafka_ingest_tests.e2e.fresh_project import FreshEnvironment
from kafka_ingest_tests.support.new_user import Shell, locked_versions
from kafka_ingest_tests.support.orders import orders_topic, send_orders, stored_orders

pytestmark = pytest.mark.services

ORDERS = 60


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return locked_versions(tmp_path_factory.mktemp("new_user"))


@pytest.fixture(scope="module")
def environment(constraints: Path) -> FreshEnvironment:
    return FreshEnvironment.make(constraints.parent, constraints=constraints)


@pytest.fixture
def shell(environment: FreshEnvironment, constraints: Path, tmp_path: Path) -> Shell:
    folder = tmp_path / "empty"
    folder.mkdir()
    return Shell(folder, environment, constraints=constraints)


@pytest.fixture
def orders(kafka: LocalKafka) -> Iterator[list[dict[str, object]]]:
    """Messages in the topic of the stream that `init` writes: of 60 orders one is corrected, and one more has no date."""
    with orders_topic(kafka):
        sent: list[dict[str, object]] = [
            {
                "type": "order",
                "id": f"A-{number}",
                "customer": {"name": "Ada"},
                "amount": "19.95",
                "placed_at": f"2026-11-26 10:{number:02}:00",
            }
            for number in range(ORDERS)
        ]
        sent += [{**sent[7], "amount": "21.45"}, {**sent[8], "id": "A-bad", "placed_at": "soon"}]
        send_orders(kafka, sent)
        yield sent


# 10:00 in Shanghai is 02:00 UTC.
EXPECTED = sorted(
    (f"A-{number}", "21.45" if number == 7 else "19.95", f"2026-11-26 02:{number:02}:00") for number in range(ORDERS)
)


def test_a_new_project_is_installed_tested_examined_and_run(
    shell: Shell, kafka: LocalKafka, mysql_url: str, orders: list[dict[str, object]], tmp_path: Path
) -> None:
    assert "Next:" in shell.run("kafka-ingest init shop")
    shell.run("cd shop; pip install -q -e '.[dev]'")
    assert "3 passed" in shell.run("pytest -q")

    shell.run("install -m 600 .env.example .env")
    settings = shell.folder / ".env"
    assert settings.stat().st_mode & 0o777 == 0o600
    mine = settings.read_text().replace("broker:9092", kafka.bootstrap_servers)
    settings.write_text(re.sub(r"(?m)^(KAFKA_INGEST_DATABASE_URL)=.*$", rf"\1={mysql_url}", mine))

    report = shell.run("kafka-ingest doctor")
    assert "ok    streams: 1 declared: orders" in report
    assert "No check failed" in report
    assert "warn" not in report
    shell.run("dagster definitions validate")
    shell.run("dg check defs")

    dagster = shell.start(f"dagster dev -p {free_port()}", tmp_path / "dagster.log")
    try:
        dagster.wait_for(lambda: len(stored_orders(mysql_url)) == ORDERS, seconds=180)
    finally:
        dagster.interrupt()
    assert stored_orders(mysql_url) == EXPECTED

    status = json.loads(shell.run("kafka-ingest status --json"))["streams"][0]
    assert (status["stream"], status["lag"], status["dead_letters"]) == ("orders", 0, 1)
    assert sum(partition["next_offset"] for partition in status["partitions"]) == len(orders)
    assert (shell.folder / "dagster_home" / "history" / "runs.db").is_file(), "the history is kept"


@pytest.mark.usefixtures("orders")
def test_the_readme_leads_from_an_empty_folder_to_rows(
    shell: Shell, kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    reader = Reader(
        shell,
        tmp_path,
        {"broker:9092": kafka.bootstrap_servers, "mysql+pymysql://user:password@host/db": mysql_url},
        {"dagster dev": lambda _dagster: len(stored_orders(mysql_url)) == ORDERS},
    )
    reader.read(ROOT / "README.md")
    assert stored_orders(mysql_url) == EXPECTED
