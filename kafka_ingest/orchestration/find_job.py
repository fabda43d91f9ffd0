"""The job that says what became of a message: one op over `checks.find`. It writes nothing but its own metadata."""

# No `from __future__ import annotations` here: Dagster reads the op's annotations as they stand.
import json
from contextlib import closing
from enum import Enum
from typing import cast

import dagster as dg
from pydantic import Field

from kafka_ingest.backfill.selection import TIME_EXAMPLE, parse_time
from kafka_ingest.checks.fate import FoundMessage
from kafka_ingest.checks.find import Answer, answer_document, find, streams_of_topic
from kafka_ingest.checks.message_search import DEFAULT_LAST, MAX_LIMIT, Bounds, Meant, as_text, wanted_of
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import KIND_TAG, STREAM_TAG, Metadata
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.settings import MonitoringSettings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import ranges_text

_TEXT_CHARACTERS = 300
_LOGGED = 10


class SearchedBy(Enum):
    """What the text is; Dagster shows the names."""

    auto = "auto"
    key = "key"
    field = "field"
    offset = "offset"


class FindConfig(dg.Config):
    """Which message. The rest bounds how much of the topic is searched."""

    topic: str = Field(description="A topic that the stream reads.", min_length=1, max_length=249)
    text: str = Field(
        description="A message key; FIELD=VALUE with dots in the field's path; or an offset, as 1234 (in each partition), 3:1234 "
        "or topic[3]@1234.",
        min_length=1,
        max_length=10_000,
    )
    meant: SearchedBy = Field(
        default=SearchedBy.auto,
        description="What the text is. auto: digits are an offset, NAME=VALUE a field, anything else a key.",
    )
    time_from: str | None = Field(
        default=None,
        description=f"Search from this Kafka timestamp on: {TIME_EXAMPLE}; UTC where it has no zone.",
        max_length=64,
    )
    time_to: str | None = Field(default=None, description="Up to this Kafka timestamp (exclusive).", max_length=64)
    last: int | None = Field(
        default=None,
        description=f"Search the last so many offsets of each partition. Left out: {DEFAULT_LAST:,}; all where a time is given.",
        ge=1,
        le=1_000_000_000,
    )
    limit: int = Field(default=20, description="Messages shown at most, the newest.", ge=1, le=MAX_LIMIT)


def find_job(placed: PlacedStream, monitoring: MonitoringSettings) -> dg.JobDefinition:
    """`find_message_<stream>`: its launchpad is what is searched; the result is the op's metadata."""

    stream, names = placed.stream, placed.names
    op = f"{placed.graph}_find_message"

    @dg.op(
        name=op,
        required_resource_keys=names.connections,
        description="Finds messages in Kafka and says of each what became of it: row, superseded or deleted by which message, "
        "dead letter, ignored, waiting, gone.",
        out=dg.Out(dg.Nothing),
    )
    def run(context: dg.OpExecutionContext, config: FindConfig) -> None:
        settings = settings_of(context.resources, names)
        with op_errors(context), closing(open_sink(settings.database_url)) as sink:
            streams_of_topic({stream.name: stream}, config.topic)
            meant = None if config.meant is SearchedBy.auto else cast("Meant", config.meant.value)
            wanted = wanted_of(config.topic, config.text, meant)
            bounds = Bounds(
                parse_time("time_from", config.time_from), parse_time("time_to", config.time_to), config.last
            )
            answer = find(
                stream,
                config.topic,
                wanted,
                bounds,
                metadata=KafkaMetadata(settings),
                sink=sink,
                settings=settings,
                limit=config.limit,
            )
        context.log.info(f"{as_text(wanted)}: {answer.reading.matched} messages of {answer.reading.messages} searched")
        for each in answer.found[-_LOGGED:]:  # the page shows the table after a click only
            context.log.info(f"{each.position} is {code(each.text, limit=_TEXT_CHARACTERS)}")
        context.add_output_metadata(_metadata(answer, monitoring))

    @dg.job(
        name=names.find_job(stream),
        description=f"Says what became of a message of stream {stream.name}: why is a row missing? Writes nothing.",
        tags={STREAM_TAG: placed.tag, KIND_TAG: "find"},
        executor_def=dg.in_process_executor,
        # What the launchpad begins with, to be written into.
        config={"ops": {op: {"config": {"topic": "" if stream.is_pattern else stream.topic_names[0], "text": ""}}}},
    )
    def job() -> None:
        run()

    return job


def _metadata(answer: Answer, known: MonitoringSettings) -> Metadata:
    lines = ["| position | became | table | business key | loaded by |", "|---|---|---|---|---|"]
    lines += [_line(each, known) for each in answer.found]
    return {
        "found": dg.MetadataValue.md("\n".join(lines) if answer.found else "no message was found"),
        "matched": answer.reading.matched,
        "searched_messages": answer.reading.messages,
        "undecodable": answer.reading.undecodable,
        "searched": ranges_text(answer.reading.ranges),
        "details": dg.MetadataValue.json(json.loads(json.dumps(answer_document(answer, known.run_link)))),
    }


def _line(found: FoundMessage, known: MonitoringSettings) -> str:
    key = "" if found.key is None else code(", ".join(f"{n}={v}" for n, v in found.key.items()))
    run_id = found.loads[0].run_id if found.loads else None
    url = None if run_id is None else known.run_link(run_id)
    run = "" if run_id is None else code(run_id) if url is None else f"[{code(run_id)}]({url})"
    became = f"{found.fate}: {code(found.text, limit=_TEXT_CHARACTERS)}"
    return f"| {code(str(found.position))} | {became} | {'' if found.table is None else code(found.table)} | {key} | {run} |"
