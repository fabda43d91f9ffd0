"""What became of a message: its row, what stands in its place, or why there is neither; from ledger, tables and log."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import sqlalchemy as sa

from kafka_ingest.checks.message_search import Message
from kafka_ingest.checks.today import Today
from kafka_ingest.checks.trace import LoadedBy, loads_of, rows_where
from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.dead_letter_filter import at_position
from kafka_ingest.ledger.dead_letters import DeadLetterInfo, newest
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS
from kafka_ingest.sinks.latest_per_key import Place
from kafka_ingest.sinks.misfits import existing_columns
from kafka_ingest.slices import Position
from kafka_ingest.streams.kept import NEVER, OWN_NULL, place_column, position_in
from kafka_ingest.streams.model import KAFKA_COLUMNS, ORDER_COLUMN
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

Fate = Literal[
    "row", "superseded", "deleted", "tombstone", "dead_letter", "ignored", "waiting", "not_yet", "expired", "lost",
    "no_message", "not_loaded", "no_row",
]  # fmt: skip
"""row          stands in a table
superseded   a later message of its business key stands there
deleted      a tombstone has deleted its row
tombstone    it is one, and its key's row is deleted
dead_letter  waits to be replayed
ignored      nothing is made of it: no route that the stream does not ignore, or dropped by a step
waiting      not loaded yet
not_yet      the offset lies beyond the end of the log
expired      Kafka has deleted it; the loads say whether it was loaded before
lost         Kafka had deleted it before it was loaded, which the ledger records
no_message   the offset holds no message: compacted, or a transaction's marker
not_loaded   the stream began behind it
no_row       loaded, and none of the above is there"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    """One position and what became of its message."""

    position: Position
    fate: Fate
    text: str
    """The fate in words."""
    timestamp: dt.datetime | None = None
    """Kafka's; None where there is no message, or it has none."""
    message_key: bytes | None = None
    table: str | None = None
    """That its row stands in, or would."""
    key: Mapping[str, object] | None = None
    """The business key's columns; None where the table has none or it is not known."""
    by: Position | None = None
    """The message that superseded it, or the tombstone that deleted its row."""
    dead_letter: DeadLetterInfo | None = None
    """Its dead letter, also one that a replay has made something of."""
    advice: str | None = None
    """The command that does something about it."""
    loads: tuple[LoadedBy, ...] = ()
    """Every load of this position, the newest first."""


class FateFinder:
    """What the ledger and the tables say of positions, at one moment."""

    def __init__(
        self,
        connection: sa.Connection,
        stream: Stream,
        state: StreamState,
        metadata: KafkaMetadata,
        trouble: str | None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._state = state
        self._metadata = metadata
        self._trouble = trouble
        inspector = sa.inspect(connection)
        self._has_ledger = inspector.has_table(BATCHES.name) and inspector.has_table(DEAD_LETTERS.name)
        self._columns = {
            table: existing_columns(inspector, table) if inspector.has_table(table.name, schema=table.schema) else set()
            for target in stream.targets
            for table in target.tables
        }

    def of(self, position: Position, message: Message | None, today: Today | None) -> FoundMessage:
        """What became of a message; None where the log does not hold it."""
        is_known = self._has_ledger and not self._is_made_anew(position.topic)
        loads = loads_of(self._connection, self._stream, position) if is_known else ()
        letter = self._letter(position) if is_known else None
        known = FoundMessage(
            position=position,
            fate="no_row",
            text="",
            timestamp=None if message is None else _instant(message.timestamp_ms),
            message_key=None if message is None else message.key,
            table=None if today is None or today.target is None else today.target.label,
            key=None if today is None or len(today.keys) != 1 else today.keys[0].key,
            dead_letter=letter,
            loads=loads,
        )
        return (
            self._of_letter(known)
            or self._in_tables(known, today)
            or self._of_log(known, message is not None, today)
            or self._of_key(known, today)
            or self._no_row(known, today)
        )

    def _is_made_anew(self, topic: str) -> bool:
        """Whether the topic was deleted and created again since the ledger saw it: what stands there is of other messages."""
        known = {p.topic_id for tp, p in self._state.ledger.items() if tp.topic == topic and p.topic_id is not None}
        return bool(known) and self._state.topics.topic_ids.get(topic) not in known

    def _letter(self, position: Position) -> DeadLetterInfo | None:
        mine = sa.and_(DEAD_LETTERS.c.stream == self._stream.name, at_position(position))
        return next(iter(newest(self._connection, mine, 1)), None)

    def _of_letter(self, known: FoundMessage) -> FoundMessage | None:
        letter = known.dead_letter
        if letter is None:
            return None
        if letter.is_waiting:
            tried = f" (replays: {letter.attempts})" if letter.attempts else ""
            return replace(
                known,
                fate="dead_letter",
                text=f"a dead letter{tried}: {letter.stage}: {letter.error}",
                advice=f"kafka-ingest dead-letters show {letter.id}",
            )
        if letter.replay_outcome == "ignored":
            return replace(known, fate="ignored", text="was a dead letter; its replay made nothing of it")
        return None

    def _in_tables(self, known: FoundMessage, today: Today | None) -> FoundMessage | None:
        """The row or the tombstone of this very message."""
        if not known.loads:
            return None
        replayed = ", after its dead letter was replayed" if known.dead_letter is not None else ""
        for target in self._stream.targets:
            wanted = _wanted_in(target, known.position, today)
            for table in target.tables:
                found = [row for each in wanted for row in self._rows(table, each)]
                rows = [row for row in found if _position(row) == known.position]
                if not rows:
                    continue
                key = {name: rows[0][name] for name in target.key} if len(rows) == 1 else {}
                own = replace(known, table=target.label, key=key or None)
                if table is target.table:
                    return replace(own, fate="row", text=f"{self._said(target, rows, wanted, today)}{replayed}")
                return self._of_tombstone(own, target, key, replayed)
        return None

    def _said(
        self, target: TargetTable, rows: list[sa.RowMapping], wanted: list[Mapping[str, object]], today: Today | None
    ) -> str:
        """The rows of a message in words; of one that is several those of the others, too."""
        if target.explode is None:
            return f"a row of table {target.label}"
        number = len(rows)
        if not target.is_upsert:
            number = self._count(target.table, wanted[0])
        said = f"{number:,} row{'s' * (number != 1)} of table {target.label}"
        more = 0 if today is None or not target.is_upsert else len(today.keys) - number
        return said if more <= 0 else f"{said}; {more:,} more of its keys have rows of other messages, or none"

    def _of_tombstone(
        self, known: FoundMessage, target: TargetTable, key: Mapping[str, object], replayed: str
    ) -> FoundMessage:
        """A tombstone that is remembered; a later message may have made a row of its key anew."""
        rows = self._rows(target.table, key)
        if rows:
            by = _position(rows[0])
            text = f"a tombstone, superseded by {by}, the later message of its key"
            return replace(known, fate="superseded", by=by, text=text)
        text = f"a tombstone: the row of its key in {target.label} is deleted{replayed}"
        return replace(known, fate="tombstone", text=text)

    def _of_log(self, known: FoundMessage, is_in_log: bool, today: Today | None) -> FoundMessage | None:
        """What only the log and the ledger's ranges say."""
        position, loads = known.position, known.loads
        log = self._state.watermarks[position.topic_partition]
        if loads and loads[0].kind == "lost":
            return replace(
                known, fate="lost", text="lost: Kafka had deleted it before it was loaded, which the ledger records"
            )
        if not is_in_log:
            return self._without_message(known, log.low, log.high)
        would = "" if today is None else f"; today's code would make {today} of it"
        if loads:
            return None
        why = self._why_waiting(position)
        if why is not None:
            return replace(known, fate="waiting", text=f"not loaded yet: {why}{would}")
        return replace(
            known,
            fate="not_loaded",
            text=f"never loaded: the stream began behind it{would}",
            advice=self._load_again(position),
        )

    def _why_waiting(self, position: Position) -> str | None:
        """Why a message that was not loaded will be; None where it lies behind the stream's position."""
        following = self._state.position(position.topic_partition)
        if self._is_made_anew(position.topic):
            return "the topic was deleted and created again, and what the ledger knows is of the old one"
        if following is None:
            return "no run has begun yet"
        if position.offset < following:
            return None
        if position.topic_partition not in self._state.ledger:
            return f"the first run will begin at offset {following}"
        return f"the ledger's next offset is {following}"

    def _without_message(self, known: FoundMessage, low: int, high: int) -> FoundMessage:
        offset, loads = known.position.offset, known.loads
        loaded = "it was loaded before, and is no row now" if loads else "the ledger knows of no load of it"
        if offset >= high and not loads:
            return replace(known, fate="not_yet", text=f"not yet: the log ends at offset {high}")
        if offset >= high:
            return replace(
                known, fate="expired", text=f"gone: the log ends at offset {high}, so it was cut or made anew; {loaded}"
            )
        if offset < low:
            return replace(
                known, fate="expired", text=f"expired: Kafka's retention has deleted what lies below {low}; {loaded}"
            )
        return replace(
            known,
            fate="no_message",
            text=f"no message: compacted, or a marker or an aborted message of a transaction; {loaded}",
        )

    def _of_key(self, known: FoundMessage, today: Today | None) -> FoundMessage | None:
        """What stands under its business key instead of it."""
        if today is None:
            return None
        if today.outcome == "ignored":
            return replace(
                known, fate="ignored", text="ignored: no route takes it, or a step drops it, and the stream wants it so"
            )
        target = today.target
        if target is None:
            return None
        for (key, own), table in itertools.product(today.keys, target.tables):
            rows = self._rows(table, key, target.order_by)
            if rows and self._is_later(rows[0], known.position, target, own):
                by = _position(rows[0])
                if table is target.table:
                    text = f"superseded by {by}, the later message of its key{self._still_there(target, key, known.position)}"
                    return replace(known, fate="superseded", by=by, text=text)
                return replace(known, fate="deleted", by=by, text=f"deleted by the tombstone at {by}")
        return None

    def _still_there(self, target: TargetTable, key: Mapping[str, object], position: Position) -> str:
        """Which kept columns of the row that superseded a message still have its values."""
        columns = {bound.name: place_column(bound.name) for bound in target.kept}
        present = [name for name, place in columns.items() if place.lower() in self._columns[target.table]]
        if not present:
            return ""
        row = rows_where(self._connection, target.table, key, 1, [columns[name] for name in present])[0]
        own = None if target.order_by is None else target.table.c[target.order_by].type
        its = [
            name
            for name in present
            if row[columns[name]] not in (None, NEVER, OWN_NULL) and position_in(row[columns[name]], own) == position
        ]
        return f", which keeps its {', '.join(its)}" if its else ""

    def _no_row(self, known: FoundMessage, today: Today | None) -> FoundMessage:
        if self._trouble is not None:
            why = f"and what it would be today is not known: {self._trouble}"
        elif today is not None and today.outcome == "dead_letter":
            why = f"and today's code makes {today} of it: its dead letter was deleted, or older code loaded it"
        else:
            why = "so it was deleted by hand, or older code made nothing of it"
        return replace(
            known,
            fate="no_row",
            text=f"loaded, and no row now, {why}. Load the offset again.",
            advice=self._load_again(known.position),
        )

    def _load_again(self, position: Position) -> str:
        offset = position.offset
        partition = f"{position.topic}:{position.partition}"
        return f"kafka-ingest backfill {self._stream.name} --from {offset} --to {offset + 1} --partition {partition}"

    def _rows(self, table: sa.Table, wanted: Mapping[str, object], order_by: str | None = None) -> list[sa.RowMapping]:
        present = self._columns[table]
        if not present:
            return []
        more = [n for n in (ORDER_COLUMN, order_by) if n is not None and n in table.c and n.lower() in present]
        return rows_where(self._connection, table, wanted, 1, more)

    def _count(self, table: sa.Table, wanted: Mapping[str, object]) -> int:
        query = sa.select(sa.func.count()).select_from(table).where(*(table.c[n] == v for n, v in wanted.items()))
        return int(self._connection.execute(query).scalar_one())

    def _is_later(self, row: sa.RowMapping, position: Position, target: TargetTable, mine: object) -> bool:
        """Whether what stands under the key comes after the message in the total order. mine: the message's value of the model's
        own order field."""
        at = _position(row)
        own = None if target.order_by is None else row.get(target.order_by)
        there = Place.of(*at, row["_kafka_timestamp"], row.get(ORDER_COLUMN), own)
        # Within a partition the order says what the offset says, and need not be asked for.
        order = there.order if at.topic_partition == position.topic_partition else self._order_of(position)
        return there.is_later(Place.of(*position, None, order, mine))

    def _order_of(self, position: Position) -> int:
        tp = position.topic_partition
        return self._metadata.largest_timestamps_below({tp: position.offset + 1})[tp]


def _wanted_in(target: TargetTable, position: Position, today: Today | None) -> list[Mapping[str, object]]:
    """By what the rows of a message are looked for; nothing where today's code puts it into another table.

    Upsert tables have no index on positions: they are asked by key, and searched through only where no key is known.
    """
    if not target.is_upsert or today is None or today.outcome == "dead_letter":
        return [dict(zip(KAFKA_COLUMNS, position, strict=False))]
    return [key for key, _ in today.keys] if today.target == target else []


def _position(row: sa.RowMapping) -> Position:
    return Position(row["_kafka_topic"], row["_kafka_partition"], row["_kafka_offset"])


def _instant(milliseconds: int) -> dt.datetime | None:
    """None where the message has no timestamp, or one that no date holds."""
    try:
        return None if milliseconds < 0 else dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
