"""What a run has done since it last said so, and how that reads in the UI."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from kafka_ingest.backfill.progress import PROGRESS_TAG, PaceMeter
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.ledger.dead_letters import WaitingLetter, newest_waiting
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import Metadata, dead_letters_key, table_key
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import Batch, LoadResult, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

# A drain says what it did at most this often: every event costs Dagster milliseconds and kilobytes.
EVENT_SECONDS = 10.0
# A backfill's progress tag, which a progress bar follows, costs much less.
PROGRESS_SECONDS = 2.0

_SHOWN_RANGES = 50
_SHOWN_LETTERS = 10
_ERROR_CHARACTERS = 200


class RunReport:
    """Sums of load results. Latencies are those of the slices: of the medians the mean by messages, and the worst of the rest.

    is_live: whether latencies say anything. A backfill loads what was produced long ago, and its hours would hide the
    seconds of the live runs in the same plot.
    """

    def __init__(self, *, is_live: bool) -> None:
        self._is_live = is_live
        self.started = time.monotonic()
        self.rows: Counter[str] = Counter()
        self.windows: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.slices = 0
        self._ranges: dict[TopicPartition, OffsetRange] = {}
        self._latency: list[tuple[int, float, float]] = []
        self._stamps: list[int] = []

    def add(self, result: LoadResult) -> None:
        """Count one load."""
        self.slices += 1
        self.rows.update(result.rows_by_table)
        self.windows.update(result.messages_by_window)
        self.totals["messages"] += result.messages
        for what in ("rows", "deletes", "dead_letters", "ignored", "absent"):
            self.totals[what] += result.total(what)
        for counts in result.counts:
            self._widen(counts.range)
            self._stamps += [t for t in (counts.min_timestamp_ms, counts.max_timestamp_ms) if t is not None]
        if self._is_live and result.latency_p50_seconds is not None and result.latency_p95_seconds is not None:
            self._latency.append((result.messages, result.latency_p50_seconds, result.latency_p95_seconds))

    def _widen(self, new: OffsetRange) -> None:
        old = self._ranges.get(new.topic_partition)
        self._ranges[new.topic_partition] = (
            new
            if old is None
            else OffsetRange(new.topic, new.partition, min(old.start, new.start), max(old.end, new.end))
        )

    def metadata(self, lag: int | None) -> Metadata:
        """Numbers as numbers, so that the UI plots them."""
        seconds = max(time.monotonic() - self.started, 1e-3)
        found: Metadata = {
            "messages": self.totals["messages"],
            "dead_letters": self.totals["dead_letters"],
            "ignored": self.totals["ignored"],
            "deletes": self.totals["deletes"],
            "absent_offsets": self.totals["absent"],
            "slices": self.slices,
            "rows_per_second": round(self.totals["rows"] / seconds, 1),
            "offset_ranges": dg.MetadataValue.md(_ranges_table(self._ranges)),
        }
        if lag is not None:
            found["lag"] = lag
        if self._stamps:
            found["event_time_from"] = dg.MetadataValue.timestamp(_instant(min(self._stamps)))
            found["event_time_to"] = dg.MetadataValue.timestamp(_instant(max(self._stamps)))
        if self._latency:
            weight = sum(m for m, _, _ in self._latency)
            found["latency_p50_seconds"] = round(sum(m * p for m, p, _ in self._latency) / max(weight, 1), 3)
            found["latency_p95_seconds"] = round(max(p for _, _, p in self._latency), 3)
        return found

    def table_metadata(self, target: TargetTable, lag: int | None) -> Metadata:
        """What a materialization of this table shows. `lag`: offsets that wait now."""
        # Not Dagster's partition_row_count: these are the run's rows since its last report, and a window has more.
        own: Metadata = {"rows": self.rows[target.label]}
        return own | self.metadata(lag)

    def dead_letter_metadata(self, stream: Stream, lag: int | None, waiting: Sequence[WaitingLetter]) -> Metadata:
        """What a materialization of the dead letters shows. `lag`: offsets that wait now. waiting: the newest letters that wait
        to be replayed, as `newest_letters` gives them."""
        messages = self.totals["messages"]
        ratio = round(self.totals["dead_letters"] / messages, 4) if messages else 0.0
        own: Metadata = {
            "rows": self.totals["dead_letters"],
            "dead_letter_ratio": ratio,
            "to_read_them": dg.MetadataValue.text(f"kafka-ingest dead-letters list --stream {stream.name}"),
        }
        return own | letters_metadata(waiting) | self.metadata(lag)


def _instant(milliseconds: int) -> float:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc).timestamp()


def _ranges_table(ranges: Mapping[TopicPartition, OffsetRange]) -> str:
    lines = ["| topic | partition | from | to (exclusive) | offsets |", "|---|---:|---:|---:|---:|"]
    shown = sorted(ranges.values())
    lines += [f"| {code(r.topic)} | {r.partition} | {r.start} | {r.end} | {r.size} |" for r in shown[:_SHOWN_RANGES]]
    if len(shown) > _SHOWN_RANGES:
        lines.append(f"\n…and {len(shown) - _SHOWN_RANGES} more partitions; all are in `kafka_ingest_batches`.")
    return "\n".join(lines)


def newest_letters(sink: Sink, stream: Stream) -> list[WaitingLetter]:
    """The newest dead letters of the stream that wait; one query."""
    with sink.errors(f"reading the dead letters of stream {stream.name}"), sink.engine.connect() as connection:
        return newest_waiting(connection, stream.name, _SHOWN_LETTERS)


def letters_metadata(waiting: Sequence[WaitingLetter]) -> Metadata:
    """The letters as a table; nothing where none waits."""
    if not waiting:
        return {}
    lines = ["| position | stage | error |", "|---|---|---|"]
    lines += [f"| {code(one.position)} | {one.stage} | {code(one.error, limit=_ERROR_CHARACTERS)} |" for one in waiting]
    return {"newest_waiting": dg.MetadataValue.md("\n".join(lines))}


class BackfillProgress:
    """Says how far a backfill is: in the run's progress tag, and now and then in its log."""

    def __init__(self, context: dg.AssetExecutionContext, batch: Batch, first: LoadResult) -> None:
        self._context = context
        self._meter = PaceMeter(batch.size, done=_offsets(first))
        self._logged = self._tagged = time.monotonic()
        self._tag()

    def add(self, result: LoadResult) -> None:
        """Count one load, and say so where it is time."""
        self._meter.add(offsets=_offsets(result), rows=result.total("rows"))
        now = time.monotonic()
        if now - self._tagged >= PROGRESS_SECONDS:
            self._tagged = now
            self._tag()
        if now - self._logged >= EVENT_SECONDS:
            self._logged = now
            self._context.log.info(str(self._meter.look()))

    def end(self) -> None:
        """Leave the last figures in the tag."""
        self._tag()

    def _tag(self) -> None:
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: self._meter.look().tag})


def _offsets(result: LoadResult) -> int:
    return sum(c.range.size for c in result.counts)


def events(
    context: dg.AssetExecutionContext,
    stream: Stream,
    ingestion: Ingestion,
    recent: RunReport,
    topics: TopicObserver,
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """What a drain tells Dagster now and then: the topics' ends, and a materialization for each asset and window that
    got something since the last time."""
    state = ingestion.look()
    lag = state.lag
    context.log.info(
        f"{recent.totals['rows']} rows, {recent.totals['dead_letters']} dead letters in {recent.slices} slices; lag {lag}"
    )
    yield from topics.observations(state)
    yield from materializations(stream, recent, lag, newest_letters(ingestion.sink, stream), leave_out=())


def materializations(
    stream: Stream, progress: RunReport, lag: int, waiting: Sequence[WaitingLetter], *, leave_out: Sequence[str]
) -> Iterator[dg.AssetMaterialization]:
    """One per asset and window that got messages. The numbers are the run's since the last report, not the window's."""
    for window in progress.windows:
        if window in leave_out:
            continue
        extra = {"messages_of_window": progress.windows[window]}
        for target in stream.targets:
            metadata = progress.table_metadata(target, lag) | extra
            yield dg.AssetMaterialization(table_key(stream, target), partition=window, metadata=metadata)
        metadata = progress.dead_letter_metadata(stream, lag, waiting) | extra
        yield dg.AssetMaterialization(dead_letters_key(stream), partition=window, metadata=metadata)
