"""The doctor's look at Kafka: metadata only, nothing is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, OffsetSpec

from kafka_ingest.engine.stream_state import group_of
from kafka_ingest.errors import KafkaIngestError, KafkaUnavailable
from kafka_ingest.findings import Finding, fail, ok, warn
from kafka_ingest.kafka.admin import AskingAdmin
from kafka_ingest.kafka.errors import kafka_error
from kafka_ingest.kafka.group_members import GroupState, describe_group
from kafka_ingest.kafka.metadata import KafkaMetadata, client_properties, plain_client_properties
from kafka_ingest.settings import Settings
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream

ANSWER_SECONDS = 8.0
# A newer message than this says that a producer's clock (or the broker's, with LogAppendTime) is ahead of ours.
AHEAD_SECONDS = 5.0
_REACH = "Check KAFKA_BOOTSTRAP_SERVERS and the KAFKA_SECURITY_*, KAFKA_SASL_*, KAFKA_SSL_* settings; is the broker up?"


def check_kafka(settings: Settings, streams: Collection[Stream]) -> Iterator[Finding]:
    """Broker, then every stream's topics and group. Nothing more where the broker does not answer."""
    try:
        asking = AskingAdmin(client_properties(settings))
        cluster = asking.list_topics(f"asking {settings.bootstrap_servers}", timeout=ANSWER_SECONDS)
    except KafkaIngestError as error:
        yield fail("kafka broker", str(error), _REACH)
        return
    admin = asking.client
    yield ok(
        "kafka broker",
        f"{settings.bootstrap_servers} answers: {len(cluster.brokers)} broker(s), cluster {cluster.cluster_id}",
    )
    metadata = KafkaMetadata(settings)

    @cache  # each group once, as most streams have the same
    def describe(group_id: str) -> GroupState | None:
        return describe_group(plain_client_properties(settings), group_id, seconds=ANSWER_SECONDS)

    for stream in streams:
        yield from _stream(stream, group_of(stream, settings), admin, metadata, describe)


def _stream(
    stream: Stream,
    group_id: str,
    admin: AdminClient,
    metadata: KafkaMetadata,
    describe: Callable[[str], GroupState | None],
) -> Iterator[Finding]:
    check = f"topics of {stream.name}"
    try:
        state = metadata.topics(stream)
        metadata.watermarks(state.partitions)
    except KafkaIngestError as error:
        yield fail(check, str(error), "Allow this user DESCRIBE and READ on the topics.")
        return
    if state.missing:
        yield warn(
            check,
            f"{', '.join(state.missing)} does not exist yet",
            "Create it, or correct the topics of the stream; for the example stream, `kafka-ingest produce` creates it.",
        )
    topics = sorted({tp.topic for tp in state.partitions})
    if topics:
        yield ok(check, f"{', '.join(topics[:5])}{' …' if topics[5:] else ''}: {len(state.partitions)} partition(s)")
        yield from _may_read(stream, admin, topics)
        yield from _clock(stream, admin, state.partitions)
    yield from _group(stream, group_id, metadata, state.partitions, describe)


def _may_read(stream: Stream, admin: AdminClient, topics: list[str]) -> Iterator[Finding]:
    check = f"reading {stream.name}"
    asked = admin.describe_topics(
        TopicCollection(topics), include_authorized_operations=True, request_timeout=ANSWER_SECONDS
    )
    try:
        described = [future.result() for future in asked.values()]
    except KafkaException as error:
        yield fail(
            check, str(kafka_error(error.args[0], "describing topics")), "Allow this user DESCRIBE on the topics."
        )
        return
    denied = [d.name for d in described if _lacks(d.authorized_operations, AclOperation.READ)]
    if denied:
        yield fail(check, f"this user may not read {', '.join(denied)}", "Add an ACL: READ on the topic.")
    else:
        yield ok(check, "this user may read the topics")
    if any(str(d.topic_id) in ("", "None", "AAAAAAAAAAAAAAAAAAAAAA") for d in described):
        yield warn(
            "topic ids",
            "the broker gives topics no ids, so a recreated topic cannot be told from the old one",
            "Use Kafka 2.8 or newer.",
        )


def _lacks(allowed: Iterable[object] | None, operation: AclOperation) -> bool:
    """Whether the broker says that the operation is not allowed; a broker that says nothing is believed to allow it."""
    found = set(allowed or ())
    return bool(found) and operation not in found and AclOperation.ALL not in found


def _clock(stream: Stream, admin: AdminClient, partitions: Iterable[TopicPartition]) -> Iterator[Finding]:
    """The newest message's timestamp against our clock. Kafka has no way to ask a broker for its time without writing,
    and what runs compare with our clock (how long messages wait, which window they are in) is these timestamps."""
    check = f"clocks of {stream.name}"
    wanted = {KafkaTopicPartition(*tp): OffsetSpec.max_timestamp() for tp in partitions}
    try:
        answers = [f.result() for f in admin.list_offsets(wanted, request_timeout=ANSWER_SECONDS).values()]
    except KafkaException as error:
        yield warn(
            check, f"the newest timestamps cannot be asked for: {error.args[0].str()}", "Use Kafka 3.0 or newer."
        )
        return
    newest = max((a.timestamp for a in answers), default=-1)
    ahead = newest / 1000 - dt.datetime.now(dt.timezone.utc).timestamp()
    if newest < 0:
        yield ok(check, "no message yet to compare clocks with")
    elif ahead > AHEAD_SECONDS:
        yield warn(
            check,
            f"the newest message is {ahead:,.0f} s in the future",
            "Synchronise the clocks (NTP) of producers, brokers and this machine; such messages count to the present window.",
        )
    else:
        yield ok(check, f"no message is from the future; the newest is {-ahead:,.0f} s old")


def _group(
    stream: Stream,
    group_id: str,
    metadata: KafkaMetadata,
    partitions: Collection[TopicPartition],
    describe: Callable[[str], GroupState | None],
) -> Iterator[Finding]:
    check = f"group {group_id} of {stream.name}"
    fix = f"Add an ACL for this user: READ and DESCRIBE on group {group_id}."
    try:
        committed = metadata.group_offsets(group_id, partitions)
        group = describe(group_id)
    except KafkaUnavailable as error:
        yield fail(check, str(error), "Is the broker that coordinates the group up? Try again.")
        return
    except KafkaIngestError as error:
        yield fail(check, str(error), fix)
        return
    if group is None:
        yield ok(check, "does not exist yet: the first run makes it")
    elif _lacks(group.operations, AclOperation.READ):
        yield fail(check, "this user may not commit offsets of the group", fix)
    elif group.client_ids:
        yield fail(
            check,
            f"another consumer is a live member ({', '.join(group.client_ids[:3])}), so commits will be refused",
            "Stop it, or set KAFKA_GROUP_ID (or the stream's group_id) to a group of its own.",
        )
    else:
        yield ok(check, f"offsets of {len(committed)} of {len(partitions)} partition(s) are committed, no other member")
