"""Dead letters as a proposal to load: the original messages through today's code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from kafka_ingest.errors import OffsetGap
from kafka_ingest.ledger.dead_letter_filter import Condition
from kafka_ingest.ledger.dead_letters import StoredDeadLetter, lock, mark_replayed
from kafka_ingest.ledger.positions import Advance, Fence
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.admission import AdmittedPart, AdmittedSlice, Proposal
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load import Applied, LoadContext, apply
from kafka_ingest.sinks.tables import fits
from kafka_ingest.slices import (
    BatchKind,
    DeadLetter,
    LoadResult,
    OffsetRange,
    Outcome,
    RangeCounts,
    RawSlice,
    TopicPartition,
)
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.windows import count_by_window

_KIND: BatchKind = "replay"


@dataclass(frozen=True, slots=True)
class ReplayedLetter:
    """What became of one dead letter; stage, error and route are those of its new failure, or None."""

    id: int
    position: str
    outcome: Outcome
    route: str | None
    stage: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What one replay transaction did, or would have done."""

    load: LoadResult
    letters: tuple[ReplayedLetter, ...]
    changes_by_window: Mapping[str, Mapping[str, int]]
    """Table → window → rows and deletes that came into it."""


def raw_slice_of(letters: Sequence[StoredDeadLetter]) -> RawSlice:
    """The original messages, as the reader would deliver them from a log that holds nothing else.

    `letters` are in order of position, so that letter `i` is message number `i`.
    """
    by_partition: dict[tuple[str, int], list[int]] = {}
    for letter in letters:
        by_partition.setdefault(letter.topic_partition, []).append(letter.kafka_offset)
    ranges = tuple(OffsetRange(*tp, offsets[0], offsets[-1] + 1) for tp, offsets in by_partition.items())
    counts = [len(offsets) for offsets in by_partition.values()]
    stamps = [-1 if one.kafka_timestamp is None else round(one.kafka_timestamp.timestamp() * 1000) for one in letters]
    return RawSlice(
        ranges=ranges,
        range_index=np.repeat(np.arange(len(ranges), dtype=np.int32), counts),
        offsets=np.array([letter.kafka_offset for letter in letters], dtype=np.int64),
        timestamps_ms=np.array(stamps, dtype=np.int64),
        keys=[letter.key for letter in letters],
        values=[letter.value for letter in letters],
        headers=[letter.headers for letter in letters],
        absent=tuple(each.size - count for each, count in zip(ranges, counts, strict=True)),
        # A dead letter of a version that did not write the order down has the first part of what it was.
        orders=np.array(
            [stamp if one.kafka_order is None else one.kafka_order for one, stamp in zip(letters, stamps, strict=True)],
            dtype=np.int64,
        ),
    )


class LetterProposal(Proposal):
    """Dead letters that a replay has read. `parsed` is what today's code makes of `raw_slice_of(letters)`."""

    def __init__(
        self,
        stream: Stream,
        parsed: ParsedSlice,
        letters: Sequence[StoredDeadLetter],
        where: Condition,
        only: Sequence[TargetTable] | None = None,
    ) -> None:
        super().__init__(stream, parsed)
        self._letters = letters
        self._where = where
        self._only = only

    def targets(self) -> list[TargetTable]:
        """In a dry run those that are there: rows of tables that are yet to be made or altered are only validated."""
        return [t for t in super().targets() if self._only is None or t in self._only]

    def targets_to_empty(self, fences: Mapping[TopicPartition, Fence]) -> list[TargetTable]:
        """In a dry run, too, none but `targets`."""
        targets = self.targets()
        return [t for t in super().targets_to_empty(fences) if t in targets]

    def was_loaded(self, fences: Mapping[TopicPartition, Fence]) -> bool:
        """No table has a row of a message that is a dead letter, so only the tables that get one are looked at."""
        return False

    def admit(self, connection: sa.Connection, fences: Mapping[TopicPartition, Fence]) -> AdmittedSlice:
        """Lock the dead letters that still answer to the filter, in order; those another replay or a backfill has dealt with
        since they were read are left out. Neighbours are one range."""
        if unknown := [tp for tp in self.partitions if tp not in fences]:
            raise OffsetGap(
                f"stream {self.stream.name}: the ledger has no position for {unknown[0]}; run the stream first",
                stream=self.stream.name,
            )
        ids = lock(connection, self._where, self._letters)
        parts: list[OffsetRange] = []
        for letter in self._letters:
            if letter.id not in ids:
                continue
            last = parts[-1] if parts else None
            if last is not None and (*last.topic_partition, last.end) == (*letter.topic_partition, letter.kafka_offset):
                parts[-1] = OffsetRange(*letter.topic_partition, last.start, last.end + 1)
            else:
                parts.append(OffsetRange(*letter.topic_partition, letter.kafka_offset, letter.kafka_offset + 1))
        return AdmittedSlice(self.parsed, [AdmittedPart(each, _KIND) for each in parts])

    def write_dead_letters(
        self,
        connection: sa.Connection,
        admitted: AdmittedSlice,
        letters: Sequence[DeadLetter],
        *,
        run_id: str,
        now: dt.datetime,
    ) -> None:
        """Mark each dead letter with what became of it."""
        outcomes = {self._letters[n].id: outcome for n, outcome in admitted.outcomes(letters).items()}
        still_dead = {self._letters[letter.number].id: letter for letter in letters}
        mark_replayed(connection, outcomes, still_dead, run_id=run_id, now=now)

    def judge(self, connection: sa.Connection, counts: Sequence[RangeCounts], letters: Sequence[DeadLetter]) -> None:
        """Dead letters are replayed by a person, who sees how many are still bad: no limit."""

    def advances(
        self, admitted: AdmittedSlice, fences: Mapping[TopicPartition, Fence]
    ) -> dict[TopicPartition, Advance]:
        """Next offsets stay as they are."""
        return {each.topic_partition: Advance.nowhere(fences[each.topic_partition]) for each in admitted.ranges}


def replay_slice(
    sink: Sink,
    parsed: ParsedSlice,
    letters: Sequence[StoredDeadLetter],
    where: Condition,
    context: LoadContext,
    *,
    dry_run: bool = False,
) -> ReplayResult:
    """Apply dead letters exactly once, by the sequence of `sinks/load.py`: a crash before its COMMIT leaves nothing, a crash
    after it leaves everything; the next replay sees which it was, as what has been dealt with no longer answers to `where`.

    Raises OffsetGap, AccountingError, and what `Sink.classify_error` makes of the driver's errors.
    """
    stream = context.stream
    only = None
    if dry_run:
        with sink.errors(f"looking at the tables of stream {stream.name}"), sink.engine.connect() as connection:
            only = [t for t in stream.targets if fits(connection, t)]
    applied = apply(sink, lambda: LetterProposal(stream, parsed, letters, where, only), context, is_dry_run=dry_run)
    outcomes = applied.admitted.outcomes(applied.dead_letters)
    dead = {letter.number: letter for letter in applied.dead_letters}
    return ReplayResult(
        load=applied.result,
        letters=tuple(_replayed(letters[number], outcomes[number], dead.get(number)) for number in sorted(outcomes)),
        changes_by_window=_changes(stream, applied, context.now()),
    )


def _replayed(letter: StoredDeadLetter, outcome: Outcome, dead: DeadLetter | None) -> ReplayedLetter:
    return ReplayedLetter(
        id=letter.id,
        position=letter.position,
        outcome=outcome,
        route=None if dead is None else dead.route,
        stage=None if dead is None else dead.stage,
        error=None if dead is None else dead.error,
    )


def _changes(stream: Stream, applied: Applied, now: dt.datetime) -> dict[str, Mapping[str, int]]:
    refused = {letter.number for letter in applied.dead_letters}
    admitted = applied.admitted
    changes = {}
    for target in stream.targets:
        frames = (admitted.rows(target), admitted.deletes(target))
        numbers = [int(n) for frame in frames if frame is not None for n in frame.index if int(n) not in refused]
        if numbers:
            stamps = admitted.parsed.raw.timestamps_ms[numbers]
            changes[target.label] = count_by_window(stream, stamps, now=now)
    return changes
