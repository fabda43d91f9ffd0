"""The metrics that `kafka-ingest metrics` exports, as data: name, kind, labels, and what each says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. Names follow Prometheus' conventions: base units, `_total` on counters only."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    text: str
    """What is measured, for a person."""

    def sample(self, *labels: str, value: float) -> Sample:
        """One value; the labels in the order of the family's."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {labels}")
        return Sample(self, labels, value)


class Sample(NamedTuple):
    """A value of a metric at the time of a look."""

    family: Family
    labels: tuple[str, ...]
    value: float


def _gauge(name: str, labels: str, text: str) -> Family:
    return Family(f"kafka_ingest_{name}", "gauge", tuple(labels.split()), text)


def _counter(name: str, labels: str, text: str) -> Family:
    return Family(f"kafka_ingest_{name}_total", "counter", tuple(labels.split()), text)


UP = _gauge(
    "up",
    "stream",
    "1 where the stream could be looked at in Kafka and in the database, 0 where not: nothing else of it is exported then.",
)
LOOK_SECONDS = _gauge("look_seconds", "stream", "How long this look at the stream took.")
PARTITIONS = _gauge("partitions", "stream", "Kafka partitions of the stream's topics that exist.")
MISSING_TOPICS = _gauge("missing_topics", "stream", "Declared topics, or the pattern, that nothing matches yet.")
LAG = _gauge(
    "lag_offsets",
    "stream",
    "Offsets between the ledger's position and the last stable offset, of all partitions; markers of transactions count.",
)
OLDEST_WAITING = _gauge(
    "oldest_waiting_seconds",
    "stream",
    "Age of the oldest message that waits, by its Kafka timestamp; 0: nothing waits.",
)
DEAD_LETTERS_WAITING = _gauge(
    "dead_letters_waiting", "stream", "Dead letters that are kept and that no replay has made something of."
)
LAST_LOAD = _gauge(
    "last_load_timestamp_seconds",
    "stream kind",
    "When a range was loaded last, in seconds since 1970, by kind (live, backfill, replay, lost).",
)
LOADS = _counter(
    "loads", "stream", "Transactions that loaded from a Kafka partition, counted for each partition; of any kind."
)
OFFSETS = _counter(
    "offsets",
    "stream kind outcome",
    "Offsets the ledger accounts for, by kind of load and by what became of them: row, delete, dead_letter, ignored, absent. A "
    "range that is loaded again is counted again, as backfill or replay; lost: gone from Kafka before they were loaded.",
)
ROWS = _counter(
    "rows",
    "stream table kind",
    "Messages that became a row of the table, by kind of load; of a model that explodes an array each of their rows. Not the "
    "rows it holds: an upsert counts each message, a backfill counts again.",
)
PARTITION_LAG = _gauge("partition_lag_offsets", "stream topic partition", "The partition's part of the lag.")
PARTITION_NEXT_OFFSET = _gauge(
    "partition_next_offset", "stream topic partition", "The ledger's next offset; none before a run has pinned it."
)
PARTITION_LOG_START = _gauge("partition_log_start_offset", "stream topic partition", "First offset Kafka still holds.")
PARTITION_LOG_END = _gauge("partition_log_end_offset", "stream topic partition", "Last stable offset.")

DAGSTER_UP = _gauge("dagster_up", "", "1 where Dagster's storage could be read, 0 where not. Needs DAGSTER_HOME.")
RUNS = _gauge(
    "runs",
    "stream status",
    "Runs of the stream, or of its group, in Dagster's storage now, of any kind, by status; fewer after the daily retention.",
)
LAST_RUN_SECONDS = _gauge(
    "last_run_seconds",
    "stream",
    "From start to end of the live run that ended last. A run waits for messages meanwhile: this is not the time of loading.",
)
LAST_RUN_STEP_SECONDS = _gauge(
    "last_run_step_seconds",
    "stream step",
    "Steps of the live run that ended last. `read` and `load` are those of its first batch, `drain` is all that came after.",
)
LAST_TICK = _gauge(
    "sensor_last_tick_timestamp_seconds", "stream", "When the stream's sensor ticked last, in seconds since 1970."
)
LAST_TICK_SECONDS = _gauge("sensor_last_tick_seconds", "stream", "How long that tick took.")

FAMILIES = (
    UP,
    LOOK_SECONDS,
    PARTITIONS,
    MISSING_TOPICS,
    LAG,
    OLDEST_WAITING,
    DEAD_LETTERS_WAITING,
    LAST_LOAD,
    LOADS,
    OFFSETS,
    ROWS,
    PARTITION_LAG,
    PARTITION_NEXT_OFFSET,
    PARTITION_LOG_START,
    PARTITION_LOG_END,
    DAGSTER_UP,
    RUNS,
    LAST_RUN_SECONDS,
    LAST_RUN_STEP_SECONDS,
    LAST_TICK,
    LAST_TICK_SECONDS,
)
"""All of them, in the order they are exported."""


def by_family(samples: Iterable[Sample]) -> dict[Family, list[Sample]]:
    """The samples by metric, in the order of `FAMILIES`; metrics without one are left out."""
    found: dict[Family, list[Sample]] = {family: [] for family in FAMILIES}
    for each in samples:
        found[each.family].append(each)
    return {family: some for family, some in found.items() if some}
