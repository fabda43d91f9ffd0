"""What a run has done since it last said so, and how that reads in the UI."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from kafka_ingest.backfill.progress import PROGRESS_TAG, Pace, PaceMeter
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.ledger.dead_letters import WaitingLetter, newest_waiting
from kafka_ingest.orchestration.config import run_windows
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import DEAD_LETTERS, Metadata
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import LoadResult, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream

# A drain says what it did at most this often: every event costs Dagster milliseconds and kilobytes.
EVENT_SECONDS = 10.0
# Beside `max_wait_seconds`: what a message may have waited for a look of the sensor and the end of the run before, however busy
# the machine.
LATENCY_MARGIN_SECONDS = 60.0
# A backfill's progress tag, which a progress bar follows, costs much less.
PROGRESS_SECONDS = 2.0

_SHOWN_RANGES = 50
_SHOWN_LETTERS = 10
# Dagster shows a text as long as this, or longer, after a click only.
_PAGE_CHARACTERS = 1_000
_ERROR_CHARACTERS = 200


class RunReport:
    """Sums of load results. Latencies are those of the slices: of the medians the mean by messages, and the worst of the rest.

    latency_from_ms: slices whose messages all have this Kafka timestamp, in milliseconds, or later ones count for the latencies;
            None: no slice does. What a backfill loads was produced long ago, and what a run finds after the stream was down has
            waited for that: their hours would hide the seconds of all others in the same plot.
    """

    def __init__(self, *, latency_from_ms: float | None) -> None:
        self._latency_from_ms = latency_from_ms
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
        p50, p95 = result.latency_p50_seconds, result.latency_p95_seconds
        if p50 is not None and p95 is not None and self._says_latency(result):
            self._latency.append((result.messages, p50, p95))

    def as_dict(self) -> dict[str, Any]:
        """All but latencies, as JSON takes it, for `add_part`."""
        return {
            "rows": dict(self.rows),
            "windows": dict(self.windows),
            "totals": dict(self.totals),
            "slices": self.slices,
            "ranges": [[r.topic, r.partition, r.start, r.end] for r in self._ranges.values()],
            "timestamps_ms": [min(self._stamps), max(self._stamps)] if self._stamps else [],
        }

    def add_part(self, part: Mapping[str, Any]) -> None:
        """Count what another run has loaded, as its `as_dict` says."""
        self.rows.update(part["rows"])
        self.windows.update(part["windows"])
        self.totals.update(part["totals"])
        self.slices += part["slices"]
        for each in part["ranges"]:
            self._widen(OffsetRange(*each))
        self._stamps += part["timestamps_ms"]

    def _says_latency(self, result: LoadResult) -> bool:
        oldest = min((c.min_timestamp_ms for c in result.counts if c.min_timestamp_ms is not None), default=None)
        return self._latency_from_ms is not None and oldest is not None and oldest >= self._latency_from_ms

    def _widen(self, new: OffsetRange) -> None:
        old = self._ranges.get(new.topic_partition)
        self._ranges[new.topic_partition] = (
            new
            if old is None
            else OffsetRange(new.topic, new.partition, min(old.start, new.start), max(old.end, new.end))
        )

    def by_asset(
        self, placed: PlacedStream, lag: int | None, waiting: Sequence[WaitingLetter]
    ) -> list[tuple[dg.AssetKey, Metadata]]:
        """What a materialization of each asset shows, the tables' in order and then the dead letters'. `lag`: offsets that wait
        now. waiting: the newest letters that wait to be replayed, as `newest_letters` gives them."""
        common = self.metadata(lag)
        # Not Dagster's partition_row_count: these are the run's rows since its last report, and a window has more.
        found: list[tuple[dg.AssetKey, Metadata]] = [
            (spec.key, {"rows": self.rows[target.label]} | common) for target, spec in placed.tables.items()
        ]
        return [*found, (placed.dead_letters.key, self._of_dead_letters(placed.stream, waiting) | common)]

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
            "rows_per_second": round(self.rows.total() / seconds, 1),
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

    def _of_dead_letters(self, stream: Stream, waiting: Sequence[WaitingLetter]) -> Metadata:
        messages = self.totals["messages"]
        ratio = round(self.totals["dead_letters"] / messages, 4) if messages else 0.0
        own: Metadata = {
            "rows": self.totals["dead_letters"],
            "dead_letter_ratio": ratio,
            "to_read_them": dg.MetadataValue.text(f"kafka-ingest dead-letters list --stream {stream.name}"),
        }
        return own | letters_metadata(waiting)


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
    """The letters as a table, as many of them as the page shows at once; nothing where none waits."""
    if not waiting:
        return {}
    table = "| position | stage | error |\n|---|---|---|"
    for number, one in enumerate(waiting):
        line = f"\n| {code(one.position)} | {one.stage} | {code(one.error, limit=_ERROR_CHARACTERS)} |"
        if number and len(table) + len(line) >= _PAGE_CHARACTERS:
            break
        table += line
    return {"newest_waiting": dg.MetadataValue.md(table)}


def asked_for(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> float:
    """When this run was asked for, in seconds since the epoch."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    assert record is not None  # noqa: S101  this run
    created: float = record.create_timestamp.replace(tzinfo=dt.timezone.utc).timestamp()
    return created


def latency_from_ms(run_asked_for: float, stream: Stream) -> float:
    """Kafka timestamp from which on the messages of a live run have not waited longer than they do where the stream is up:
    `max_wait_seconds` and a minute before the run was asked for."""
    return (run_asked_for - stream.batch.max_wait_seconds - LATENCY_MARGIN_SECONDS) * 1000


class BackfillProgress:
    """Says how far a backfill is: in the run's progress tag, and now and then in its log."""

    def __init__(
        self,
        context: dg.OpExecutionContext,
        total: int,
        *,
        done: int = 0,
        elsewhere: Callable[[], int] = lambda: 0,
    ) -> None:
        """total, done: offsets; elsewhere: how many of them other runs have loaded by now."""
        self._context = context
        self._meter = PaceMeter(total, done=done)
        self._elsewhere = elsewhere
        self._logged = self._tagged = time.monotonic()
        self._tag()

    def add(self, result: LoadResult) -> None:
        """Count one load, and say so where it is time."""
        self._meter.add(offsets_of(result))
        self.tell()

    def tell(self) -> None:
        """Say how far it is where it is time."""
        now = time.monotonic()
        if now - self._tagged < PROGRESS_SECONDS:
            return
        self._tagged = now
        pace = self._tag()
        if now - self._logged >= EVENT_SECONDS:
            self._logged = now
            self._context.log.info(str(pace))

    def end(self) -> None:
        """Leave the last figures in the tag."""
        self._tag()

    def _tag(self) -> Pace:
        pace = self._meter.look(elsewhere=self._elsewhere())
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: pace.tag})
        return pace


def offsets_of(result: LoadResult) -> int:
    """How many offsets it loaded."""
    return sum(c.range.size for c in result.counts)


def events(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    placed: PlacedStream,
    ingestion: Ingestion,
    recent: RunReport,
    topics: TopicObserver,
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """What a drain tells Dagster now and then: the topics' ends, and a materialization for each asset and window that
    got something since the last time."""
    state = ingestion.look()
    lag = state.lag
    whose = "" if placed.stream.group is None else f"{placed.stream.name}: "
    context.log.info(
        f"{whose}{recent.totals['rows']} rows, {recent.totals['dead_letters']} dead letters in {recent.slices} slices; lag {lag}"
    )
    yield from topics.observations(state)
    yield from materializations(placed, recent, lag, newest_letters(ingestion.sink, placed.stream), leave_out=())


def materializations(
    placed: PlacedStream, progress: RunReport, lag: int, waiting: Sequence[WaitingLetter], *, leave_out: Sequence[str]
) -> Iterator[dg.AssetMaterialization]:
    """One per asset and window that got messages. The numbers are the run's since the last report, not the window's."""
    numbers = progress.by_asset(placed, lag, waiting)
    for window in progress.windows:
        if window in leave_out:
            continue
        extra: Metadata = {"messages_of_window": progress.windows[window]}
        for key, metadata in numbers:
            yield dg.AssetMaterialization(key, partition=window, metadata=metadata | extra)


def output_names(stream: Stream) -> tuple[str, ...]:
    """Outputs of the drain op, one per asset."""
    return (*(target.identifier for target in stream.targets), DEAD_LETTERS)


def outputs(
    context: dg.AssetExecutionContext,
    placed: PlacedStream,
    total: RunReport,
    lag: int,
    waiting: Sequence[WaitingLetter],
) -> Iterator[dg.Output[None] | dg.AssetMaterialization]:
    """What the run was launched for: an output for each asset that was selected. A run loads its ranges into all tables, so the
    others are materialized in the same windows."""
    windows = run_windows(context)
    assets = total.by_asset(placed, lag, waiting)
    # Of several windows, each one's materialization also says what was its own of the run's numbers.
    own: dict[str, Metadata] = {w: {"messages_of_window": total.windows[w]} for w in windows if len(windows) > 1}
    for name, (key, metadata) in zip(output_names(placed.stream), assets, strict=True):
        if key in context.selected_asset_keys:
            for window, number in own.items():
                context.add_asset_metadata(number, asset_key=key, partition_key=window)
            yield dg.Output(None, name, metadata=metadata)
        else:
            for each in windows or (None,):
                yield dg.AssetMaterialization(key, partition=each, metadata=metadata | own.get(each or "", {}))
