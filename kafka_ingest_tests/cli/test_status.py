"""How a stream's status reads, for people and for programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from kafka_ingest.cli.status_state import Agreement, StreamStatus, _agreement
from kafka_ingest.cli.status_view import as_table, statuses_json
from kafka_ingest.engine.shards import WHOLE
from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.kafka.metadata import TopicState, Watermarks
from kafka_ingest.ledger.leases import IN_GROUP, Lease, part_text
from kafka_ingest.ledger.positions import LedgerPosition
from kafka_ingest.slices import TopicPartition
from kafka_ingest_tests.support.status import AT, PARTITIONS, STATUS


def text(status: StreamStatus) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(as_table(status))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_every_number() -> None:
    shown = text(STATUS)
    for part in (
        "news 0",
        "1,500",
        "1,400",
        "2,000",
        "1,990",
        "information 3,200 rows",
        "about 99,000,000 rows",
        "later (no table yet)",
    ):
        assert part in shown
    for part in (
        "dead letters 90",
        "Loaded live: 3,300 rows",
        "1 deletes",
        "7 absent offsets",
        "30 s ago",
        "run 5f0c",
        "2 window(s)",
    ):
        assert part in shown
    assert "topic old_news does not exist yet" in shown
    assert "all" in shown
    assert "107" in shown


def test_a_disagreement_of_ledger_and_group_is_said_with_its_partition_and_what_follows() -> None:
    assert "news[1]: ledger and group disagree: the group is behind" in text(STATUS)
    agreeing = replace(STATUS, partitions=PARTITIONS[:1])
    assert "disagree" not in text(agreeing)


def test_nothing_loaded_yet_reads_as_such() -> None:
    empty = replace(
        STATUS, loaded={}, last_batch_at=None, last_run_id=None, windows=0, first_window=None, last_window=None
    )
    assert "Nothing was loaded yet." in text(empty)


def test_the_json_form_is_stable() -> None:
    assert json.loads(json.dumps(statuses_json([STATUS]))) == {
        "streams": [
            {
                "stream": "news",
                "group_id": "kafka_ingest",
                "at": "2026-03-01T12:00:30+00:00",
                "lag": 107,
                "agrees": False,
                "missing_topics": ["old_news"],
                "partitions": [
                    {
                        "topic": "news",
                        "partition": 0,
                        "log_start": 0,
                        "log_end": 1500,
                        "next_offset": 1400,
                        "group_offset": 1400,
                        "lag": 100,
                        "state": "ok",
                    },
                    {
                        "topic": "news",
                        "partition": 1,
                        "log_start": 10,
                        "log_end": 2000,
                        "next_offset": 2000,
                        "group_offset": 1990,
                        "lag": 0,
                        "state": "group_behind",
                    },
                    {
                        "topic": "news",
                        "partition": 2,
                        "log_start": 0,
                        "log_end": 7,
                        "next_offset": None,
                        "group_offset": None,
                        "lag": 7,
                        "state": "new",
                    },
                ],
                "tables": [
                    {"table": "information", "rows": 3200, "exact": True},
                    {"table": "announcement", "rows": 99_000_000, "exact": False},
                    {"table": "later", "rows": None, "exact": True},
                ],
                "dead_letters": 90,
                "loaded": {
                    "live": {"batches": 12, "rows": 3300, "deletes": 1, "dead_letters": 90, "ignored": 2, "absent": 7}
                },
                "last_batch_at": "2026-03-01T12:00:00+00:00",
                "last_run_id": "5f0c",
                "windows": {"count": 2, "first": "2026-03-01-11:00", "last": "2026-03-01-12:00"},
                "runs": [],
            }
        ]
    }


def lease(run_id: str, shard: str, age_seconds: float) -> Lease:
    return Lease(
        "news", run_id, "worker-1", shard, AT.replace(tzinfo=None), AT.replace(tzinfo=None), age_seconds, False
    )


def test_runs_that_are_loading_are_said_and_one_that_does_not_answer_is_too() -> None:
    part = lease("abcdef", part_text("2/4"), 3.0)
    grouped = lease("456789", f"{WHOLE}{IN_GROUP}", 1.0)
    status = replace(STATUS, runs=(lease("0123456789abcdef", "0/1", 2.4), lease("fedcba", "1/4", 31.0), part, grouped))
    shown = text(status)
    assert "Run 01234567 on worker-1 is loading, seen 2 s ago." in shown
    assert "Run fedcba on worker-1, shard 1/4 does not answer, seen 31 s ago." in shown
    assert "Run abcdef on worker-1, part 2/4 of a backfill, is loading, seen 3 s ago." in shown
    (stream,) = json.loads(json.dumps(statuses_json([status])))["streams"]
    assert "Run 456789 on worker-1, with its group, is loading, seen 1 s ago." in shown
    assert [run["lapsed"] for run in stream["runs"]] == [False, True, False, False]
    assert [(run["shard"], run["in_group"]) for run in stream["runs"]] == [
        ("0/1", False),
        ("1/4", False),
        ("backfill 2/4", False),
        ("0/1", True),
    ]
    assert stream["runs"][1] == {
        "run_id": "fedcba",
        "shard": "1/4",
        "in_group": False,
        "host": "worker-1",
        "seen_seconds_ago": 31.0,
        "lapsed": True,
    }


@pytest.mark.parametrize(
    ("next_offset", "topic_id", "group", "expected"),
    [
        (None, None, None, "new"),
        (50, "id", 50, "ok"),
        (50, None, 50, "ok"),
        (50, "id", 40, "group_behind"),
        (50, "id", None, "group_behind"),
        (50, "id", 60, "group_ahead"),
        (5, "id", 5, "data_lost"),
        (101, "id", 101, "cut_off"),
        (50, "other", 50, "recreated"),
    ],
)
def test_how_ledger_log_and_group_agree(
    next_offset: int | None, topic_id: str | None, group: int | None, expected: Agreement
) -> None:
    tp = TopicPartition("news", 0)
    marks = Watermarks(10, 100)
    known = {} if next_offset is None else {tp: LedgerPosition(next_offset, topic_id, AT)}
    state = StreamState(TopicState((tp,), {"news": "id"}, ()), {tp: marks}, known, {tp: 10})
    assert _agreement(tp, state, group) == expected
