"""The reader delivers exact ranges from logs with holes, over a consumer that behaves as librdkafka does."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_ingest.errors import AccessDenied, ConfigError, DataLoss, KafkaUnavailable, RangeReadTimeout
from kafka_ingest.kafka import consumer as consumer_module
from kafka_ingest.kafka import reader as reader_module
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.group_offsets import commit_group_offsets
from kafka_ingest.kafka.reader import SILENCE_SECONDS, RangeReader
from kafka_ingest.settings import Settings
from kafka_ingest.slices import OffsetRange, RawSlice, TopicPartition
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, Log, log

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
PLENTY = 1 << 30


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def range_of(tp: TopicPartition, start: int, end: int) -> OffsetRange:
    return OffsetRange(tp.topic, tp.partition, start, end)


def offsets(raw: RawSlice) -> list[str]:
    return [raw.position(i) for i in range(len(raw))]


def reader_over(*logs: Log, clock: Any = None) -> tuple[RangeReader, FakeConsumer]:
    consumer = FakeConsumer({TopicPartition("t", n): each for n, each in enumerate(logs)})
    return RangeReader(consumer, clock=clock or Clock()), consumer


def test_a_range_is_read_to_its_end_and_not_beyond() -> None:
    reader, _ = reader_over(log(P0, range(20), 20))
    reader.read_to([range_of(P0, 3, 9)])
    raw = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert raw.ranges == (range_of(P0, 3, 9),)
    assert raw.offsets.tolist() == [3, 4, 5, 6, 7, 8]
    assert raw.values[0] == b"3         "
    assert raw.timestamps_ms[0] == 3_000
    assert raw.absent == (0,)
    assert reader.remaining() == ()


def test_holes_in_the_log_are_counted_as_absent() -> None:
    reader, _ = reader_over(log(P0, [2, 3, 7], 12))
    reader.read_to([range_of(P0, 0, 12)])
    raw = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert (raw.offsets.tolist(), raw.ranges, raw.absent) == ([2, 3, 7], (range_of(P0, 0, 12),), (9,))


def test_a_range_of_markers_alone_ends_at_the_end_of_the_log() -> None:
    reader, _ = reader_over(log(P0, [], 4))
    reader.read_to([range_of(P0, 0, 4)])
    raw = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert (len(raw), raw.ranges, raw.absent) == (0, (range_of(P0, 0, 4),), (4,))


def test_a_range_that_ends_in_a_hole_ends_at_the_message_after_it() -> None:
    reader, _ = reader_over(log(P0, [0, 1, 9], 10))
    reader.read_to([range_of(P0, 0, 5)])
    raw = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert (raw.offsets.tolist(), raw.ranges, raw.absent) == ([0, 1], (range_of(P0, 0, 5),), (3,))


def test_slices_are_bounded_by_rows_and_tile_the_range() -> None:
    reader, _ = reader_over(log(P0, [0, 1, 4, 5, 6, 9], 10))
    reader.read_to([range_of(P0, 0, 10)])
    slices = [reader.read_slice(max_rows=2, max_bytes=PLENTY) for _ in range(3)]
    assert [s.offsets.tolist() for s in slices] == [[0, 1], [4, 5], [6, 9]]
    assert [s.ranges for s in slices] == [(range_of(P0, 0, 4),), (range_of(P0, 4, 6),), (range_of(P0, 6, 10),)]
    assert [s.absent for s in slices] == [(2,), (0,), (2,)]
    assert reader.read_slice(max_rows=2, max_bytes=PLENTY).ranges == ()


def test_slices_are_bounded_by_bytes_and_a_larger_message_comes_alone() -> None:
    messages = log(P0, range(4), 4, size=40).messages
    messages[1] = FakeMessage(P0, 1, b"x" * 500)
    reader, _ = reader_over(Log(messages, 4))
    reader.read_to([range_of(P0, 0, 4)])
    found = [reader.read_slice(max_rows=100, max_bytes=100).offsets.tolist() for _ in range(3)]
    assert found == [[0], [1], [2, 3]]


def test_what_is_taken_at_once_is_bounded_by_the_bytes_that_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_CONSUME_BYTES", 300)  # values are 10 bytes
    reader, consumer = reader_over(log(P0, range(200), 200))
    reader.read_to([range_of(P0, 0, 200)])
    reader.read_slice(max_rows=1_000, max_bytes=PLENTY)
    came = consumer.asked.index(30)
    assert set(consumer.asked[:came]) == {64}, "before anything came, nothing is known of sizes"
    assert set(consumer.asked[came:]) == {30}
    monkeypatch.setattr(reader_module, "_CONSUME_BYTES", PLENTY)
    reader, consumer = reader_over(log(P0, range(200), 200))
    reader.read_to([range_of(P0, 0, 200)])
    reader.read_slice(max_rows=5_000, max_bytes=PLENTY)
    assert consumer.asked[-1] == 2_000


def test_nothing_to_read_is_an_empty_slice() -> None:
    reader, consumer = reader_over(log(P0, range(5), 5))
    raw = reader.read_slice(max_rows=10, max_bytes=PLENTY)
    assert (len(raw), raw.ranges, raw.absent) == (0, (), ())
    reader.read_to([range_of(P0, 3, 3)])
    assert reader.read_slice(max_rows=10, max_bytes=PLENTY).ranges == ()
    assert consumer.asked == []


def test_an_end_of_the_log_below_the_ranges_end_is_waited_beyond() -> None:
    reader, consumer = reader_over(log(P0, range(4), 4))

    def grow() -> None:
        if len(consumer.asked) == 20:
            consumer.logs = {P0: log(P0, range(8), 8)}

    consumer.tick = grow
    reader.read_to([range_of(P0, 0, 8)])
    raw = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert raw.offsets.tolist() == list(range(8))


def test_a_range_that_grows_keeps_what_was_fetched_and_goes_on() -> None:
    reader, _ = reader_over(log(P0, range(9), 9))
    reader.read_to([range_of(P0, 0, 2)])
    first = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    reader.read_to([range_of(P0, 2, 9)])
    second = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert first.offsets.tolist() + second.offsets.tolist() == list(range(9))
    assert second.ranges == (range_of(P0, 2, 9),)
    assert reader.positions() == {P0: 9}


def test_a_range_elsewhere_starts_the_partition_anew() -> None:
    reader, _ = reader_over(log(P0, range(9), 9))
    reader.read_to([range_of(P0, 0, 9)])
    reader.read_slice(max_rows=3, max_bytes=PLENTY)
    reader.read_to([range_of(P0, 7, 9)])
    assert reader.read_slice(max_rows=10, max_bytes=PLENTY).offsets.tolist() == [7, 8]


def test_a_restart_after_a_partial_read_repeats_from_the_start_and_leaves_other_partitions() -> None:
    reader, consumer = reader_over(log(P0, range(9), 9), log(P1, range(4), 4))
    ranges = [range_of(P0, 0, 9), range_of(P1, 0, 4)]
    reader.restart(ranges)
    before = offsets(reader.read_slice(max_rows=5, max_bytes=PLENTY))
    reader.restart(ranges)
    again = offsets(reader.read_slice(max_rows=100, max_bytes=PLENTY))
    assert len(before) == 5
    assert again == [f"t[0]@{n}" for n in range(9)] + [f"t[1]@{n}" for n in range(4)]
    reader.restart([range_of(P1, 1, 3)])
    assert offsets(reader.read_slice(max_rows=100, max_bytes=PLENTY)) == ["t[1]@1", "t[1]@2"]
    assert set(consumer.positions) == {P1}


def test_silence_ends_the_read_with_what_is_missing_and_the_same_read_may_succeed_later() -> None:
    clock = Clock()
    reader, consumer = reader_over(log(P0, range(4), 4), clock=clock)
    consumer.silent = True
    consumer.tick = lambda: setattr(clock, "seconds", clock.seconds + 1)
    reader.restart([range_of(P0, 0, 4)])
    with pytest.raises(RangeReadTimeout, match=r"nothing came for 60 s while reading t\[0\]@\[0,4\)") as caught:
        reader.read_slice(max_rows=10, max_bytes=PLENTY)
    assert caught.value.values() == {"ranges": (range_of(P0, 0, 4),), "seconds": SILENCE_SECONDS}
    assert SILENCE_SECONDS < clock.seconds < SILENCE_SECONDS + 3
    consumer.silent = False
    reader.restart([range_of(P0, 0, 4)])
    assert reader.read_slice(max_rows=10, max_bytes=PLENTY).offsets.tolist() == [0, 1, 2, 3]


def test_progress_puts_the_deadline_off_and_slow_is_not_silent() -> None:
    clock = Clock()
    reader, consumer = reader_over(log(P0, range(200), 200), clock=clock)
    consumer.tick = lambda: setattr(clock, "seconds", clock.seconds + 15)
    reader.read_to([range_of(P0, 0, 200)])
    assert len(reader.read_slice(max_rows=1_000, max_bytes=PLENTY)) == 200


def failure(code: int, *, retriable: bool = False, offset: int = 0) -> FakeMessage:
    return FakeMessage(P0, offset, None, failure=KafkaError(code, "the broker's words", retriable=retriable))


def test_errors_that_pass_are_waited_out_but_do_not_count_as_progress() -> None:
    clock = Clock()
    reader, consumer = reader_over(log(P0, range(4), 4), clock=clock)
    consumer.trouble = [failure(KafkaError._TRANSPORT, retriable=True)] * 3
    reader.read_to([range_of(P0, 0, 4)])
    assert len(reader.read_slice(max_rows=10, max_bytes=PLENTY)) == 4
    consumer.trouble = [failure(KafkaError._TRANSPORT, retriable=True)] * 500
    consumer.tick = lambda: setattr(clock, "seconds", clock.seconds + 1)
    reader.restart([range_of(P0, 0, 4)])
    with pytest.raises(RangeReadTimeout):
        reader.read_slice(max_rows=10, max_bytes=PLENTY)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._TRANSPORT, KafkaUnavailable),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError._AUTO_OFFSET_RESET, DataLoss),
        (KafkaError.OFFSET_OUT_OF_RANGE, DataLoss),
    ],
)
def test_other_errors_end_the_read_classified(code: int, expected: type[Exception]) -> None:
    reader, consumer = reader_over(log(P0, range(4), 4))
    consumer.trouble = [failure(code)]
    reader.read_to([range_of(P0, 0, 4)])
    with pytest.raises(expected, match=r"t\[0\]"):
        reader.read_slice(max_rows=10, max_bytes=PLENTY)


def test_a_partition_that_is_done_does_not_fill_the_memory_while_others_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_module, "_HELD_MESSAGES", 10)
    reader, consumer = reader_over(log(P0, range(5_000), 5_000), log(P1, range(300), 300))
    reader.read_to([range_of(P0, 0, 2), range_of(P1, 0, 300)])
    raw = reader.read_slice(max_rows=10_000, max_bytes=PLENTY)
    assert raw.ranges == (range_of(P0, 0, 2), range_of(P1, 0, 300))
    held = sum(map(len, reader._partitions[P0].pending))
    assert held <= 20
    assert consumer.paused == {P0}
    reader.read_to([range_of(P0, 2, 60)])
    assert consumer.paused == set()
    assert reader.read_slice(max_rows=10_000, max_bytes=PLENTY).offsets.tolist() == list(range(2, 60))


def test_what_lies_beyond_the_ranges_does_not_hide_the_silence_of_a_partition_that_is_due() -> None:
    clock = Clock()
    reader, consumer = reader_over(log(P0, range(5_000), 5_000), log(P1, [], 0), clock=clock)
    consumer.tick = lambda: setattr(clock, "seconds", clock.seconds + 1)
    reader.read_to([range_of(P0, 0, 2), range_of(P1, 0, 300)])
    with pytest.raises(RangeReadTimeout, match=r"t\[1\]@\[0,300\)"):
        reader.read_slice(max_rows=10_000, max_bytes=PLENTY)
    assert clock.seconds < SILENCE_SECONDS + 10


def test_a_restart_resumes_a_partition_that_was_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_HELD_MESSAGES", 1)
    reader, consumer = reader_over(log(P0, range(500), 500), log(P1, range(300), 300))
    ranges = [range_of(P0, 0, 2), range_of(P1, 0, 300)]
    reader.restart(ranges)
    reader.read_slice(max_rows=10_000, max_bytes=PLENTY)
    assert consumer.paused == {P0}
    reader.restart(ranges)
    assert len(reader.read_slice(max_rows=10_000, max_bytes=PLENTY)) == 302


def test_the_reader_closes_its_consumer() -> None:
    reader, consumer = reader_over()
    reader.close()
    assert consumer.is_closed


def test_the_consumer_is_configured_to_read_committed_messages_and_to_commit_nothing_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(consumer_module, "Consumer", asked.update)
    open_consumer(Settings.from_environment({"KAFKA_AUTO_OFFSET_RESET": "earliest"}), "g")
    assert asked["group.id"] == "g"
    assert (asked["enable.auto.commit"], asked["enable.auto.offset.store"]) == ("false", "false")
    assert (asked["isolation.level"], asked["auto.offset.reset"]) == ("read_committed", "error")
    assert asked["allow.auto.create.topics"] == "false"
    assert int(asked["queued.max.messages.kbytes"]) == 32 * 1024


def test_a_property_librdkafka_does_not_know_is_a_config_error() -> None:
    settings: Settings = Settings.from_environment({"KAFKA_NO_SUCH_THING": "1"})
    with pytest.raises(ConfigError, match=r"no.such.thing.*Check the KAFKA_\* settings"):
        open_consumer(settings, "g")


def test_a_real_consumer_can_be_opened_without_a_broker(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, logger="kafka_ingest.kafka"):
        consumer = open_consumer(Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}), "g")
        consumer.close()


class Commits:
    """The one call of a consumer that commits."""

    def __init__(self, code: int | None = None, *, gone: str | None = None, raises: bool = False) -> None:
        self.code = code
        self.gone = gone
        self.raises = raises
        self.done: list[tuple[str, int, int, str]] = []

    def close(self) -> None:
        """Called where a commit stays unanswered."""

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        self.done += [(o.topic, o.partition, o.offset, o.metadata) for o in offsets]
        if self.gone in {o.topic for o in offsets}:
            unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            if self.raises:
                raise KafkaException(unknown)
            return [type("Answer", (), {"topic": o.topic, "partition": 0, "error": unknown}) for o in offsets]
        if self.code is not None:
            return [type("Answer", (), {"topic": "t", "partition": 0, "error": KafkaError(self.code)})]
        return offsets


def test_offsets_are_committed_in_order_with_the_run_in_their_metadata() -> None:
    consumer = Commits()
    commit_group_offsets(consumer, "g", {P1: 7, P0: 3}, run_id="r1")
    assert consumer.done == [("t", 0, 3, "kafka_ingest run r1"), ("t", 1, 7, "kafka_ingest run r1")]
    commit_group_offsets(consumer, "g", {}, run_id="r1")
    assert len(consumer.done) == 2


def test_a_commit_refused_for_one_partition_is_an_error_that_names_it() -> None:
    with pytest.raises(AccessDenied, match=r"committing offsets of consumer group g, t\[0\]"):
        commit_group_offsets(Commits(KafkaError.GROUP_AUTHORIZATION_FAILED), "g", {P0: 3}, run_id="r1")


@pytest.mark.parametrize("raises", [True, False])
def test_a_topic_that_is_gone_is_named_and_the_offsets_of_the_others_are_committed(raises: bool) -> None:
    consumer = Commits(gone="u", raises=raises)
    gone = commit_group_offsets(
        consumer, "g", {P0: 3, TopicPartition("u", 0): 5, TopicPartition("v", 0): 8}, run_id="r"
    )
    assert gone == ("u",)
    assert {("t", 0, 3, "kafka_ingest run r"), ("v", 0, 8, "kafka_ingest run r")} <= set(consumer.done[3:])
    assert commit_group_offsets(Commits(gone="t", raises=raises), "g", {P0: 3, P1: 4}, run_id="r") == ("t",)
