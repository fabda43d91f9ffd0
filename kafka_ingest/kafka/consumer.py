"""The client that fetches messages, configured to assign only."""

from __future__ import annotations

from confluent_kafka import Consumer

from kafka_ingest.kafka.errors import kafka_errors
from kafka_ingest.kafka.metadata import LOGGER
from kafka_ingest.kafka.timeouts import request_timeout
from kafka_ingest.settings import Settings

# What librdkafka may hold beyond the slice in the making. It counts what waits in the consumer's one queue, of all partitions,
# and may then still get what it has asked for (librdkafka, "Global configuration properties", queued.max.messages.kbytes).
PREFETCH_KBYTES = 32 * 1024
# librdkafka counts values only, but holds this many messages whatever their keys and headers (its default of
# queued.min.messages). Where those would make more than the above of them, it is told to hold fewer.
QUEUED_MESSAGES = 100_000
# How long a partition is not asked for more when that is full. librdkafka's default of a second is long enough for
# the loader to run out of messages meanwhile.
_FETCH_BACKOFF_MS = "10"
# A consumer that many streams share would get an answer for each message that comes to any of them, with all their partitions in
# each request. It waits for so many bytes, or for so long.
_SHARED_FETCH = {"fetch.min.bytes": str(64 * 1024), "fetch.wait.max.ms": "200"}


def open_consumer(
    settings: Settings, group_id: str, *, queued_messages: int | None = None, is_shared: bool = False
) -> Consumer:
    """A consumer that only assigns: it never subscribes, joins, rebalances or commits by itself.

    queued_messages: so many it may hold at most, about, whatever their values' size allows.
    is_shared: whether many streams of few messages read by it. It asks the cluster for its topics then, and raises what
    `kafka_errors` makes of a refusal.
    """
    unless_set = {"fetch.queue.backoff.ms": _FETCH_BACKOFF_MS}
    if is_shared:
        unless_set |= _SHARED_FETCH
    ours = {
        "group.id": group_id,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "true",
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "allow.auto.create.topics": "false",
        "queued.max.messages.kbytes": str(PREFETCH_KBYTES),
    }
    if queued_messages is not None:
        ours["queued.min.messages"] = str(
            min(queued_messages, int(settings.kafka.get("queued.min.messages", QUEUED_MESSAGES)))
        )
    with kafka_errors("configuring the Kafka client"):
        consumer = Consumer(unless_set | dict(settings.kafka) | ours | {"logger": LOGGER})
    if is_shared:
        _learn_leaders(consumer)
    return consumer


def _learn_leaders(consumer: Consumer) -> None:
    """Of all topics. For one that it does not know as it is assigned, librdkafka asks by a clock: each of a hundred streams
    that are made ready one after the other would wait a second."""
    try:
        with kafka_errors("asking for the topics' leaders"):
            consumer.list_topics(timeout=request_timeout())
    except BaseException:
        consumer.close()
        raise
