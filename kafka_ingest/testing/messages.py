"""Raw slices made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.slices import OffsetRange, RawSlice
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

MORNING_MS = 1_767_250_800_000
"""2026-01-01 07:00 UTC, the timestamp of offset 0."""


@dataclass(frozen=True)
class Msg:
    """One message of a topic partition; a dict as value becomes JSON."""

    value: Any
    key: bytes | None = None
    headers: list[tuple[str, bytes | None]] | None = None
    offset: int | None = None
    timestamp_ms: int | None = None

    @property
    def body(self) -> bytes | None:
        if self.value is None or isinstance(self.value, bytes):
            return self.value
        return json.dumps(self.value, ensure_ascii=False).encode()


@dataclass
class Part:
    """Messages of one range; offsets count up from the start where a message names none."""

    messages: Sequence[Msg]
    topic: str = "mixed"
    partition: int = 0
    start: int = 0
    end: int | None = None
    numbered: list[tuple[int, Msg]] = field(init=False)

    def __post_init__(self) -> None:
        self.numbered = []
        following = self.start
        for message in self.messages:
            offset = following if message.offset is None else message.offset
            self.numbered.append((offset, message))
            following = offset + 1
        self.end = following if self.end is None else self.end

    @property
    def range(self) -> OffsetRange:
        assert self.end is not None
        return OffsetRange(self.topic, self.partition, self.start, self.end)


def raw_slice(*parts: Part) -> RawSlice:
    """The messages of these ranges as the reader would deliver them."""
    flat = [(index, offset, m) for index, part in enumerate(parts) for offset, m in part.numbered]
    return RawSlice(
        ranges=tuple(part.range for part in parts),
        range_index=np.array([index for index, _, _ in flat], dtype=np.int32),
        offsets=np.array([offset for _, offset, _ in flat], dtype=np.int64),
        timestamps_ms=np.array(
            [MORNING_MS + offset * 1000 if m.timestamp_ms is None else m.timestamp_ms for _, offset, m in flat],
            dtype=np.int64,
        ),
        keys=[m.key for _, _, m in flat],
        values=[m.body for _, _, m in flat],
        headers=[m.headers for _, _, m in flat],
        absent=tuple(part.range.size - len(part.numbered) for part in parts),
    )


def one(*values: Any, topic: str = "mixed") -> RawSlice:
    """A slice of one partition with these values, from offset 0."""
    return raw_slice(Part([v if isinstance(v, Msg) else Msg(v) for v in values], topic=topic))


def piped(stream: Stream, raw: RawSlice) -> ParsedSlice:
    """Decoded, stepped through and validated."""
    return run_pipeline(StreamDecoder(stream).decode(raw), stream)


def rows_of(parsed: ParsedSlice, model: type[Model]) -> list[dict[str, Any]]:
    """A model's rows as plain values, without the Kafka position."""
    frame = parsed.rows.get(TargetTable.of(model))
    if frame is None:
        return []
    names = [n for n in frame.columns if not n.startswith("_kafka_")]
    columns = {n: arrow_column(frame, n).to_pylist() for n in names}
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def letters_of(parsed: ParsedSlice) -> dict[int, tuple[str, str]]:
    """Message number → (stage, error)."""
    return {letter.number: (letter.stage, letter.error) for letter in parsed.dead_letters}


def outcomes(parsed: ParsedSlice) -> list[int]:
    """The numbers of all rows, deletes, dead letters and ignored messages together, sorted."""
    found = [int(n) for frame in (*parsed.rows.values(), *parsed.deletes.values()) for n in frame.index]
    found += [letter.number for letter in parsed.dead_letters] + [int(n) for n in parsed.ignored]
    return sorted(found)
