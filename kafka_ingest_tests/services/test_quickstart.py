"""The quickstart as it stands, in a copy of the repository: `make demo` from nothing, then a project of one's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.server import is_running
from kafka_ingest.local.stack import LocalStack, folders
from kafka_ingest_tests.docs.blocks import Reader
from kafka_ingest_tests.docs.pages import ROOT
from kafka_ingest_tests.support.new_user import Endless, Shell, locked_versions
from kafka_ingest_tests.support.orders import orders_topic, send_orders, stored_orders

pytestmark = pytest.mark.services


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git would put into one: nothing that a build, a test or a demo has left."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    folder = tmp_path / "clone"
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_the_quickstart_leads_from_a_clone_to_rows_of_ones_own(
    clone: Path, kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    def is_demo_loading(demo: Endless) -> bool:
        return "First rows after" in demo.said

    def is_dagster_loading(_dagster: Endless) -> bool:
        """The page's own messages are loaded by hand before; a later one takes a sensor."""
        if not sent:
            sent.append({"type": "order", "id": "A-1002", "amount": "7.25", "placed_at": "2026-11-26T12:00:00Z"})
            send_orders(kafka, sent)
        return len(stored_orders(mysql_url)) == 2

    sent: list[dict[str, object]] = []
    reader = Reader(
        Shell(clone, constraints=locked_versions(tmp_path)),
        tmp_path,
        {"broker:9092": kafka.bootstrap_servers, "mysql+pymysql://user:password@host/db": mysql_url},
        {"make demo": is_demo_loading, "dagster dev": is_dagster_loading},
    )
    with orders_topic(kafka):
        reader.read(ROOT / "docs" / "quickstart.md")
    assert stored_orders(mysql_url) == [
        ("A-1001", "21.45", "2026-11-26 02:00:00"),
        ("A-1002", "7.25", "2026-11-26 12:00:00"),
    ]
    root = clone / ".local"
    assert LocalStack.status(root) is None
    assert [kind for kind in folders(root) if is_running(root / kind)] == []
    assert not list(root.rglob("client.conf"))
