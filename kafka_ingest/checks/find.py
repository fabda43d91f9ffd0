"""Why is a row missing? What became of messages: found in Kafka, and looked up in the ledger and the tables. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from kafka_ingest.checks.fate import Fate, FateFinder, FoundMessage
from kafka_ingest.checks.message_search import AtOffset, Bounds, Message, MessagesRead, Wanted, search
from kafka_ingest.checks.today import Today, outcomes_today
from kafka_ingest.checks.trace import LoadDocument, key_document, load_document
from kafka_ingest.engine.stream_state import observe
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.ledger.dead_letters import bytes_document
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import OffsetRange, Position, TopicPartition
from kafka_ingest.streams.stream import Stream


@dataclass(frozen=True, slots=True)
class Answer:
    """What was searched and what was found."""

    stream: str
    topic: str
    reading: MessagesRead
    found: tuple[FoundMessage, ...]
    """In order of position; of the messages that matched the newest."""


def streams_of_topic(streams: Mapping[str, Stream], topic: str) -> list[Stream]:
    """The streams that read a topic. Raises ConfigError where none does."""
    found = [stream for stream in streams.values() if stream.takes_topic(topic)]
    if not found:
        read = ", ".join(sorted({stream.topic_text for stream in streams.values()}))
        raise ConfigError(f"no stream reads a topic {topic!r}; topics: {read}", setting="topic")
    return found


def find(
    stream: Stream,
    topic: str,
    wanted: Wanted,
    bounds: Bounds,
    *,
    metadata: KafkaMetadata,
    sink: Sink,
    settings: Settings,
    limit: int = 20,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Answer:
    """What became of the messages of a topic that are meant, at most `limit` of them, the newest.

    bounds: how much of the log is searched by key or field; an offset needs no search.
    Raises ConfigError for a topic or a partition that does not exist, and what broken infrastructure raises.
    """
    state = observe(stream, metadata, sink, settings)
    marks = {tp: log for tp, log in state.watermarks.items() if tp.topic == topic}
    if not marks:
        raise ConfigError(
            f"topic {topic!r} does not exist at {settings.bootstrap_servers}; check its name and KAFKA_BOOTSTRAP_SERVERS",
            stream=stream.name,
            setting="topic",
        )
    asked: list[Position] = []
    if isinstance(wanted, AtOffset):
        asked = _positions(topic, wanted, marks)
        at = {p.topic_partition: p.offset for p in asked}
        ranges = tuple(OffsetRange(*tp, o, o + 1) for tp, o in at.items() if marks[tp].low <= o < marks[tp].high)
        limit = max(limit, len(asked))
    else:
        ranges = bounds.ranges(marks, metadata)
    reading = search(stream, ranges, wanted, settings=settings, limit=limit, on_progress=on_progress)
    messages = sorted(reading.found, key=lambda message: message.position)
    today, trouble = outcomes_today(stream, messages, schema_finder(settings))
    known: dict[Position, tuple[Message | None, Today | None]] = dict.fromkeys(asked, (None, None))
    known |= {message.position: (message, today.get(n)) for n, message in enumerate(messages)}
    with sink.errors(f"looking for messages of stream {stream.name}"), sink.snapshot() as connection:
        fates = FateFinder(connection, stream, state, metadata, trouble)
        found = tuple(fates.of(position, *known[position]) for position in sorted(known))
    return Answer(stream.name, topic, reading, found)


def _positions(topic: str, wanted: AtOffset, marks: Mapping[TopicPartition, object]) -> list[Position]:
    partitions = sorted(tp.partition for tp in marks)
    if wanted.partition is not None and wanted.partition not in partitions:
        raise ConfigError(
            f"topic {topic!r} has no partition {wanted.partition}; it has {partitions[0]} to {partitions[-1]}",
            setting="partition",
        )
    chosen = partitions if wanted.partition is None else [wanted.partition]
    return [Position(topic, partition, wanted.offset) for partition in chosen]


class DeadLetterDocument(TypedDict):
    id: int
    stage: str
    error: str
    attempts: int
    outcome: str | None


class FoundDocument(TypedDict):
    topic: str
    partition: int
    offset: int
    fate: Fate
    text: str
    timestamp: str | None
    message_key: dict[str, str | None] | None
    table: str | None
    key: object
    by: str | None
    dead_letter: DeadLetterDocument | None
    advice: str | None
    loads: list[LoadDocument]


class AnswerDocument(TypedDict):
    stream: str
    topic: str
    ranges: list[dict[str, object]]
    messages: int
    undecodable: int
    matched: int
    found: list[FoundDocument]


def answer_document(answer: Answer, link: Callable[[str], str | None]) -> AnswerDocument:
    """For programs. Names and meanings stay; new ones may come.

    `ranges`: what was read of the log, the end exclusive. `messages`: how many it held; `undecodable` of them are not of the
    stream's format and were not searched for a field. `matched`: how many are meant; `found` has the newest of them, and the
    offsets asked for.
    """
    return {
        "stream": answer.stream,
        "topic": answer.topic,
        "ranges": [
            {"topic": r.topic, "partition": r.partition, "start": r.start, "end": r.end} for r in answer.reading.ranges
        ],
        "messages": answer.reading.messages,
        "undecodable": answer.reading.undecodable,
        "matched": answer.reading.matched,
        "found": [_found_document(each, link) for each in answer.found],
    }


def _found_document(found: FoundMessage, link: Callable[[str], str | None]) -> FoundDocument:
    letter = found.dead_letter
    return {
        "topic": found.position.topic,
        "partition": found.position.partition,
        "offset": found.position.offset,
        "fate": found.fate,
        "text": found.text,
        "timestamp": None if found.timestamp is None else found.timestamp.isoformat(),
        "message_key": bytes_document(found.message_key),
        "table": found.table,
        "key": key_document(found.key),
        "by": None if found.by is None else str(found.by),
        "dead_letter": None
        if letter is None
        else {
            "id": letter.id,
            "stage": letter.stage,
            "error": letter.error,
            "attempts": letter.attempts,
            "outcome": letter.replay_outcome,
        },
        "advice": found.advice,
        "loads": [load_document(each, link) for each in found.loads],
    }
