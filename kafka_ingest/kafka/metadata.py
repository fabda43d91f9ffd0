"""What the cluster says about topics, without reading a message: partitions, topic ids, offsets by end and by time."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import DescribeClusterResult, ListOffsetsResultInfo, OffsetSpec, TopicDescription

from kafka_ingest.kafka.admin import AskingAdmin
from kafka_ingest.kafka.errors import kafka_errors
from kafka_ingest.kafka.group_offsets import read_group_offsets
from kafka_ingest.kafka.timeouts import request_timeout
from kafka_ingest.settings import Settings
from kafka_ingest.slices import MAX_ORDER, NO_ORDER, TopicPartition
from kafka_ingest.streams.stream import Stream

_CONSUMER_ONLY = frozenset({"group.id", "auto.offset.reset"})
# Of a topic: nobody has made it, or the broker is making it at this moment.
_NOT_THERE_YET = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE})
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

# librdkafka logs connection trouble on stderr unless given a logger; the error itself reaches the caller anyway.
LOGGER = logging.getLogger("kafka_ingest.kafka")


_ListedOffsets = Mapping[KafkaTopicPartition, "Future[ListOffsetsResultInfo]"]


@dataclass(frozen=True, slots=True)
class TopicState:
    """Topics of a stream that exist: their partitions and the ids by which a recreated topic is told from the old."""

    partitions: tuple[TopicPartition, ...]
    topic_ids: Mapping[str, str]
    missing: tuple[str, ...]
    """Declared topics (or the pattern) that nothing matches yet."""


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Log start and end of one partition: offsets `[low, high)` can be read. `high` is the last stable offset, so no
    message of an open transaction lies below it."""

    low: int
    high: int


def plain_client_properties(settings: Settings) -> dict[str, str]:
    """The settings that a producer or admin client takes."""
    return {k: v for k, v in settings.kafka.items() if k not in _CONSUMER_ONLY}


def client_properties(settings: Settings) -> dict[str, object]:
    """The same, with what is logged going to LOGGER."""
    return {**plain_client_properties(settings), "logger": LOGGER}


class KafkaMetadata:
    """One admin client, reused between calls; every call covers all partitions at once.

    Every method raises KafkaUnavailable (at the latest when `request_timeout` says so), AccessDenied or ConfigError.
    """

    def __init__(self, settings: Settings) -> None:
        self._admin = AskingAdmin(client_properties(settings))
        self._properties = dict(settings.kafka) | {"logger": LOGGER}
        self._servers = settings.bootstrap_servers

    def cluster_id(self) -> str | None:
        """The id the cluster got with its storage; None where the brokers, or what stands before them, say none."""

        def request(seconds: float) -> DescribeClusterResult:
            answer: Future[DescribeClusterResult] = self._admin.client.describe_cluster(request_timeout=seconds)
            return answer.result()

        doing = f"asking {self._servers} for the cluster's id"
        return self._admin.ask(doing, request_timeout(), request).cluster_id or None

    def topics(self, stream: Stream) -> TopicState:
        """The stream's topics as they are now. Only a pattern needs the names of all topics of the cluster."""
        names = self._listed([stream]) if stream.is_pattern else stream.topic_names
        found = self._describe(names)
        partitions = tuple(
            TopicPartition(n, p) for n in sorted(found) for p in sorted(p.id for p in found[n].partitions)
        )
        missing = tuple(n for n in stream.topic_names if n not in found) if not stream.is_pattern or not found else ()
        return TopicState(partitions, {name: str(each.topic_id) for name, each in found.items()}, missing)

    def first_timestamps(self, streams: Sequence[Stream], instant: dt.datetime) -> dict[str, dt.datetime]:
        """Per stream, by name, the timestamp of the first message at or after `instant` in its partitions' logs, the earliest of
        them; streams without one are left out. Two requests for all of them, three where one is a pattern."""
        patterns = [stream for stream in streams if stream.is_pattern]
        listed = self._listed(patterns) if patterns else []
        declared = {name for stream in streams if not stream.is_pattern for name in stream.topic_names}
        described = self._describe({*listed, *declared})
        partitions = [TopicPartition(name, p.id) for name, each in described.items() for p in each.partitions]
        found = self.first_later(dict.fromkeys(partitions, _milliseconds(instant) - 1))
        first: dict[str, dt.datetime] = {}
        for stream in streams:
            stamps = [
                min(stamp, MAX_ORDER) for tp, (_, stamp) in found.items() if stamp >= 0 and stream.takes_topic(tp.topic)
            ]
            if stamps:
                first[stream.name] = _EPOCH + dt.timedelta(milliseconds=min(stamps))
        return first

    def topic_ids(self, names: Collection[str]) -> dict[str, str]:
        """Ids of those of these topics that exist. An id is given once: a topic that is made again gets another."""
        return {name: str(each.topic_id) for name, each in self._describe(names).items()}

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        """The partitions of a topic, in order; none where it does not exist."""
        found = self._describe([topic])
        return tuple(TopicPartition(topic, p) for each in found.values() for p in sorted(p.id for p in each.partitions))

    def _listed(self, streams: Collection[Stream]) -> list[str]:
        """Names of the topics that the patterns of these streams take."""
        doing = f"listing topics of {self._servers}"
        listed = self._admin.list_topics(doing, timeout=request_timeout()).topics
        return [n for n, topic in listed.items() if topic.error is None and any(s.takes_topic(n) for s in streams)]

    def _describe(self, names: Collection[str]) -> dict[str, TopicDescription]:
        """What is known of those of these topics that exist. AccessDenied for one that this user may not see."""

        def request(seconds: float) -> dict[str, TopicDescription]:
            described = {}
            futures = self._admin.client.describe_topics(TopicCollection(list(names)), request_timeout=seconds)
            for name, future in futures.items():
                with kafka_errors(f"describing topic {name} at {self._servers}"):
                    try:
                        described[name] = future.result()
                    except KafkaException as error:
                        if error.args[0].code() not in _NOT_THERE_YET:
                            raise
                        LOGGER.debug("topic %s: %s", name, error)
            return described

        return self._admin.ask(f"describing topics at {self._servers}", request_timeout(), request) if names else {}

    def watermarks(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        """Log start and last stable offset of each partition. Those that do not exist (any more) are left out."""
        low, high = self._list_offsets(list(partitions), OffsetSpec.earliest(), OffsetSpec.latest())
        return {tp: Watermarks(low[tp], max(low[tp], high[tp])) for tp in low if tp in high}

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Last stable offset of each partition. Those that do not exist (any more) are left out."""
        return self._list_offsets(list(partitions), OffsetSpec.latest())[0]

    def offsets_for_instants(
        self, partitions: Iterable[TopicPartition], *instants: dt.datetime
    ) -> list[dict[TopicPartition, int]]:
        """For each instant, per partition the first offset whose message has a timestamp at or after it; -1 where none has."""
        specs = [OffsetSpec.for_timestamp(_milliseconds(instant)) for instant in instants]
        return self._list_offsets(list(partitions), *specs, may_be_gone=False)

    def offsets_for_time(self, partitions: Iterable[TopicPartition], instant: dt.datetime) -> dict[TopicPartition, int]:
        """`offsets_for_instants` for one."""
        return self.offsets_for_instants(partitions, instant)[0]

    def first_later(self, timestamps: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[int, int]]:
        """Per partition the offset and the timestamp, in milliseconds, of the first message later than a timestamp (NO_ORDER: of
        the first one); both -1 where there is none. One request."""
        if not timestamps:
            return {}
        doing = f"asking for the first later messages of {len(timestamps)} partition(s)"
        with self._admin.asking(doing):
            answers = self._ask({tp: OffsetSpec.for_timestamp(stamp + 1) for tp, stamp in timestamps.items()})
            found = {TopicPartition(asked.topic, asked.partition): future.result() for asked, future in answers.items()}
        return {tp: (int(each.offset), int(each.timestamp)) for tp, each in found.items()}

    def largest_timestamps_below(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Per partition the largest timestamp, in milliseconds, of the messages below an offset; NO_ORDER where there is none.

        By bisection: the first offset with a timestamp of `t` or later (the answer of Kafka's ListOffsets) lies below the
        offset just where some message there has one.
        """
        low = dict.fromkeys(offsets, NO_ORDER)
        high = dict.fromkeys(offsets, MAX_ORDER + 1)
        while asked := [tp for tp in offsets if high[tp] - low[tp] > 1]:
            middle = {tp: (low[tp] + high[tp]) // 2 for tp in asked}
            doing = f"asking for the offsets of {len(asked)} partition(s) by time"
            with self._admin.asking(doing):
                answers = self._ask({tp: OffsetSpec.for_timestamp(middle[tp]) for tp in asked})
                first = _offsets(answers, doing, may_be_gone=False)
            for tp in asked:
                if 0 <= first[tp] < offsets[tp]:
                    low[tp] = middle[tp]
                else:
                    high[tp] = middle[tp]
        return low

    def _list_offsets(
        self, wanted: list[TopicPartition], *specs: OffsetSpec, may_be_gone: bool = True
    ) -> list[dict[TopicPartition, int]]:
        """Offsets by each spec, the requests under way at once; KafkaUnavailable for a partition that is gone and may
        not be."""
        if not wanted:
            return [{} for _ in specs]
        doing = f"asking for the offsets of {len(wanted)} partition(s)"
        with self._admin.asking(doing):
            answers = [self._ask(dict.fromkeys(wanted, spec)) for spec in specs]
            return [_offsets(futures, doing, may_be_gone) for futures in answers]

    def _ask(self, specs: Mapping[TopicPartition, OffsetSpec]) -> _ListedOffsets:
        """One request that is under way."""
        futures: _ListedOffsets = self._admin.client.list_offsets(
            {KafkaTopicPartition(tp.topic, tp.partition): spec for tp, spec in specs.items()},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=request_timeout(),
        )
        return futures

    def group_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Offsets the consumer group has committed; partitions without one are left out."""
        return read_group_offsets(self._properties, group_id, partitions)


def _milliseconds(instant: dt.datetime) -> int:
    """The first whole millisecond at or after the instant, in integers."""
    return max(0, -((_EPOCH - instant) // dt.timedelta(milliseconds=1)))


def _offsets(futures: _ListedOffsets, doing: str, may_be_gone: bool) -> dict[TopicPartition, int]:
    found = {}
    for asked, future in futures.items():
        with kafka_errors(f"{doing}, {asked.topic}[{asked.partition}]"):
            try:
                found[TopicPartition(asked.topic, asked.partition)] = int(future.result().offset)
            except KafkaException as error:
                if not may_be_gone or error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                LOGGER.debug("%s[%s]: %s", asked.topic, asked.partition, error)
    return found
