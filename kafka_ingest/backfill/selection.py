"""What a backfill is asked for, by times or by offsets, as exact offset ranges."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kafka_ingest.backfill.deleted_offsets import Span, check_not_deleted
from kafka_ingest.backfill.window_ranges import ranges_of_span
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata, Watermarks
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import OffsetRange, TopicPartition, ranges_text
from kafka_ingest.streams.stream import Stream

MAX_OFFSET = 2**63 - 1
# Kafka's protocol numbers partitions in 32 bits.
MAX_PARTITION = 2**31 - 1
TIME_EXAMPLE = "2026-11-22 10:00, 2026-11-22T10:00:30.5Z or 2026-11-22T10:00+08:00"

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_PARTITION = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]{1,249}):)?(?P<number>\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """A stretch of the topic, by Kafka timestamp or by offset; a bound left out is the log's own.

    partitions: Kafka partition numbers (of every topic of the stream) or `topic:number`; all where empty.
    """

    time_from: str | None = None
    time_to: str | None = None
    offset_from: int | None = None
    offset_to: int | None = None
    partitions: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is given: all that the windows or the plan say is loaded."""
        return self == Selection()

    @property
    def is_by_offset(self) -> bool:
        """Whether offsets are given, and so no times."""
        return self.offset_from is not None or self.offset_to is not None

    def check(self, *, now: dt.datetime) -> None:
        """Raises ConfigError, naming field, value and bound, for what can be seen without asking Kafka."""
        start, end = self.times
        if self.is_by_offset and (start or end):
            raise ConfigError("time_from, time_to and offset_from, offset_to: give times or offsets, not both")
        if start is not None and end is not None and start >= end:
            raise ConfigError(f"time_from is {_utc(start)}, not before time_to, {_utc(end)}", setting="time_from")
        if start is not None and start > now:
            raise ConfigError(f"time_from is {_utc(start)}, in the future: it is {_utc(now)} now", setting="time_from")
        for name, value in (("offset_from", self.offset_from), ("offset_to", self.offset_to)):
            if value is not None and not 0 <= value <= MAX_OFFSET:
                raise ConfigError(f"{name} is {value}; an offset is from 0 to {MAX_OFFSET}", setting=name)
        if self.offset_from is not None and self.offset_to is not None and self.offset_from >= self.offset_to:
            raise ConfigError(
                f"offset_from is {self.offset_from}, not below offset_to, {self.offset_to} (which is not included)",
                setting="offset_from",
            )
        for each in self.partitions:
            if _PARTITION.fullmatch(each) is None:
                raise ConfigError(
                    f"partitions has {each!r}; write a Kafka partition's number, as 3, or topic:3", setting="partitions"
                )

    @property
    def times(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Start and end as aware instants; None where not given. Raises ConfigError for a text that is no time."""
        return parse_time("time_from", self.time_from), parse_time("time_to", self.time_to)

    def __str__(self) -> str:
        if self.is_by_offset:
            what = (
                f"offsets {'the first' if self.offset_from is None else self.offset_from} "
                f"to {'the end' if self.offset_to is None else self.offset_to}"
            )
        else:
            start, end = self.times
            what = f"{'the first message' if start is None else _utc(start)} to {'now' if end is None else _utc(end)}"
        return f"{what}, {'partition ' + ', '.join(self.partitions) if self.partitions else 'all partitions'}"


def parse_time(name: str, text: str | None) -> dt.datetime | None:
    """An ISO 8601 time as an aware instant. Without a zone it is UTC, as the windows are.

    Raises ConfigError naming the field.
    """
    if text is None:
        return None
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"{name} is {text!r}; it must be a time such as {TIME_EXAMPLE} (UTC where it has no zone)", setting=name
        )
    *numbers, fraction, _zulu, sign, zone_hours, zone_minutes = match.groups()
    zone = dt.timezone.utc
    try:
        if sign:
            ahead = dt.timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
            zone = dt.timezone(-ahead if sign == "-" else ahead)
        year, month, day, hour, minute, second = (int(n or 0) for n in numbers)
        microsecond = int((fraction or "").ljust(6, "0"))
        return dt.datetime(year, month, day, hour, minute, second, microsecond, zone).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{name} is {text!r}, which is no time: {error}", setting=name) from error


def ranges_of_selection(
    stream: Stream, selection: Selection, metadata: KafkaMetadata, sink: Sink, *, now: dt.datetime
) -> tuple[OffsetRange, ...]:
    """The ranges of the log that were asked for, empty ones left out.

    Raises ConfigError, naming field, value and bound, for a selection that is wrong or that the log cannot give.
    """
    selection.check(now=now)
    marks = metadata.watermarks(_chosen(stream, selection.partitions, metadata.topics(stream).partitions))
    if selection.is_by_offset:
        return _by_offsets(stream, selection, marks)
    start, end = selection.times
    if start is None:
        end_text = "now" if end is None else _utc(end)
        return ranges_of_span(Span(None, end, f"the times up to {end_text}"), marks, metadata)
    span = Span(start, end, f"the time from {_utc(start)} to {'now' if end is None else _utc(end)}")
    check_not_deleted(stream, span, marks, metadata, sink)
    return ranges_of_span(span, marks, metadata)


def _chosen(stream: Stream, wanted: Sequence[str], known: Collection[TopicPartition]) -> list[TopicPartition]:
    if not known:
        raise ConfigError(
            f"stream {stream.name}: no topic matches {stream.topic_text!r} yet", stream=stream.name, setting="topics"
        )
    if not wanted:
        return list(known)
    chosen: set[TopicPartition] = set()
    for text in wanted:
        match = _PARTITION.fullmatch(text)
        assert match is not None  # noqa: S101  `check` was called
        found = {tp for tp in known if tp.partition == int(match["number"]) and match["topic"] in (None, tp.topic)}
        if not found:
            topics = sorted({tp.topic for tp in known})
            have = "; ".join(f"{t} has 0 to {max(tp.partition for tp in known if tp.topic == t)}" for t in topics[:5])
            raise ConfigError(
                f"partitions has {text!r}, which stream {stream.name} does not read: {have}",
                stream=stream.name,
                setting="partitions",
            )
        chosen |= found
    return sorted(chosen)


def _by_offsets(
    stream: Stream, selection: Selection, marks: Mapping[TopicPartition, Watermarks]
) -> tuple[OffsetRange, ...]:
    """The same offsets of each partition, cut at the end of each log."""
    start, end = selection.offset_from, selection.offset_to
    highest = max(log.high for log in marks.values())
    for name, value, limit in (("offset_from", start, highest - 1), ("offset_to", end, highest)):
        if value is not None and value > limit:
            raise ConfigError(
                f"{name} is {value}, and the log of {_names(marks)} ends at offset {highest}",
                stream=stream.name,
                setting=name,
            )
    if start is not None:
        gone = [OffsetRange(*tp, start, log.low) for tp, log in sorted(marks.items()) if start < log.low]
        if gone:
            raise ConfigError(
                f"offset_from is {start}, and Kafka's retention has deleted {ranges_text(gone)} of stream {stream.name}. "
                f"Begin at offset {max(r.end for r in gone)}, or choose other partitions.",
                stream=stream.name,
                setting="offset_from",
            )
    ranges = []
    for tp, log in sorted(marks.items()):
        first, last = log.low if start is None else start, log.high if end is None else min(end, log.high)
        if first < last:
            ranges.append(OffsetRange(*tp, first, last))
    if not ranges:
        raise ConfigError(
            f"offset_to is {end}, and the log of {_names(marks)} begins later", stream=stream.name, setting="offset_to"
        )
    return tuple(ranges)


def _names(marks: Mapping[TopicPartition, Watermarks]) -> str:
    shown = [str(tp) for tp in sorted(marks)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _utc(instant: dt.datetime) -> str:
    return f"{instant.astimezone(dt.timezone.utc).replace(tzinfo=None).isoformat(' ', 'auto')} UTC"
