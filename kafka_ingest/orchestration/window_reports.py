"""Windows that no run materializes, as they held no message or their run did not come to it: the stream's sensor does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from kafka_ingest.engine.whole_windows import first_known, last_loaded, ranges_in_windows, whole_until
from kafka_ingest.ledger.entries import live_from
from kafka_ingest.orchestration.names import Metadata
from kafka_ingest.orchestration.stream_look import StreamLook
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.streams.windows import first_window_start, start_of_window, window_key, window_size

# Of one tick. The daemon writes each in a transaction of its own, which takes some milliseconds to tens of them.
MOST_EVENTS = 100
# Of one tick: windows that Dagster is asked about, and windows times Kafka partitions that Kafka is.
_WINDOWS_A_TICK = 1_000
_OFFSETS_A_TICK = 20_000


@dataclass(frozen=True, slots=True)
class Through:
    """How far the windows have been gone through: from the stream's first one, as it was then, up to `end`."""

    first: dt.datetime
    end: dt.datetime


def window_events(
    look: StreamLook, before: Through | None, *, is_loading: bool
) -> tuple[list[dg.AssetMaterialization], Through | None]:
    """Materializations of windows that are over and wholly loaded, and that Dagster does not know as materialized; and how far
    they go.

    1. up to where: the window of the oldest message that waits, and that of the latest loaded. The latter as a
       materialization makes a table look fresh; not where nobody is told when it is not (`fresh_fail=None`)
    2. which of the next windows Dagster does not know. One that it knows is never reported: it may have had rows that Kafka
       has compacted away since
    3. what the log has of those. Without a message: 0 rows. With messages, and all of them in the ledger: its run was killed
       before it said so, or Dagster's storage is not the one it had then; no number is known. Where a run is loading
       (is_loading) it may still say it, and they end before that window

    before: how far the last ones went; where that is lost, all windows are gone through again, and nothing is said twice.
    MOST_EVENTS at most; the next call goes on. Raises as KafkaMetadata does, and what `Sink.classify_error` makes of errors.
    """
    stream, size = look.placed.stream, window_size(look.placed.stream)
    first, bound = first_window_start(stream), _bound(look)
    begin = before.end if before is not None and before.first == first else _begin(look, first, bound)
    if bound is None or begin is None:
        return [], before
    if begin >= bound:
        return [], Through(first, begin)
    until = min(bound, whole_until(look.state, stream, look.clients.metadata, now=look.now))
    starts = [begin + n * size for n in range(max(0, min((until - begin) // size, _WINDOWS_A_TICK)))]
    unknown = _unknown(look, starts)
    most = max(1, min(MOST_EVENTS // len(look.placed.loaded), _OFFSETS_A_TICK // len(look.state.watermarks)))
    asked = list(unknown)[:most]
    end = list(unknown)[most] if len(unknown) > most else begin + len(starts) * size
    ranges = ranges_in_windows(look.state, stream, look.clients.metadata, asked)
    live = _live_from(look) if any(ranges.values()) and not is_loading else {}
    found: list[dg.AssetMaterialization] = []
    for start in asked:
        held = ranges[start]
        if held and is_loading:
            return found, Through(first, start)
        if held is not None and all(live.get(r.topic_partition, r.end) <= r.start for r in held):
            found += _materializations(look, start, unknown[start], held)
    return found, Through(first, end)


def _bound(look: StreamLook) -> dt.datetime | None:
    """Where windows end at the latest that may be reported; None where nothing was loaded."""
    stream = look.placed.stream
    latest = look.now if stream.fresh_fail is None else last_loaded(look.state)
    return None if latest is None else start_of_window(stream, min(latest, look.now))


def _begin(look: StreamLook, first: dt.datetime, bound: dt.datetime | None) -> dt.datetime | None:
    """Where to begin anew; None where there has been no message."""
    has_messages = bound is not None and any(marks.high for marks in look.state.watermarks.values())
    known = first_known(look.state, look.placed.stream, look.clients.metadata) if has_messages else None
    return None if known is None else max(first, known)


def _unknown(look: StreamLook, starts: Sequence[dt.datetime]) -> dict[dt.datetime, list[dg.AssetKey]]:
    """The windows that Dagster does not know as materialized, each with the assets of which it does not."""
    keys = {window_key(look.placed.stream, start): start for start in starts}
    unknown: dict[dt.datetime, list[dg.AssetKey]] = {start: [] for start in starts}
    if keys:
        for spec in look.placed.loaded:
            known = look.instance.event_log_storage.get_latest_storage_id_by_partition(
                spec.key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(keys)
            )
            for key in keys.keys() - known.keys():
                unknown[keys[key]].append(spec.key)
    return {start: assets for start, assets in unknown.items() if assets}


def _live_from(look: StreamLook) -> dict[TopicPartition, int]:
    name, sink = look.placed.stream.name, look.clients.sink
    with sink.errors(f"reading the ledger of stream {name}"), sink.engine.connect() as connection:
        return live_from(connection, name)


def _materializations(
    look: StreamLook, start: dt.datetime, assets: Sequence[dg.AssetKey], held: Sequence[OffsetRange]
) -> Iterator[dg.AssetMaterialization]:
    metadata: Metadata = (
        {"offsets_of_window": sum(r.size for r in held)} if held else {"rows": 0, "messages_of_window": 0}
    )
    text = "Loaded; no run has said so." if held else "Over, and held no message."
    for key in assets:
        partition = window_key(look.placed.stream, start)
        yield dg.AssetMaterialization(key, description=text, partition=partition, metadata=metadata)
