"""One consumer for several streams: each reads its own partitions as if it had a consumer to itself.

A consumer of its own for each of a hundred streams would be some hundred connections, and as many threads. Streams that took
turns with one that is assigned anew each time would wait a second at each turn, as librdkafka asks for a topic's leaders by a
clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition, Lock, RLock

from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.client_protocols import AssigningConsumer, KafkaMessage
from kafka_ingest.slices import TopicPartition

# What is fetched for a stream whose turn it is not, per partition, before that is paused.
HELD_MESSAGES = 2_000
HELD_BYTES = 4 * 1024 * 1024
# Whoever reads asks for so many at once, for all; and waits for them so long at a time, as an assignment waits for him.
_AT_ONCE = 2_000
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class _Partition:
    owner: StreamConsumer
    messages: int = 0
    """Held for its owner; with their bytes."""
    held_bytes: int = 0
    is_held_back: bool = False
    """Paused as its owner does not take what was fetched."""
    is_paused: bool = False
    """By its owner."""


@dataclass(slots=True)
class SharedConsumer:
    """Wraps an assigning consumer. Threads may use its `StreamConsumer`s at the same time, each by one thread."""

    consumer: AssigningConsumer
    _partitions: dict[TopicPartition, _Partition] = field(default_factory=dict)
    _polling: RLock = field(default_factory=RLock)
    """Held while messages are fetched and handed out, and while what is fetched changes: so none is handed out that was fetched
    for an earlier assignment."""
    _arrived: Condition = field(default_factory=lambda: Condition(Lock()))

    def of_stream(self, name: str) -> StreamConsumer:
        """A consumer for one stream; name: for errors."""
        return StreamConsumer(self, name)

    def close(self) -> None:
        """Close the wrapped consumer, and with it all."""
        with self._polling:
            self.consumer.close()

    def assign(self, owner: StreamConsumer, wanted: list[KafkaTopicPartition]) -> None:
        """Raises ConfigError for a partition that another stream reads."""
        with self._polling:
            for each in wanted:
                known = self._partitions.get(_key(each))
                if known is not None:
                    raise ConfigError(
                        f"streams {known.owner.name} and {owner.name} both read {each.topic!r} with one consumer group; give one "
                        "of them a group_id of its own",
                        stream=owner.name,
                        setting="group_id",
                    )
            self.consumer.incremental_assign(wanted)
            self._partitions |= {_key(each): _Partition(owner) for each in wanted}

    def unassign(self, owner: StreamConsumer, unwanted: list[KafkaTopicPartition]) -> None:
        with self._polling:
            states = [(each, self._partitions[_key(each)]) for each in unwanted]
            paused = [each for each, state in states if state.is_held_back or state.is_paused]
            if paused:
                self.consumer.resume(paused)  # else it would be paused as it is assigned again
            self.consumer.incremental_unassign(unwanted)
            with self._arrived:
                gone = {_key(each) for each in unwanted}
                for tp in gone:
                    del self._partitions[tp]
                owner.queue = deque(m for m in owner.queue if _of(m) not in gone)

    def assigned(self, owner: StreamConsumer) -> list[KafkaTopicPartition]:
        with self._polling:
            return [KafkaTopicPartition(*tp) for tp, each in self._partitions.items() if each.owner is owner]

    def set_paused(self, wanted: list[KafkaTopicPartition], is_paused: bool) -> None:
        """As its owner says. One that is held back as well stays so until its owner has taken what there is."""
        with self._polling:
            changed = [each for each in wanted if not self._partitions[_key(each)].is_held_back]
            for each in wanted:
                self._partitions[_key(each)].is_paused = is_paused
            if changed:
                (self.consumer.pause if is_paused else self.consumer.resume)(changed)

    def consume(self, owner: StreamConsumer, count: int, seconds: float) -> Sequence[KafkaMessage]:
        """What has come for one stream; where there is nothing, fetch for all until there is, or the time is up."""
        deadline = time.monotonic() + seconds
        while not (found := self._take(owner, count)):
            left = max(0.0, deadline - time.monotonic())
            if self._polling.acquire(blocking=False):
                try:
                    self._hand_out(self.consumer.consume(_AT_ONCE, min(left, _POLL_SECONDS)), reading=owner)
                finally:
                    self._polling.release()
            else:
                with self._arrived:  # another thread fetches
                    if not owner.queue:
                        self._arrived.wait(min(left, _POLL_SECONDS))
            if time.monotonic() >= deadline:
                return self._take(owner, count)
        return found

    def _hand_out(self, messages: Sequence[KafkaMessage], reading: StreamConsumer) -> None:
        """To each its own; reading: gets what concerns no partition, as the trouble of a connection."""
        full = []
        with self._arrived:
            for message in messages:
                if message.topic() is None:
                    reading.queue.append(message)
                    continue
                state = self._partitions.get(_of(message))
                if state is None:
                    continue
                state.owner.queue.append(message)
                if message.error() is None:
                    state.messages += 1
                    state.held_bytes += len(message)
                    if not state.is_held_back and (state.messages >= HELD_MESSAGES or state.held_bytes >= HELD_BYTES):
                        state.is_held_back = True
                        if not state.is_paused:
                            full.append(_of(message))
            self._arrived.notify_all()
        if full:
            self.consumer.pause([KafkaTopicPartition(*tp) for tp in full])

    def _take(self, owner: StreamConsumer, count: int) -> list[KafkaMessage]:
        """The first of what is held for a stream."""
        with self._arrived:
            found = [owner.queue.popleft() for _ in range(min(count, len(owner.queue)))]
            emptied = []
            for message in found:
                state = self._partitions.get(_of(message))
                if state is None or message.error() is not None:
                    continue
                state.messages -= 1
                state.held_bytes -= len(message)
                if state.is_held_back and not state.messages:
                    emptied.append(_of(message))
        if emptied:
            self._go_on(emptied)
        return found

    def _go_on(self, partitions: Sequence[TopicPartition]) -> None:
        with self._polling:
            resumed = []
            for tp in partitions:
                state = self._partitions.get(tp)
                if state is not None and state.is_held_back and not state.messages:
                    state.is_held_back = False
                    if not state.is_paused:
                        resumed.append(KafkaTopicPartition(*tp))
            if resumed:
                self.consumer.resume(resumed)


@dataclass(eq=False, slots=True)
class StreamConsumer:
    """One stream's part of a shared consumer: an `AssigningConsumer`."""

    shared: SharedConsumer
    name: str
    queue: deque[KafkaMessage] = field(default_factory=deque)
    """Fetched and not taken, in the order they came; the shared consumer's."""

    def consume(self, num_messages: int, timeout: float, /) -> Sequence[KafkaMessage]:
        """At most so many of this stream's messages, and what comes in a message's place; the first of them are waited for."""
        return self.shared.consume(self, num_messages, timeout)

    def incremental_assign(self, partitions: list[KafkaTopicPartition], /) -> None:
        self.shared.assign(self, partitions)

    def incremental_unassign(self, partitions: list[KafkaTopicPartition], /) -> None:
        self.shared.unassign(self, partitions)

    def pause(self, partitions: list[KafkaTopicPartition], /) -> None:
        self.shared.set_paused(partitions, True)

    def resume(self, partitions: list[KafkaTopicPartition], /) -> None:
        self.shared.set_paused(partitions, False)

    def close(self) -> None:
        """Read nothing more. Idempotent; the shared consumer stays."""
        assigned = self.shared.assigned(self)
        if assigned:
            self.shared.unassign(self, assigned)


def _key(each: KafkaTopicPartition) -> TopicPartition:
    return TopicPartition(each.topic, each.partition)


def _of(message: KafkaMessage) -> TopicPartition:
    return TopicPartition(message.topic() or "", -1 if (p := message.partition()) is None else p)
