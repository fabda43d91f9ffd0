"""Running sums over a stream's part of the ledger: after the first look only what was loaded since is read.

What was loaded since is found by revision, not by the entries' ids: ids are given out before the commit, so an entry may appear
below one that was seen already. A partition's revision grows with each transaction that loads from it, under the lock of its
row, so revisions appear in order.

The ledger's compaction replaces entries by one with their sums, under the last one's revision. It merges only what is a day old
or more, so sums that were looked after within the last hour have all of it already. They are taken anew where nobody has looked
for longer, and where a partition's revision is lower than it was or its log was set aside: another ledger stands here then.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from kafka_ingest.ledger.range_sql import OR_TERMS
from kafka_ingest.ledger.tables import BATCHES, OFFSETS, aware_utc, of_partition
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition

# Much less than the day that entries are at least old when they are merged.
KEPT_SECONDS = 3_600.0
# Of one statement, so that its answer stays small: an entry has one revision, and two seldom share one.
REVISIONS_A_STATEMENT = 50_000

OUTCOMES = {
    "row": BATCHES.c.row_count,
    "delete": BATCHES.c.delete_count,
    "dead_letter": BATCHES.c.dead_letter_count,
    "ignored": BATCHES.c.ignored_count,
    "absent": BATCHES.c.absent_count,
}


@dataclass(slots=True)
class Totals:
    """Sums since the ledger was made."""

    offsets: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind of load and outcome; their sum is that of all ranges."""
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By table and kind of load. Entries of the ledger's first version do not say which table."""
    last_load: dict[str, dt.datetime] = field(default_factory=dict)
    """By kind of load."""
    loads: int = 0
    """Transactions, counted for each Kafka partition they loaded from."""

    def loaded(self, kind: str, at: dt.datetime) -> None:
        """Note a load of this kind."""
        self.last_load[kind] = max(at, self.last_load.get(kind, at))

    def add(self, other: Totals) -> None:
        """Add the sums of other entries. `loads` are no sums over entries: they stay."""
        self.offsets.update(other.offsets)
        self.rows.update(other.rows)
        for kind, at in other.last_load.items():
            self.loaded(kind, at)


class LedgerTotals:
    """The sums of one stream, kept between looks. One thread at a time."""

    def __init__(self, stream: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._looked_at = -math.inf
        self._seen: dict[TopicPartition, int] = {}
        self._totals = Totals()

    def look(self, sink: Sink) -> Totals | None:
        """The sums as they stand now; None where the ledger has not been made, or not been brought up to date by a run.

        Raises what `Sink.classify_error` makes of the driver's errors; the sums are then as they were.
        """
        now = self._clock()
        with sink.errors(f"summing up the ledger of stream {self._stream}"), sink.snapshot() as connection:
            if check_version(connection) != VERSION:
                return None
            revisions = self._revisions(connection)
            is_anew = now - self._looked_at > KEPT_SECONDS or self._is_another(revisions)
            found = self._sums(connection, {} if is_anew else self._seen, revisions)
        if is_anew:
            self._totals = Totals()
        self._totals.add(found)
        self._totals.loads = sum(revisions.values())
        self._seen, self._looked_at = revisions, now
        return self._totals

    def _revisions(self, connection: sa.Connection) -> dict[TopicPartition, int]:
        c = OFFSETS.c
        rows = connection.execute(sa.select(c.topic, c.kafka_partition, c.revision).where(c.stream == self._stream))
        return {TopicPartition(row.topic, row.kafka_partition): int(row.revision) for row in rows}

    def _is_another(self, revisions: Mapping[TopicPartition, int]) -> bool:
        """Whether what was summed up may stand in the ledger under other names by now, or not at all."""
        return any(revisions.get(tp, -1) < seen for tp, seen in self._seen.items()) or any(
            "@" in tp.topic for tp in revisions.keys() - self._seen.keys()
        )

    def _sums(
        self, connection: sa.Connection, seen: Mapping[TopicPartition, int], revisions: Mapping[TopicPartition, int]
    ) -> Totals:
        """Of the entries above what was seen, up to the given revisions."""
        c = BATCHES.c
        sums = [sa.func.sum(column).label(name) for name, column in OUTCOMES.items()]
        # Small batches have the same few texts, so most of the work is done in the database.
        query = sa.select(c.kind, c.rows_by_table, sa.func.count().label("entries"), sa.func.max(c.loaded_at), *sums)
        query = query.group_by(c.kind, c.rows_by_table)
        found = Totals()
        for bands in _statements(_bands(seen, revisions)):
            where = sa.or_(*(band.condition(self._stream) for band in bands))
            for kind, by_table, entries, loaded_at, *numbers in connection.execute(query.where(where)):
                for outcome, number in zip(OUTCOMES, numbers, strict=True):
                    found.offsets[kind, outcome] += int(number)
                for table, rows in json.loads(by_table or "{}").items():
                    found.rows[table, kind] += rows * entries
                found.loaded(kind, aware_utc(loaded_at))
        return found


class _Band(NamedTuple):
    """Entries of a Kafka partition above one revision, up to another. Above -1 there are also those that have none: an older
    version of this package wrote them."""

    tp: TopicPartition
    above: int
    up_to: int

    def condition(self, stream: str) -> sa.ColumnElement[bool]:
        revision = BATCHES.c.revision
        mine = sa.and_(revision > self.above, revision <= self.up_to)
        within = mine if self.above >= 0 else sa.or_(revision.is_(None), revision <= self.up_to)
        return sa.and_(of_partition(BATCHES, stream, self.tp), within)


def _bands(seen: Mapping[TopicPartition, int], revisions: Mapping[TopicPartition, int]) -> Iterator[_Band]:
    for tp, now in sorted(revisions.items()):
        above = seen.get(tp, -1)
        while above < now:
            up_to = min(now, above + REVISIONS_A_STATEMENT)
            yield _Band(tp, above, up_to)
            above = up_to


def _statements(bands: Iterable[_Band]) -> Iterator[list[_Band]]:
    """As many bands at a time as a server plans well, with as many revisions in them as may be answered at once."""
    some: list[_Band] = []
    for band in bands:
        size = sum(each.up_to - each.above for each in (*some, band))
        if some and (len(some) == OR_TERMS or size > REVISIONS_A_STATEMENT):
            yield some
            some = []
        some.append(band)
    if some:
        yield some
