"""kill -9 of a replay between any two steps, on real servers: each slice is there once, whole, or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.letters import FIXED, NO_ROUTES, account, event

pytestmark = pytest.mark.faults

# Before and with the COMMIT; a replay is never written ahead.
STEPS = [step for step in LoadStep if step not in (LoadStep.AHEAD, LoadStep.DONE)]
# What an upsert into a table with tombstones sends, one statement after the other, then a delete (`sinks/mysql/merge.py`).
STATEMENTS = {
    "drop_buried": r"DELETE s FROM ",
    "merge, INSERT": r"INSERT INTO `?t_account`? ",
    "merge, UPDATE": r"UPDATE _kafka_ingest_stage_",
    "bury": r"SELECT COUNT\(\*\) FROM \S+ AS s STRAIGHT_JOIN `?t_account_tombstones`? ",
    "merge of tombstones, INSERT": r"INSERT INTO `?t_account_tombstones`? ",
    "delete_buried": r"DELETE t FROM ",
}
KNOWN = 3
LETTERS = 60


@pytest.fixture
def target(database_url: str) -> Iterator[Target]:
    """Events, accounts and tombstones, all dead letters, after accounts that are rows."""
    target = Target(FIXED, open_sink(sa.make_url(database_url)))
    messages = [
        Msg(None, b"k1") if n % 10 == 9 else Msg(account(f"k{n % 7}", n + 20) if n % 3 else event(f"e{n}", n))
        for n in range(LETTERS)
    ]
    known = raw_slice(Part([Msg(account(f"k{n}", n)) for n in range(KNOWN)]))
    target.pin({r.topic_partition: r.start for r in known.ranges})
    target.load(known)
    target.load(raw_slice(Part(messages, start=KNOWN)), stream=NO_ROUTES)
    yield target
    target.sink.close()


def replay(database_url: str, *options: str) -> int:
    command = [sys.executable, "-m", "kafka_ingest_tests.e2e.replay_child", database_url, *options]
    return subprocess.run(command, cwd=Path(__file__).parents[2], timeout=120, check=False).returncode


def marks(target: Target) -> list[tuple[Any, ...]]:
    return target.all(
        "SELECT replay_outcome, attempts, COUNT(*) FROM kafka_ingest_dead_letters GROUP BY 1, 2 ORDER BY 1, 2"
    )


def state(target: Target) -> list[Any]:
    return [
        sorted(target.all(f"SELECT * FROM {t}"), key=repr)
        for t in ("t_event", "t_account", "t_account_tombstones", "kafka_ingest_batches")
    ]


def test_a_replay_killed_at_any_step_leaves_all_or_nothing(target: Target, database_url: str) -> None:
    before = state(target)
    for step in STEPS:
        assert replay(database_url, "--die-at", step) == -signal.SIGKILL, step
        assert marks(target) == [(None, 0, LETTERS)], step
        assert state(target) == before, step
    assert replay(database_url, "--die-at", LoadStep.DONE) == -signal.SIGKILL
    done = state(target)
    # The database refuses no row but an event of 13 and an account of 13, of which there are none.
    assert marks(target) == [("delete", 1, 6), ("row", 1, LETTERS - 6)]
    assert len(target.all("SELECT 1 FROM t_event")) == len([n for n in range(LETTERS) if n % 3 == 0 and n % 10 != 9])
    assert replay(database_url) == 0
    assert state(target) == done


def test_a_replay_killed_between_the_statements_of_an_upsert_or_a_delete_leaves_nothing(
    target: Target, database_url: str
) -> None:
    before = state(target)
    for name, statement in STATEMENTS.items():
        assert replay(database_url, "--die-before-sql", statement) == -signal.SIGKILL, name
        assert marks(target) == [(None, 0, LETTERS)], name
        assert state(target) == before, name
    assert replay(database_url) == 0
    assert marks(target) == [("delete", 1, 6), ("row", 1, LETTERS - 6)]
    keys = [key for (key,) in target.all("SELECT id FROM t_account ORDER BY id")]
    assert keys == ["k0", "k2", "k3", "k4", "k5", "k6"]
