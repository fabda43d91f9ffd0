"""Does Kafka's copy of the position agree with the ledger's?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from kafka_ingest.checks.run_ledger import CheckResult
from kafka_ingest.engine.stream_state import group_of, read_next_offsets
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream

# Between the database's commit and Kafka's there is a moment; another run of the stream may be in it.
LOOKS = 3
LOOK_SECONDS = 0.5


def check_consumer_group(
    sink: Sink,
    stream: Stream,
    settings: Settings,
    metadata: KafkaMetadata,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> CheckResult:
    """The consumer group's offset of each Kafka partition that exists is the ledger's next offset.

    Looks up to three times, half a second apart. Raises KafkaUnavailable, AccessDenied and the database's errors.
    """
    group_id = group_of(stream, settings)
    for look in range(LOOKS):
        if look:
            sleep(LOOK_SECONDS)
        # Kafka forgets the group's offsets of a topic that is deleted; the ledger keeps its position.
        existing = set(metadata.topics(stream).partitions)
        before = {tp: offset for tp, offset in read_next_offsets(sink, stream).items() if tp in existing}
        committed = metadata.group_offsets(group_id, before)
        after = read_next_offsets(sink, stream)
        faults = tuple(_faults(group_id, before, committed, after))
        if not faults:
            break
    return CheckResult(len(before), faults, {"consumer_group": group_id})


def _faults(
    group_id: str,
    before: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, int],
    after: Mapping[TopicPartition, int],
) -> list[str]:
    """The ledger was read before and after the group, so what a run commits meanwhile is no fault."""
    faults = []
    for tp, offset in sorted(before.items()):
        at = committed.get(tp)
        if at is None:
            if offset:  # a partition nothing was ever loaded from
                faults.append(f"{tp}: consumer group {group_id} has no offset, the ledger {offset}")
        elif at < offset:
            faults.append(
                f"{tp}: consumer group {group_id} is {offset - at} offsets behind the ledger ({at} of {offset})"
            )
        elif at > after.get(tp, offset):
            faults.append(
                f"{tp}: consumer group {group_id} is {at - after.get(tp, offset)} offsets ahead of the ledger "
                f"({at}, ledger {after.get(tp, offset)}): something else commits to it, or the ledger was set back"
            )
    return faults
