"""What the client says of messages, as columns."""

from __future__ import annotations

from kafka_ingest.kafka.partition_batch import UNREADABLE, by_partition
from kafka_ingest.slices import Headers, TopicPartition
from kafka_ingest_tests.support.cluster import FakeMessage

TP = TopicPartition("news", 0)
ASKED: list[int] = []


class WithHeaders(FakeMessage):
    """With a header that says the offset."""

    def headers(self) -> Headers | None:  # type: ignore[override]
        return [("n", b"%d" % self.number)]


class Unreadable(FakeMessage):
    """As confluent-kafka's message with a header name that is no UTF-8: it fails once, then gives a list with a hole."""

    def headers(self) -> Headers | None:  # type: ignore[override]
        assert self.number not in ASKED, "the second answer would end the process"
        ASKED.append(self.number)
        raise SystemError("returned a result with an exception set")


def test_headers_the_client_cannot_read_are_said_to_be_so_and_their_neighbours_keep_theirs() -> None:
    kinds = [WithHeaders, Unreadable, WithHeaders, Unreadable, Unreadable, WithHeaders]
    [(tp, part)] = by_partition([kind(TP, n, b"v%d" % n, 1_767_250_800_000) for n, kind in enumerate(kinds)])
    assert tp == TP
    expected = [UNREADABLE if kind is Unreadable else [("n", b"%d" % n)] for n, kind in enumerate(kinds)]
    assert part.headers == expected
    assert part.values == [b"v%d" % n for n in range(len(kinds))]


class Rich(FakeMessage):
    """With headers of 11 bytes, names included, one without a value."""

    def headers(self) -> Headers | None:  # type: ignore[override]
        return [("abc", b"12345678"), ("", None)] if self.number % 2 else None


def test_the_size_of_a_message_is_that_of_its_value_its_key_and_its_headers() -> None:
    bodies = [(b"1234", b"key"), (None, b"key"), (b"", None), (b"12", None)]
    [(_, part)] = by_partition([Rich(TP, n, body, name=key) for n, (body, key) in enumerate(bodies)])
    assert part.sizes.tolist() == [4 + 3, 0 + 3 + 11, 0, 2 + 11]


def test_a_piece_is_of_one_leader_epoch() -> None:
    epochs = [None, None, 3, 3, 7]
    other = TopicPartition("news", 1)
    messages = [FakeMessage(TP, n, epoch=epoch) for n, epoch in enumerate(epochs)] + [FakeMessage(other, 0, epoch=2)]
    pieces = [(tp.partition, part.offsets.tolist(), part.leader_epoch) for tp, part in by_partition(messages)]
    assert pieces == [(0, [0, 1], None), (0, [2, 3], 3), (0, [4], 7), (1, [0], 2)]
