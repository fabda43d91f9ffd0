"""Offsets of the consumer group: committed after the database has them, and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.errors import CommitUnanswered
from kafka_ingest.kafka.client_protocols import CommittingConsumer
from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.kafka.timeouts import StillWaiting, request_timeout, within
from kafka_ingest.slices import TopicPartition

# librdkafka waits for the group's coordinator without a limit of its own where the network swallows what is sent.
COMMIT_SECONDS = 30.0


class GroupCommitter:
    """Commits the offsets of one consumer group, by a client that does nothing else. `close()` it.

    A client that another thread reads by takes a commit only when it comes back from waiting for messages, up to a second
    later where it waits so long, and not at all where it is asked again and again (confluent-kafka 2.16). Threads may share it.
    """

    def __init__(self, open_consumer: Callable[[], CommittingConsumer], group_id: str) -> None:
        """open_consumer: opens one of the group, at the first commit."""
        self._open = open_consumer
        self._group_id = group_id
        self._consumer: CommittingConsumer | None = None
        self._committing = Lock()
        self._unanswered = 0
        """Commits so far that got no answer."""

    def commit(self, next_offsets: Mapping[TopicPartition, int], *, run_id: str) -> tuple[str, ...]:
        """As `commit_group_offsets`. Where there was no answer the next try is by another client, and who waited for its turn
        meanwhile does not wait as long again."""
        if not next_offsets:
            return ()
        unanswered = self._unanswered
        with self._committing:
            if self._unanswered > unanswered:
                raise _no_answer(self._group_id)
            if self._consumer is None:
                self._consumer = self._open()
            try:
                return commit_group_offsets(self._consumer, self._group_id, next_offsets, run_id=run_id)
            except CommitUnanswered:
                self._unanswered += 1
                self._consumer = None  # it closes itself
                raise

    def close(self) -> None:
        """Release the client. Idempotent."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def commit_group_offsets(
    consumer: CommittingConsumer, group_id: str, next_offsets: Mapping[TopicPartition, int], *, run_id: str
) -> tuple[str, ...]:
    """Tell Kafka where the ledger stands; returns the topics that Kafka does not have (any more), whose offsets it does
    not take. Idempotent; `run_id` goes into the commit's metadata.

    Works without joining the group. Raises PermanentError while the group has live members of another consumer, and
    CommitUnanswered after COMMIT_SECONDS: then the consumer is still in use, and closes itself when the answer comes.
    """
    if not next_offsets:
        return ()
    if _commit(consumer, group_id, next_offsets, run_id):
        return ()
    # librdkafka does not say which topic it is; Kafka has taken the offsets of the others, and takes them again.
    topics = sorted({tp.topic for tp in next_offsets})
    if len(topics) == 1:
        return tuple(topics)
    of_topic = {topic: {tp: offset for tp, offset in next_offsets.items() if tp.topic == topic} for topic in topics}
    return tuple(topic for topic in topics if not _commit(consumer, group_id, of_topic[topic], run_id))


def _no_answer(group_id: str) -> CommitUnanswered:
    return CommitUnanswered(
        f"{_doing(group_id)}: no answer within {COMMIT_SECONDS:.0f} s. The rows and the ledger are committed; the offsets are "
        "committed again by the next try."
    )


def _doing(group_id: str) -> str:
    return f"committing offsets of consumer group {group_id}"


def _commit(
    consumer: CommittingConsumer, group_id: str, next_offsets: Mapping[TopicPartition, int], run_id: str
) -> bool:
    """False where one of the topics, or one of its partitions, does not exist."""
    doing = _doing(group_id)
    wanted = [
        KafkaTopicPartition(tp.topic, tp.partition, offset, f"kafka_ingest run {run_id}")
        for tp, offset in sorted(next_offsets.items())
    ]
    try:
        with kafka_errors(doing):
            try:
                done = within(
                    COMMIT_SECONDS, lambda: consumer.commit(offsets=wanted, asynchronous=False), release=consumer.close
                )
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return False
                raise
    except StillWaiting:
        raise _no_answer(group_id) from None
    for each in done or ():
        if each.error is not None:
            if each.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False
            raise kafka_error(each.error, f"{doing}, {each.topic}[{each.partition}]")
    return True


def read_group_offsets(
    properties: Mapping[str, object], group_id: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Offsets the group has committed; partitions without one are left out.

    By a consumer that never joins, and not by the admin client: an admin request to a group's coordinator whose connection
    drops aborts the whole process (librdkafka 2.x, issue 4605).
    """
    asked = [KafkaTopicPartition(tp.topic, tp.partition) for tp in partitions]
    if not asked:
        return {}
    doing = f"reading the offsets of consumer group {group_id}"
    seconds = request_timeout()
    with kafka_errors("configuring the Kafka client"):
        consumer = Consumer({**properties, "group.id": group_id, "enable.auto.commit": "false"})
    try:
        with kafka_errors(doing):
            found = consumer.committed(asked, timeout=seconds)
    finally:
        _close(consumer)
    for each in found:
        if each.error is not None:
            raise kafka_error(each.error, f"{doing}, {each.topic}[{each.partition}]")
    return {TopicPartition(a.topic, a.partition): a.offset for a in found if a.offset >= 0}


def _close(consumer: Consumer) -> None:
    """Closing waits for a request that is still under way; that is not worth more than a moment."""
    try:
        within(1.0, consumer.close, release=lambda: None)
    except StillWaiting:
        return
