"""Offsets of a consumer group are committed by a client of their own, and by another one where that stays silent."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from kafka_ingest.errors import CommitUnanswered
from kafka_ingest.kafka import group_offsets
from kafka_ingest.kafka.group_offsets import GroupCommitter
from kafka_ingest.slices import TopicPartition

P0 = TopicPartition("t", 0)


class Client:
    """Commits, or is silent until it is let go."""

    def __init__(self, *, is_silent: bool = False) -> None:
        self.answers = threading.Event()
        self.asked = threading.Event()
        self.done: list[int] = []
        self.is_closed = threading.Event()
        if not is_silent:
            self.answers.set()

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        self.asked.set()
        self.answers.wait(60)
        self.done += [each.offset for each in offsets]
        return []

    def close(self) -> None:
        self.is_closed.set()


def committer_of(*clients: Client) -> GroupCommitter:
    return GroupCommitter(iter(clients).__next__, "g")


def test_a_client_is_opened_for_the_first_commit_and_serves_all() -> None:
    client = Client()
    committer = committer_of(client)
    assert committer.commit({}, run_id="r") == ()
    committer.commit({P0: 3}, run_id="r")
    committer.commit({P0: 5}, run_id="r")
    committer.close()
    committer.close()
    assert client.done == [3, 5]
    assert client.is_closed.is_set()


def test_one_that_has_not_committed_has_nothing_to_close() -> None:
    committer_of().close()


def test_after_silence_another_client_commits_and_the_silent_one_closes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_offsets, "COMMIT_SECONDS", 0.05)
    silent, fresh = Client(is_silent=True), Client()
    committer = committer_of(silent, fresh)
    with pytest.raises(CommitUnanswered, match="consumer group g: no answer within"):
        committer.commit({P0: 3}, run_id="r")
    committer.commit({P0: 4}, run_id="r")
    assert fresh.done == [4]
    assert not silent.is_closed.is_set()
    silent.answers.set()
    assert silent.is_closed.wait(30)
    committer.close()


def test_who_waited_for_a_client_that_stays_silent_does_not_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_offsets, "COMMIT_SECONDS", 2.0)
    silent, fresh = Client(is_silent=True), Client()
    committer = committer_of(silent, fresh)
    refused: list[float] = []

    def commit() -> None:
        with pytest.raises(CommitUnanswered):
            committer.commit({P0: 3}, run_id="r")
        refused.append(time.monotonic())

    threads = [threading.Thread(target=commit) for _ in range(3)]
    threads[0].start()
    assert silent.asked.wait(30)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 3
    assert fresh.done == []
    silent.answers.set()
    committer.close()
