"""What a load transaction lets in: proposed before the ledger's rows are locked, decided under their lock."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import DataLoss, OffsetGap
from kafka_ingest.ledger.dead_letters import replace_dead_letters
from kafka_ingest.ledger.positions import Advance, Fence
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.dead_letter_limit import judge
from kafka_ingest.slices import (
    MAX_ORDER,
    BatchKind,
    DeadLetter,
    OffsetRange,
    Outcome,
    RangeCounts,
    RawSlice,
    TopicPartition,
)
from kafka_ingest.streams.model import ORDER_COLUMN
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

# What an outcome is called, by its number here; 0 is a message nobody accounted for.
_OUTCOMES: tuple[Outcome | None, ...] = (None, "row", "delete", "dead_letter", "ignored")
_ROW, _DELETE, _DEAD, _IGNORED = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class AdmittedPart:
    """A range that is loaded now."""

    range: OffsetRange
    kind: BatchKind
    order_start: int | None = None
    """The order (`RawSlice.orders`) of the last message below it; None where it does not matter, as in a replay."""


class AdmittedSlice:
    """The messages of a slice that are inside the admitted ranges, and what becomes of each."""

    def __init__(self, parsed: ParsedSlice, parts: Sequence[AdmittedPart]) -> None:
        self.parsed = parsed
        self.parts = parts
        self.ranges = [part.range for part in parts]
        raw = parsed.raw
        self._part = np.full(len(raw), -1, dtype=np.int64)
        self._members = _members(raw, self.ranges)
        for number, members in enumerate(self._members):
            self._part[members] = number
        self.is_whole = bool((self._part >= 0).all())
        """Whether every message of the slice is inside."""

    def of(self, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """The frame's rows that are inside."""
        if frame is None or self.is_whole:
            return frame
        return frame[self._part[frame.index.to_numpy(dtype=np.int64)] >= 0]

    def rows(self, target: TargetTable) -> pd.DataFrame | None:
        """The admitted rows of this table; None where the slice has none for it."""
        return self.of(self.parsed.rows.get(target))

    def deletes(self, target: TargetTable) -> pd.DataFrame | None:
        """The admitted keys to delete from this table; None where the slice has none for it."""
        return self.of(self.parsed.deletes.get(target))

    def dead_letters(self) -> list[DeadLetter]:
        """Those that were bad before the database saw them."""
        return [letter for letter in self.parsed.dead_letters if self._part[letter.number] >= 0]

    def counts(self, letters: Sequence[DeadLetter]) -> list[RangeCounts]:
        """Per admitted range what became of its messages; the absent offsets are counted from what Kafka delivered."""
        raw = self.parsed.raw
        outcome = self._outcomes(letters)
        tables, table, table_rows = self._tables()
        absent = dict(zip(raw.ranges, raw.absent, strict=True))
        counts = []
        for part, members in zip(self.parts, self._members, strict=True):
            by_outcome = np.bincount(outcome[members], minlength=5)
            stamps = raw.timestamps_ms[members]
            stamps = stamps[stamps >= 0]
            loaded = outcome[members] == _ROW
            by_table = np.bincount(table[members][loaded], table_rows[members][loaded], minlength=len(tables))
            counts.append(
                RangeCounts(
                    range=part.range,
                    kind=part.kind,
                    rows=int(by_outcome[_ROW]),
                    deletes=int(by_outcome[_DELETE]),
                    dead_letters=int(by_outcome[_DEAD]),
                    ignored=int(by_outcome[_IGNORED]),
                    # The reader's own count where the whole range is loaded, so that accounting compares two sources.
                    absent=absent.get(part.range, part.range.size - (members.stop - members.start)),
                    min_timestamp_ms=_bounded(stamps.min()) if len(stamps) else None,
                    max_timestamp_ms=_bounded(stamps.max()) if len(stamps) else None,
                    rows_by_table={name: int(n) for name, n in zip(tables, by_table, strict=True) if n},
                    order_start=part.order_start,
                )
            )
        return counts

    def _tables(self) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The tables of the slice, and per message the number of the one it has rows for, -1 for none, and how many."""
        messages = len(self.parsed.raw)
        table = np.full(messages, -1, dtype=np.int64)
        rows = np.zeros(messages, dtype=np.int64)
        labels = []
        for number, (target, frame) in enumerate(self.parsed.rows.items()):
            own = frame.index.to_numpy(dtype=np.int64)
            table[own] = number
            rows += np.bincount(own, minlength=messages)
            labels.append(target.label)
        return labels, table, rows

    def outcomes(self, letters: Sequence[DeadLetter]) -> dict[int, Outcome]:
        """What became of each message inside, by its number."""
        outcome = self._outcomes(letters)
        named = {int(n): _OUTCOMES[outcome[n]] for n in np.flatnonzero(self._part >= 0)}
        return {number: name for number, name in named.items() if name is not None}

    def _outcomes(self, letters: Sequence[DeadLetter]) -> npt.NDArray[np.int8]:
        outcome = np.zeros(len(self.parsed.raw), dtype=np.int8)
        for frame in self.parsed.deletes.values():
            outcome[frame.index.to_numpy(dtype=np.int64)] = _DELETE
        for frame in self.parsed.rows.values():  # also of a message that has changed its row's key, and so deletes, too
            outcome[frame.index.to_numpy(dtype=np.int64)] = _ROW
        outcome[self.parsed.ignored] = _IGNORED
        outcome[[letter.number for letter in letters]] = _DEAD
        return outcome

    def timestamps_ms(self) -> npt.NDArray[np.int64]:
        """Kafka timestamps of the admitted messages, milliseconds since the epoch; -1 where there is none."""
        return self.parsed.raw.timestamps_ms[self._part >= 0]

    def latency_seconds(self, now: dt.datetime) -> tuple[float | None, float | None]:
        """p50 and p95 from Kafka timestamp to now, of the live messages that have one."""
        live = [number for number, part in enumerate(self.parts) if part.kind == "live"]
        stamps = self.parsed.raw.timestamps_ms[np.isin(self._part, live)]
        stamps = stamps[stamps >= 0]
        if not len(stamps):
            return None, None
        p50, p95 = np.percentile(now.timestamp() - stamps / 1000.0, [50, 95])
        return float(p50), float(p95)


class Proposal(ABC):
    """A parsed slice that asks to be loaded. What it says before `admit` is a plan, made without a lock."""

    def __init__(self, stream: Stream, parsed: ParsedSlice) -> None:
        self.stream = stream
        self.parsed = parsed

    @property
    def partitions(self) -> list[TopicPartition]:
        """The Kafka partitions whose positions are locked."""
        return [r.topic_partition for r in self.parsed.raw.ranges]

    def targets(self) -> list[TargetTable]:
        """The tables that get something, in the order of the routes."""
        return [t for t in self.stream.targets if t in self.parsed.rows or t in self.parsed.deletes]

    def targets_to_empty(self, fences: Mapping[TopicPartition, Fence]) -> list[TargetTable]:
        """The append tables that may hold rows of the slice's ranges: those that get some now, where nobody has loaded the
        ranges before, else all."""
        was_loaded = self.was_loaded(fences)
        return [t for t in self.stream.targets if not t.is_upsert and (t in self.parsed.rows or was_loaded)]

    @abstractmethod
    def was_loaded(self, fences: Mapping[TopicPartition, Fence]) -> bool:
        """Whether a message of the slice may stand in a table already, maybe in another one than today's code has for it."""

    @abstractmethod
    def admit(self, connection: sa.Connection, fences: Mapping[TopicPartition, Fence]) -> AdmittedSlice:
        """What is loaded now. `fences` are of rows that are locked."""

    @abstractmethod
    def write_dead_letters(
        self,
        connection: sa.Connection,
        admitted: AdmittedSlice,
        letters: Sequence[DeadLetter],
        *,
        run_id: str,
        now: dt.datetime,
    ) -> None:
        """Leave exactly `letters` of what was admitted."""

    @abstractmethod
    def judge(self, connection: sa.Connection, counts: Sequence[RangeCounts], letters: Sequence[DeadLetter]) -> None:
        """Refuse where too many are bad. Raises DeadLetterLimit."""

    @abstractmethod
    def advances(
        self, admitted: AdmittedSlice, fences: Mapping[TopicPartition, Fence]
    ) -> dict[TopicPartition, Advance]:
        """How the positions move."""


class RangeProposal(Proposal):
    """Offset ranges as Kafka delivered them: a live load, or a backfill."""

    def __init__(self, stream: Stream, parsed: ParsedSlice, kind: BatchKind) -> None:
        super().__init__(stream, parsed)
        self.kind = kind

    def was_loaded(self, fences: Mapping[TopicPartition, Fence]) -> bool:
        """Always possible for a backfill; for a live range where it begins below `loaded_to`."""
        ahead = (
            fences[r.topic_partition].loaded_to > r.start for r in self.parsed.raw.ranges if r.topic_partition in fences
        )
        return self.kind != "live" or any(ahead)

    def admit(self, connection: sa.Connection, fences: Mapping[TopicPartition, Fence]) -> AdmittedSlice:
        """Live ranges must start at the ledger's next offset: below it the overlap is left out, above it the load refuses. A
        backfill loads what it names, and the part that continues from the next offset is live.

        Raises OffsetGap; DataLoss where the ledger's position is one of another log.
        """
        self._check_log(fences)
        parts: list[AdmittedPart] = []
        for number, each in enumerate(self.parsed.raw.ranges):
            fence = fences.get(each.topic_partition)
            if fence is None:
                raise OffsetGap(
                    f"stream {self.stream.name}: the ledger has no position for {each.topic_partition}; plan pins it first",
                    stream=self.stream.name,
                    range=each,
                )
            position = fence.next_offset
            if self.kind == "live" and position < each.start:
                raise offset_gap(self.stream, each, position)
            is_live_from = min(position, each.end) if self.kind == "live" or each.start <= position else each.end
            below, live = replace(each, end=is_live_from), replace(each, start=is_live_from)
            if self.kind != "live" and below.size:
                parts.append(AdmittedPart(below, self.kind, self.parsed.raw.order_before(number, each.start)))
            if live.size:
                self._go_on_in_order(number, live, fence)
                parts.append(AdmittedPart(live, "live", fence.order))
        return AdmittedSlice(self.parsed, parts)

    def _check_log(self, fences: Mapping[TopicPartition, Fence]) -> None:
        """An offset means nothing in another log: a topic that was deleted and created again has another id."""
        for each, log in zip(self.parsed.raw.ranges, self.parsed.raw.logs, strict=True):
            fence = fences.get(each.topic_partition)
            known = None if fence is None else fence.topic_id
            if known is not None and log.topic_id is not None and known != log.topic_id:
                raise DataLoss(
                    f"stream {self.stream.name}: {each} was read from a topic with the id {log.topic_id}, and the ledger's "
                    f"position is one of a topic with the id {known}: topic {each.topic} was deleted and created again. "
                    "Nothing was loaded. Run again: the plan says what is gone and what to do.",
                    stream=self.stream.name,
                    topics=(each.topic,),
                )

    def _go_on_in_order(self, number: int, live: OffsetRange, fence: Fence) -> None:
        """The orders of a live range go on from the ledger's. They were counted so when the slice was read; where another run
        has seen messages since that compaction has taken away before this one read them, they are counted again."""
        raw = self.parsed.raw
        if raw.order_before(number, live.start) == fence.order:
            return
        raw = raw.with_orders_from(number, live.start, fence.order)
        rows, deletes = (
            {t: f.assign(**{ORDER_COLUMN: raw.orders[f.index.to_numpy(dtype=np.int64)]}) for t, f in frames.items()}
            for frames in (self.parsed.rows, self.parsed.deletes)
        )
        self.parsed = replace(self.parsed, raw=raw, rows=rows, deletes=deletes)

    def write_dead_letters(
        self,
        connection: sa.Connection,
        admitted: AdmittedSlice,
        letters: Sequence[DeadLetter],
        *,
        run_id: str,
        now: dt.datetime,
    ) -> None:
        replace_dead_letters(
            connection, self.stream.name, self.parsed.raw, admitted.ranges, letters, run_id=run_id, now=now
        )

    def judge(self, connection: sa.Connection, counts: Sequence[RangeCounts], letters: Sequence[DeadLetter]) -> None:
        judge(connection, self.stream, self.parsed.raw, counts, letters)

    def advances(
        self, admitted: AdmittedSlice, fences: Mapping[TopicPartition, Fence]
    ) -> dict[TopicPartition, Advance]:
        raw = self.parsed.raw
        kinds: dict[TopicPartition, set[BatchKind]] = {}
        for part in admitted.parts:
            kinds.setdefault(part.range.topic_partition, set()).add(part.kind)
        moves = {}
        for number, each in enumerate(raw.ranges):
            own = kinds.get(each.topic_partition)
            if own is None:
                continue
            fence = fences[each.topic_partition]
            move = replace(Advance.nowhere(fence), loaded_to=max(fence.loaded_to, each.end))
            if "live" in own:
                epoch = raw.logs[number].leader_epoch
                move = replace(
                    move,
                    next_offset=each.end,
                    order=max(fence.order, raw.order_before(number, each.end)),
                    leader_epoch=fence.leader_epoch if epoch is None else epoch,
                )
            moves[each.topic_partition] = move
        return moves


def _members(raw: RawSlice, ranges: Sequence[OffsetRange]) -> list[slice]:
    """The messages of the slice that lie in each of these ranges: they stand range by range, in offset order."""
    bounds = np.searchsorted(raw.range_index, np.arange(len(raw.ranges) + 1)).tolist()
    of_partition = {r.topic_partition: number for number, r in enumerate(raw.ranges)}
    found = []
    for each in ranges:
        number = of_partition[each.topic_partition]
        first, end = bounds[number : number + 2]
        start, stop = (first + int(np.searchsorted(raw.offsets[first:end], at)) for at in (each.start, each.end))
        found.append(slice(start, stop))
    return found


def offset_gap(stream: Stream, wanted: OffsetRange, position: int) -> OffsetGap:
    """The refusal of a live range above the ledger's next offset."""
    return OffsetGap(
        f"stream {stream.name}: {wanted} starts above the ledger's next offset {position}; loading it would leave out "
        f"{wanted.start - position} offsets. Launch a new run: it plans from the ledger.",
        stream=stream.name,
        range=wanted,
        next_offset=position,
    )


def _bounded(milliseconds: np.int64) -> int:
    """Kafka takes any 64-bit timestamp; a DATETIME ends where orders do, with the year 9999."""
    return min(int(milliseconds), MAX_ORDER)
