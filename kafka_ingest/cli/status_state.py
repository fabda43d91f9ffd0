"""Where a stream stands, gathered for `status` and `demo`: Kafka's log and group, the ledger, the tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from kafka_ingest.engine.stream_state import StreamState, group_of, observe
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.dead_letters import count_waiting
from kafka_ingest.ledger.leases import Lease, read_leases
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS, LEASES, aware_utc
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

# Counting a large InnoDB table reads all of an index: after this long the server's estimate has to do.
COUNT_SECONDS = 2.0

Agreement = Literal["ok", "new", "group_behind", "group_ahead", "data_lost", "cut_off", "recreated"]


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One Kafka partition. `next_offset` is the ledger's, None where no run has seen the partition yet."""

    topic: str
    partition: int
    log_start: int
    log_end: int
    next_offset: int | None
    group_offset: int | None
    lag: int
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class LoadedTotals:
    """Sums over the ledger's batches of one kind."""

    batches: int
    rows: int
    deletes: int
    dead_letters: int
    ignored: int
    absent: int


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows a table holds now. `exact` is False for the server's estimate; `rows` None where there is no table yet."""

    table: str
    rows: int | None
    exact: bool


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One look at a stream."""

    stream: str
    group_id: str
    at: dt.datetime
    partitions: tuple[PartitionStatus, ...]
    missing_topics: tuple[str, ...]
    loaded: Mapping[str, LoadedTotals]
    """By kind: live, backfill, replay, lost. A backfill loads again what live runs had loaded."""
    tables: tuple[TableRows, ...]
    dead_letters: int
    """Dead letters that wait: kept now, and no replay has made something of them."""
    last_batch_at: dt.datetime | None
    last_run_id: str | None
    windows: int
    first_window: str | None
    last_window: str | None
    runs: tuple[Lease, ...] = ()
    """Live runs that say they are there, or said so last, in the order they began."""

    @property
    def lag(self) -> int:
        """Offsets that wait to be loaded, of all partitions."""
        return sum(p.lag for p in self.partitions)


def gather(
    stream: Stream, metadata: KafkaMetadata, sink: Sink, settings: Settings, *, now: dt.datetime
) -> StreamStatus:
    """Look once; reads only. Raises KafkaUnavailable, DatabaseUnavailable, AccessDenied and their like."""
    group_id = group_of(stream, settings)
    # The group before the ledger, so that a commit between the two looks does not seem to be ahead of the ledger.
    topics = metadata.topics(stream)
    committed = metadata.group_offsets(group_id, topics.partitions)
    state = observe(stream, metadata, sink, settings)
    with sink.errors(f"reading the ledger of stream {stream.name}"), sink.engine.connect() as connection:
        existing = set(sa.inspect(connection).get_table_names())
        tables = tuple(_count(connection, sink, target) for target in stream.targets)
        loaded = _loaded(connection, stream) if BATCHES.name in existing else {}
        last = _last(connection, stream) if BATCHES.name in existing else (None, None)
        windows = _windows(connection, stream) if BATCHES.name in existing else (0, None, None)
        dead_letters = count_waiting(connection, stream.name) if DEAD_LETTERS.name in existing else 0
        leases = read_leases(connection, stream.name) if LEASES.name in existing else {}
    return StreamStatus(
        stream=stream.name,
        group_id=group_id,
        at=now,
        partitions=tuple(_partition(tp, state, committed.get(tp)) for tp in sorted(state.watermarks)),
        missing_topics=state.topics.missing,
        loaded=loaded,
        tables=tables,
        dead_letters=dead_letters,
        last_batch_at=last[0],
        last_run_id=last[1],
        windows=windows[0],
        first_window=windows[1],
        last_window=windows[2],
        runs=tuple(sorted((a for a in leases.values() if not a.is_revoked), key=lambda lease: lease.acquired_at)),
    )


def _partition(tp: TopicPartition, state: StreamState, group: int | None) -> PartitionStatus:
    marks, known = state.watermarks[tp], state.ledger.get(tp)
    return PartitionStatus(
        topic=tp.topic,
        partition=tp.partition,
        log_start=marks.low,
        log_end=marks.high,
        next_offset=None if known is None else known.next_offset,
        group_offset=group,
        lag=state.lag_of(tp),
        agreement=_agreement(tp, state, group),
    )


def _agreement(tp: TopicPartition, state: StreamState, group: int | None) -> Agreement:
    marks, known = state.watermarks[tp], state.ledger.get(tp)
    if known is None:
        return "new"
    topic_id = state.topics.topic_ids.get(tp.topic)
    if known.topic_id and topic_id and known.topic_id != topic_id:
        return "recreated"
    if known.next_offset < marks.low:
        return "data_lost"
    if known.next_offset > marks.high:
        return "cut_off"
    if group is None or group < known.next_offset:
        return "group_behind"
    return "ok" if group == known.next_offset else "group_ahead"


def _loaded(connection: sa.Connection, stream: Stream) -> dict[str, LoadedTotals]:
    c = BATCHES.c
    sums = [sa.func.sum(x) for x in (c.row_count, c.delete_count, c.dead_letter_count, c.ignored_count, c.absent_count)]
    query = sa.select(c.kind, sa.func.count(), *sums).where(c.stream == stream.name).group_by(c.kind).order_by(c.kind)
    return {kind: LoadedTotals(*(int(n) for n in numbers)) for kind, *numbers in connection.execute(query)}


def _last(connection: sa.Connection, stream: Stream) -> tuple[dt.datetime | None, str | None]:
    """When the newest batch was loaded, and by which run."""
    c = BATCHES.c
    query = sa.select(c.loaded_at, c.run_id).where(c.stream == stream.name).order_by(c.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return (None, None) if row is None else (aware_utc(row.loaded_at), row.run_id)


def _windows(connection: sa.Connection, stream: Stream) -> tuple[int, str | None, str | None]:
    """How many windows runs were in, the first and the last."""
    c = BATCHES.c
    query = sa.select(sa.func.count(c.window_key.distinct()), sa.func.min(c.window_key), sa.func.max(c.window_key))
    count, first, last = connection.execute(query.where(c.stream == stream.name)).one()
    return int(count), first, last


def _count(connection: sa.Connection, sink: Sink, target: TargetTable) -> TableRows:
    if not sa.inspect(connection).has_table(target.name, schema=target.schema):
        return TableRows(target.label, None, True)
    return TableRows(target.label, *sink.count_rows(connection, target.table, seconds=COUNT_SECONDS))
