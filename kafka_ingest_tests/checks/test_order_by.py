"""Models that order by a column of their own: what became of their messages, and what a dry run says of them."""

from __future__ import annotations

from contextlib import closing

import pytest

from kafka_ingest.backfill.table_forecast import table_comparison
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest_tests.support.ordered import ORDERED, TABLES, versioned
from kafka_ingest_tests.support.searched import Searched

VERSIONS = (1, 2, 0, None)


def searched(monkeypatch: pytest.MonkeyPatch, messages: list[Msg]) -> Searched:
    topic = Searched(monkeypatch, ORDERED)
    topic.send(*messages)
    topic.load(0)
    return topic


@pytest.mark.parametrize("kind", TABLES)
def test_a_message_is_superseded_by_the_one_with_the_highest_value(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    topic = searched(monkeypatch, [versioned(kind, "k", version, "n") for version in VERSIONS])
    by = "superseded mixed[0]@1"
    assert topic.fates("id=k") == [by, "row", by, by]


@pytest.mark.parametrize("kind", TABLES)
def test_a_dry_run_knows_that_nothing_changes_by_what_is_earlier(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    topic = searched(monkeypatch, [versioned(kind, "k", version, "n") for version in VERSIONS])
    assert forecast(topic, ORDERED, kind, versioned(kind, "k", 1, "other")) == (0, 0)
    assert forecast(topic, ORDERED, kind, versioned(kind, "k", 2, "other")) == (0, 1)
    assert forecast(topic, ORDERED, kind, versioned(kind, "new", None, "n")) == (1, 0)


def forecast(topic: Searched, stream: Stream, kind: str, message: Msg) -> tuple[int, int]:
    """Keys that a load of this message, at the end of the log, would add and change."""
    (target,) = [each for each in stream.targets if each.name == TABLES[kind]]
    with (
        topic.target.sink.engine.connect() as connection,
        closing(table_comparison(connection, topic.target.sink, target)) as comparison,
    ):
        comparison.compare(piped(stream, raw_slice(Part([message], start=len(VERSIONS)))))
        found = comparison.result()
    return found.added, found.changed
