"""Publication of dead letters: database first, Kafka second, at least once, and never for ever."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from kafka_ingest.engine import publish
from kafka_ingest.engine.publish import publish_waiting
from kafka_ingest.errors import ConfigError, KafkaUnavailable
from kafka_ingest.kafka.dead_letter_topic import DeadLetterPublisher, Published, error_headers
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.ledger.dead_letters import StoredDeadLetter
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Crash, Target
from kafka_ingest_tests.support.letters import BROKEN, FIXED, LATER, event, kept, loaded, run_replay


@dataclass
class FakePublisher(DeadLetterPublisher):
    """Brokers that refuse some offsets, and are away after a number of messages."""

    refuses: tuple[int, ...] = ()
    away_after: int = 10_000
    sent: list[int] = field(default_factory=list)
    slices: list[int] = field(default_factory=list)

    def publish(self, letters: Sequence[StoredDeadLetter]) -> Published:
        found = Published()
        self.slices.append(len(letters))
        for letter in letters:
            if len(self.sent) >= self.away_after:
                found.error = KafkaUnavailable("away")
                break
            if letter.kafka_offset in self.refuses:
                found.refused[letter.id] = "too large"
            else:
                self.sent.append(letter.kafka_offset)
                found.ids.append(letter.id)
        return found


@pytest.fixture
def target() -> Target:
    return loaded(BROKEN, Part([Msg(event(f"e{n}")) for n in range(5)]))


def run(target: Target, publisher: DeadLetterPublisher, at: str = "") -> int:
    def die(step: str) -> None:
        if step == at:
            raise Crash

    return publish_waiting(target.sink, FIXED, publisher, now=lambda: LATER, at_step=die)


def published(target: Target) -> list[int]:
    return [letter.kafka_offset for letter in kept(target) if letter.published_at is not None]


def test_every_waiting_letter_is_published_once(target: Target) -> None:
    publisher = FakePublisher()
    assert run(target, publisher) == 5
    assert run(target, publisher) == 0
    assert publisher.sent == [0, 1, 2, 3, 4]
    assert {letter.published_at for letter in kept(target)} == {LATER}


def test_it_goes_in_slices(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "SLICE_ROWS", 2)
    publisher = FakePublisher()
    assert run(target, publisher) == 5
    assert publisher.slices == [2, 2, 1]


def test_a_crash_before_the_sending_loses_nothing_and_one_after_it_sends_again(target: Target) -> None:
    publisher = FakePublisher()
    with pytest.raises(Crash):
        run(target, publisher, at="publish")
    assert publisher.sent == []
    with pytest.raises(Crash):
        run(target, publisher, at="mark_published")
    assert publisher.sent == [0, 1, 2, 3, 4]
    assert published(target) == []
    assert run(target, publisher) == 5
    assert publisher.sent == [0, 1, 2, 3, 4] * 2


def test_what_was_sent_before_the_brokers_went_away_is_not_sent_again(target: Target) -> None:
    publisher = FakePublisher(away_after=3)
    with pytest.raises(KafkaUnavailable):
        run(target, publisher)
    assert published(target) == [0, 1, 2]
    publisher.away_after = 10_000
    assert run(target, publisher) == 2
    assert publisher.sent == [0, 1, 2, 3, 4]


def test_a_letter_the_topic_never_takes_does_not_stop_the_others_and_says_why(target: Target) -> None:
    publisher = FakePublisher(refuses=(2,))
    assert run(target, publisher) == 4
    assert run(target, publisher) == 0
    refused = kept(target)[2]
    assert (refused.publish_error, refused.published_at, refused.is_waiting) == ("too large", None, True)


def test_letters_that_were_replayed_before_are_not_published(target: Target) -> None:
    run_replay(target, wanted=DeadLetterFilter(end_offset=3))
    publisher = FakePublisher()
    run(target, publisher)
    assert publisher.sent == [3, 4]


def test_a_letter_that_fails_again_in_a_replay_or_a_backfill_is_not_published_again(target: Target) -> None:
    publisher = FakePublisher()
    run(target, publisher)
    run_replay(target, BROKEN)
    target.load(raw_slice(Part([Msg(event(f"e{n}")) for n in range(5)])), "backfill", stream=BROKEN)
    assert len(kept(target)) == 5
    assert run(target, publisher) == 0


def test_the_headers_are_those_of_kafka_connect_after_the_messages_own(target: Target) -> None:
    letter = replace(kept(target)[1], headers=[("trace", b"\x00"), ("none", None)])
    assert error_headers(letter) == [
        ("trace", b"\x00"),
        ("none", None),
        ("__connect.errors.topic", b"mixed"),
        ("__connect.errors.partition", b"0"),
        ("__connect.errors.offset", b"1"),
        ("__connect.errors.connector.name", b"mixed"),
        ("__connect.errors.task.id", b"0"),
        ("__connect.errors.stage", b"step"),
        ("__connect.errors.class.name", b"kafka_ingest.pipelines.pipeline"),
        ("__connect.errors.exception.class.name", b"kafka_ingest.records.DeadLetter"),
        ("__connect.errors.exception.message", b"the step was wrong"),
    ]


def test_a_header_the_message_already_has_stays_as_it_is(target: Target) -> None:
    letter = replace(kept(target)[0], headers=[("__connect.errors.topic", b"first")])
    found = error_headers(letter)
    assert [value for name, value in found if name == "__connect.errors.topic"] == [b"first"]


@pytest.mark.parametrize("topic", ["", "a b", "x" * 250, "mixed2"])
def test_a_dead_letter_topic_is_a_topic_the_stream_does_not_read(topic: str) -> None:
    with pytest.raises(ConfigError, match="dead_letter_topic"):
        replace(FIXED, dead_letter_topic=topic)
    with pytest.raises(ConfigError, match="for ever"):
        replace(FIXED, topics="^news.*", dead_letter_topic="news.dead")
    assert replace(FIXED, dead_letter_topic="mixed.dead").dead_letter_topic == "mixed.dead"


def test_the_letters_time_is_utc(target: Target) -> None:
    assert kept(target)[0].created_at.tzinfo is dt.timezone.utc
