"""What travels between the stages: offset ranges, batches, raw slices, dead letters, counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from kafka_ingest.dates.bounds import EARLIEST_MILLISECONDS, LATEST_MILLISECONDS
from kafka_ingest.errors import ConfigError
from kafka_ingest.type_names import LargeStrings

BatchKind = Literal["live", "backfill", "replay", "lost"]
"""Why a range stands in the ledger. `lost` records offsets that Kafka deleted before they were loaded."""

Stage = Literal["decode", "route", "validate", "step", "dates", "database"]
"""Where a message failed."""

Outcome = Literal["row", "delete", "dead_letter", "ignored"]
"""What became of a message."""

Headers = Sequence[tuple[str, bytes | None]]

TEXT = pd.StringDtype("pyarrow", na_value=np.nan)
"""What pandas 3 calls `str`; a missing text is NaN."""

NO_ORDER = -1
"""The order of what stands before a partition's first message, and of a message without a timestamp there."""

MAX_ORDER = LATEST_MILLISECONDS
"""The last millisecond of the year 9999; a later timestamp, which no clock gives, counts as this one."""


# A topic's name has none of these; a recreated topic's former life is kept under `topic@id`.
_POSITION = re.compile(r"(?P<topic>[^\[\]\s]{1,280})\[(?P<partition>[0-9]{1,9})\]@(?P<offset>[0-9]{1,18})")


class TopicPartition(NamedTuple):
    """One Kafka partition of a topic; sorts by topic, then partition."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Position(NamedTuple):
    """Where a message stands. Written `topic[partition]@offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """The position a text names; None where it names none."""
        found = _POSITION.fullmatch(text)
        return found and cls(found["topic"], int(found["partition"]), int(found["offset"]))


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """Half-open range of offsets `[start, end)` in one Kafka partition; `start == end` is empty."""

    topic: str
    partition: int
    start: int
    end: int

    def __post_init__(self) -> None:
        if not self.topic or self.partition < 0 or not 0 <= self.start <= self.end:
            raise ConfigError(f"not an offset range: {self}; it needs a topic, partition >= 0 and 0 <= start <= end")

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def size(self) -> int:
        """Number of offsets (not of messages: compaction and transaction markers leave offsets empty)."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@[{self.start},{self.end})"


@dataclass(frozen=True, slots=True)
class Batch:
    """Offset ranges of one stream, at most one per topic partition, sorted."""

    stream: str
    kind: BatchKind
    ranges: tuple[OffsetRange, ...]
    until_caught_up: bool = False
    """A live run that loads whatever waits as it starts to drain, however little, and then ends."""

    def __post_init__(self) -> None:
        partitions = [r.topic_partition for r in self.ranges]
        if len(set(partitions)) != len(partitions):
            raise ConfigError(
                f"stream {self.stream}: a batch holds at most one range per topic partition", stream=self.stream
            )
        object.__setattr__(self, "ranges", tuple(sorted(self.ranges)))

    @property
    def size(self) -> int:
        """Number of offsets, as `OffsetRange.size`."""
        return sum(r.size for r in self.ranges)

    def __str__(self) -> str:
        return ranges_text(self.ranges)


class LeaderEpoch(NamedTuple):
    """Under which leadership of its partition a message was written: the epoch rises with every new leader.

    A log that was cut and has grown again holds another epoch, or nothing, at `offset`.
    """

    epoch: int
    offset: int
    """Of the message that was written in it."""


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log a range was read from: a log that was recreated or cut has the same name and offsets. None: not known."""

    topic_id: str | None = None
    """Id of the topic, asked for after the range's last message was read."""
    leader_epoch: LeaderEpoch | None = None
    """Of the last message of the range; None too where it holds none."""


def ranges_text(ranges: Iterable[OffsetRange], *, limit: int = 8) -> str:
    """`news[0]@[0,10), news[1]@[4,9)`, shortened after `limit` ranges."""
    shown = list(ranges)
    text = ", ".join(str(r) for r in shown[:limit])
    return text + (f" and {len(shown) - limit} more" if len(shown) > limit else "") or "nothing"


@dataclass(frozen=True, slots=True)
class RawSlice:
    """Messages as Kafka delivered them, column by column, with the exact ranges they came from.

    Message number `i` (0 ≤ i < len) stands at `ranges[range_index[i]]`, at `offsets[i]`. Messages stand range by range,
    within one in offset order. `absent[k]` counts the offsets of `ranges[k]` that hold no message for a
    `read_committed` consumer (compacted, aborted, transaction markers).
    """

    ranges: tuple[OffsetRange, ...]
    range_index: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    timestamps_ms: npt.NDArray[np.int64]
    """Kafka message timestamps, milliseconds since the epoch, UTC; -1 where the message has none."""
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers | None]
    absent: tuple[int, ...]
    logs: tuple[LogIdentity, ...] = ()
    """Per range the log it was read from; of nothing known where left out."""
    order_starts: tuple[int, ...] = ()
    """Per range the order (see `orders`) of the message before its first one; NO_ORDER where left out."""
    orders: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Per message the first part of its place in the total order over messages (docs/reliability.md): the largest Kafka
    timestamp of its partition up to and including it, in milliseconds. It never falls within a partition, whatever the
    producers' clocks do. Found from the timestamps and `order_starts` where left out."""

    def __post_init__(self) -> None:
        if not self.logs:
            object.__setattr__(self, "logs", (LogIdentity(),) * len(self.ranges))
        if not self.order_starts:
            object.__setattr__(self, "order_starts", (NO_ORDER,) * len(self.ranges))
        if len(self.orders) != len(self.offsets):
            object.__setattr__(self, "orders", _running_maxima(self))

    def __len__(self) -> int:
        return len(self.values)

    def with_order_starts(self, starts: Mapping[TopicPartition, int]) -> RawSlice:
        """The same messages, their orders counted from these; a partition that `starts` leaves out keeps its own."""
        found = tuple(starts.get(r.topic_partition, own) for r, own in zip(self.ranges, self.order_starts, strict=True))
        return replace(self, order_starts=found, orders=np.empty(0, dtype=np.int64))

    def with_orders_from(self, number: int, offset: int, order: int) -> RawSlice:
        """The same messages; in range `number`, those from `offset` on have their orders counted from `order`."""
        start, end = np.searchsorted(self.range_index, [number, number + 1]).tolist()
        first = start + int(np.searchsorted(self.offsets[start:end], offset))
        orders = self.orders.copy()
        stamps = np.minimum(self.timestamps_ms[first:end], MAX_ORDER)
        orders[first:end] = np.maximum.accumulate(np.maximum(stamps, order))
        return replace(self, orders=orders)

    def order_before(self, number: int, offset: int) -> int:
        """The order of the last message below `offset` of range `number`, and of its start where there is none."""
        own = slice(*np.searchsorted(self.range_index, [number, number + 1]))
        below = int(np.searchsorted(self.offsets[own], offset))
        return int(self.orders[own][below - 1]) if below else self.order_starts[number]

    def split(self, count: int) -> tuple[RawSlice, RawSlice]:
        """The first `count` messages (1 to all but one) and the others, each with its part of the ranges. Of the message that the
        first part ends with the leader epoch is not known."""
        number, offset = int(self.range_index[count]), int(self.offsets[count])
        cut = self.ranges[number]
        own = count - int(np.searchsorted(self.range_index, number))
        absent = offset - cut.start - own
        to = (
            number + 1 if offset > cut.start else number
        )  # of a range that begins with the first of the others nothing is here
        first = replace(
            self,
            ranges=(*self.ranges[:number], replace(cut, end=offset))[:to],
            absent=(*self.absent[:number], absent)[:to],
            logs=(*self.logs[:number], replace(self.logs[number], leader_epoch=None))[:to],
            order_starts=self.order_starts[:to],
            **self._messages(slice(0, count), 0),
        )
        others = replace(
            self,
            ranges=(replace(cut, start=offset), *self.ranges[number + 1 :]),
            absent=(self.absent[number] - absent, *self.absent[number + 1 :]),
            logs=self.logs[number:],
            order_starts=(self.order_before(number, offset), *self.order_starts[number + 1 :]),
            **self._messages(slice(count, None), number),
        )
        return first, others

    def _messages(self, part: slice, ranges_before: int) -> dict[str, Any]:
        columns = ("offsets", "timestamps_ms", "keys", "values", "headers", "orders")
        return {name: getattr(self, name)[part] for name in columns} | {
            "range_index": self.range_index[part] - np.int32(ranges_before)
        }

    def ranks(self) -> npt.NDArray[np.int64]:
        """Each message's place in the total order among these messages: by order, topic, partition, offset."""
        ranks = np.arange(len(self), dtype=np.int64)
        if len(self.ranges) > 1:
            partitions = np.empty(len(self.ranges), dtype=np.int64)
            partitions[sorted(range(len(self.ranges)), key=lambda i: self.ranges[i].topic_partition)] = np.arange(
                len(self.ranges)
            )
            ranks[np.lexsort((self.offsets, partitions[self.range_index], self.orders))] = np.arange(len(self))
        return ranks

    def position(self, number: int) -> str:
        """`topic[partition]@offset` of one message."""
        found = self.ranges[self.range_index[number]]
        return str(Position(found.topic, found.partition, int(self.offsets[number])))


def _running_maxima(raw: RawSlice) -> npt.NDArray[np.int64]:
    stamps = np.minimum(raw.timestamps_ms, MAX_ORDER)
    orders = np.maximum(stamps, np.array(raw.order_starts, dtype=np.int64)[raw.range_index])
    bounds = np.searchsorted(raw.range_index, np.arange(len(raw.ranges) + 1))
    for start, end in pairwise(bounds.tolist()):
        np.maximum.accumulate(orders[start:end], out=orders[start:end])
    return orders


def position_columns(raw: RawSlice, numbers: Sequence[int] | npt.NDArray[np.int64] | pd.Index) -> dict[str, pd.Series]:
    """The `_kafka_*` columns of these messages, those of upsert tables. A Kafka timestamp that a date column
    does not hold is NULL."""
    index = numbers if isinstance(numbers, pd.Index) else pd.Index(numbers)
    numbers = index.to_numpy()
    which = raw.range_index[numbers]
    topics = pa.array([r.topic for r in raw.ranges], pa.large_string())
    partitions = np.array([r.partition for r in raw.ranges], dtype=np.int32)
    stamps = raw.timestamps_ms[numbers]
    fits = (stamps != -1) & (stamps >= EARLIEST_MILLISECONDS) & (stamps <= LATEST_MILLISECONDS)
    instants = np.where(fits, stamps, 0).astype("datetime64[ms]").astype("datetime64[us]")
    instants[~fits] = np.datetime64("NaT", "us")
    return {
        "_kafka_topic": text_series(topics.take(pa.array(which, pa.int32())), index),
        "_kafka_partition": pd.Series(partitions[which], index=index, copy=False),
        "_kafka_offset": pd.Series(raw.offsets[numbers], index=index, copy=False),
        "_kafka_timestamp": pd.Series(instants, index=index, copy=False),
        "_kafka_order": pd.Series(raw.orders[numbers], index=index, copy=False),
    }


def text_series(texts: LargeStrings, index: pd.Index) -> pd.Series:
    """A `str` column of these texts, without a copy."""
    return pd.Series(TEXT.__from_arrow__(texts), index=index, copy=False)  # type: ignore[attr-defined]  # not in the stubs


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that cannot become a row: its number in the slice, where it failed and why.

    The bytes stay in the `RawSlice`; the sink writes them beside the error.
    """

    number: int
    stage: Stage
    error: str
    route: str | None = None


@dataclass(frozen=True, slots=True)
class RangeCounts:
    """What became of one range: `rows + deletes + dead_letters + ignored + absent == end - start`."""

    range: OffsetRange
    kind: BatchKind
    rows: int
    deletes: int
    dead_letters: int
    ignored: int
    absent: int
    min_timestamp_ms: int | None
    max_timestamp_ms: int | None
    rows_by_table: Mapping[str, int] = field(default_factory=dict)
    """Rows by table, several of a message that is several; tables without a row are left out. `rows` counts messages."""
    order_start: int | None = None
    """The order (`RawSlice.orders`) of the last message below the range; None where it is not known."""

    @property
    def accounted(self) -> int:
        """Offsets of which it is known what became of them; the size of the range, or the load is refused."""
        return self.rows + self.deletes + self.dead_letters + self.ignored + self.absent


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load transaction did. Latency percentiles are seconds from Kafka timestamp to database commit."""

    counts: tuple[RangeCounts, ...]
    rows_by_table: dict[str, int]
    next_offsets: dict[TopicPartition, int]
    """The ledger's next offset of each partition touched, after the commit."""
    messages_by_window: Mapping[str, int]
    """Messages loaded per time window (partition key), in order of time."""
    skipped: int
    """Offsets of the slice that the ledger had already: another run is loading the same."""
    load_seconds: float
    latency_p50_seconds: float | None
    latency_p95_seconds: float | None

    def total(self, what: Literal["rows", "deletes", "dead_letters", "ignored", "absent"]) -> int:
        """Sum over the ranges."""
        return sum(getattr(c, what) for c in self.counts)

    @property
    def messages(self) -> int:
        """Number of messages: offsets that are not absent."""
        return sum(c.range.size - c.absent for c in self.counts)
