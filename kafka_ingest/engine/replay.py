"""Replay: the original bytes of dead letters through today's code, each at most once a run. No Dagster and no Kafka here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import (
    Condition,
    DeadLetterFilter,
    conditions,
    not_tried_by,
    tried_by,
    up_to,
)
from kafka_ingest.ledger.dead_letters import StoredDeadLetter
from kafka_ingest.ledger.version import require_present
from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder, no_schemas
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load import LoadContext
from kafka_ingest.sinks.replay_proposal import ReplayResult, raw_slice_of, replay_slice
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.stream import Stream

# A slice's dead letters may lie scattered over the log, each a range of its own in the ledger, so slices are small.
SLICE_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would take: the dead letters that wait now and answer to the filter."""

    stream: Stream
    where: Condition
    letters: int
    left_out: Mapping[str, int]
    """Topic the stream no longer reads → its dead letters, which are left alone."""
    find_schemas: FindSchemas = no_schemas
    """Where the writers' schemas are found, as for a run."""


def plan_replay(
    sink: Sink,
    stream: Stream,
    wanted: DeadLetterFilter,
    *,
    run_id: str,
    limit: int | None = None,
    find_schemas: FindSchemas = no_schemas,
) -> ReplayPlan:
    """Reads only. Dead letters recorded later, and those this run has replayed before (where its op is tried again), are
    not part of it; `limit` counts the latter too.

    Raises ConfigError where the dead letters asked for are all of topics the stream no longer reads.
    """
    wanted = replace(wanted, stream=stream.name, status="waiting")
    with sink.errors(f"looking for dead letters of stream {stream.name}"), sink.engine.connect() as connection:
        if not dead_letters.has_dead_letters_table(connection):
            return ReplayPlan(stream, sa.false(), 0, {})
        where = conditions(wanted)
        where = sa.and_(where, up_to(dead_letters.last_id(connection, where)), not_tried_by(run_id))
        by_topic = dead_letters.count_by_topic(connection, where)
        tried = dead_letters.count(connection, tried_by(run_id)) if limit is not None else 0
    foreign = {topic: number for topic, number in by_topic.items() if not stream.takes_topic(topic)}
    own = [topic for topic in by_topic if topic not in foreign]
    if foreign:
        named = sorted(foreign.keys() & set(wanted.topics))
        if named or not own:
            raise ConfigError(
                f"stream {stream.name} no longer reads topic {', '.join(named or sorted(foreign))}, so nothing says what its "
                f"dead letters should become; it reads {stream.topic_text}. Add the topic to the stream, or read them with "
                "`kafka-ingest dead-letters show --raw`.",
                stream=stream.name,
                setting="topics",
            )
        where = conditions(replace(wanted, topics=tuple(own))) & where
    number = sum(by_topic[topic] for topic in own)
    return ReplayPlan(
        stream, where, number if limit is None else min(number, max(0, limit - tried)), foreign, find_schemas
    )


def replay(
    sink: Sink,
    plan: ReplayPlan,
    *,
    run_id: str,
    dry_run: bool = False,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc),
    at_step: Callable[[str], None] = lambda _step: None,
) -> Iterator[ReplayResult]:
    """Replay the plan's dead letters, slice by slice, each its own transaction.

    1. make the ledger and the tables fit (not in a dry run)
    2. read the next dead letters, bounded by rows and bytes, in order of their ids; the end where none is left
    3. decode them and run the stream's steps, outside any transaction
    4. `sinks.replay_proposal.replay_slice`: apply and mark them, in one; back to 2

    A crash anywhere loses at most the slice in hand, whose dead letters still wait. One that fails again waits again, with its
    new error; one that became a row, a delete or ignored is never taken again. `max_dead_letter_ratio` does not apply.

    Raises SchemaMismatch, StepError, and what `sinks.replay_proposal.replay_slice` raises.
    """
    stream = plan.stream
    if not plan.letters:
        return
    if dry_run:
        with sink.errors(f"reading the ledger of stream {stream.name}"), sink.engine.connect() as connection:
            require_present(connection)
    else:
        prepare_tables(sink, stream)  # 1
    decoder = StreamDecoder(stream, plan.find_schemas)
    context = LoadContext(stream, run_id, now=now, at_step=at_step)
    left, after_id = plan.letters, 0
    while left > 0 and (found := _next(sink, plan, after_id, left)):  # 2
        after_id = max(letter.id for letter in found)
        found.sort(key=lambda letter: (letter.topic_partition, letter.kafka_offset))
        for part in decoder.decode_all(raw_slice_of(found)):
            own, found = found[: len(part.raw)], found[len(part.raw) :]
            parsed = run_pipeline(part, stream)  # 3
            result = replay_slice(sink, parsed, own, plan.where, context, dry_run=dry_run)  # 4
            left -= len(result.letters)
            yield result


def _next(sink: Sink, plan: ReplayPlan, after_id: int, left: int) -> list[StoredDeadLetter]:
    policy = plan.stream.batch
    rows = min(left, policy.max_rows, SLICE_ROWS)
    with sink.errors(f"reading dead letters of stream {plan.stream.name}"), sink.engine.connect() as connection:
        return dead_letters.next_slice(
            connection, plan.where, after_id=after_id, max_rows=rows, max_bytes=policy.max_bytes
        )
