"""From a row back to where it came from: Kafka position → ledger entries → Dagster runs. Reads only."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.ledger.dead_letter_filter import at_position, waiting
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS, aware_utc, naive_utc, of_partition
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import Position
from kafka_ingest.streams.model import INDEX_COLUMN, KAFKA_COLUMNS
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlColumn

_PAIR = re.compile(r"(?P<column>[^=\s]+)=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LoadedBy:
    """A ledger entry that covers a position."""

    start: int
    end: int
    kind: str
    window: str | None
    run_id: str
    loaded_at: dt.datetime
    rows: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Traced:
    """One message and what became of it."""

    fate: str
    """`row`, `tombstone`, `dead_letter`, or `no_row`: loaded, but not a row of this table now."""
    position: Position
    timestamp: dt.datetime | None
    """Kafka's; None where it is not known, or no date column holds it."""
    key: Mapping[str, object] | None
    """The business key's columns; None where the table has none or the message is no row."""
    error: str | None
    """Why a dead letter is one."""
    loads: tuple[LoadedBy, ...]
    """Every load of this position, the newest first; the first of them made what there is now."""
    index: int | None = None
    """The row's place in the array of its message, where a message is several rows and the table keeps it."""


def stream_of_table(streams: Mapping[str, Stream], name: str) -> tuple[Stream, TargetTable]:
    """Who loads a table. Raises ConfigError where nobody declared it."""
    tables = {t.label.lower(): (s, t) for s in streams.values() for t in s.targets}
    found = tables.get(name.lower())
    if found is None:
        raise ConfigError(f"no stream loads a table {name!r}; tables: {', '.join(sorted(tables))}")
    return found


def trace(sink: Sink, stream: Stream, target: TargetTable, key: str, *, limit: int = 20) -> list[Traced]:
    """What `key` names, at most `limit` of it, in order of position; empty where there is nothing of that name.

    key: `topic[partition]@offset`, or `column=value` (several, comma-separated, must all hold), or the value of a
    business key of one column.

    Raises ConfigError for a key that fits neither the table nor any of these, and the database's errors.
    """
    table = target.table
    position = Position.parse(key)
    with sink.errors(f"tracing {key} in {target.label}"), sink.engine.connect() as connection:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return []
        if position is not None:
            return _at(connection, stream, target, position, limit)
        wanted = _wanted(target, key)
        found = [_row(connection, stream, target, r) for r in rows_where(connection, table, wanted, limit)]
        if not found and target.tombstones is not None and set(wanted) == set(target.key):
            found = [
                _row(connection, stream, target, r, "tombstone")
                for r in rows_where(connection, target.tombstones, wanted, limit)
            ]
        return found


def rows_where(
    connection: sa.Connection, table: sa.Table, wanted: Mapping[str, object], limit: int, more: Sequence[str] = ()
) -> list[sa.RowMapping]:
    """Rows of a table, or of its tombstones, that have these values: business key and position, and the columns `more`."""
    order = [table.c[n] for n in ("_kafka_topic", "_kafka_partition", "_kafka_offset", INDEX_COLUMN) if n in table.c]
    # Before a run has brought an older table up to date it has no order of messages.
    key = (c.name for c in table.primary_key if c.name not in KAFKA_COLUMNS)
    query = (
        sa.select(*(table.c[n] for n in (*key, *KAFKA_COLUMNS, *more)))
        .where(*(table.c[n] == v for n, v in wanted.items()))
        .order_by(*order)
        .limit(limit)
    )
    return list(connection.execute(query).mappings())


def _wanted(target: TargetTable, key: str) -> dict[str, object]:
    """Column → value."""
    table = target.table
    names = target.key
    pairs = _pairs(table, key)
    if pairs is not None:
        return pairs
    if len(names) == 1:
        return {names[0]: _value(table.c[names[0]], key)}
    how = " and ".join(f"{n}=…" for n in names) if names else "column=value"
    raise ConfigError(f"{key!r} names nothing in table {target.label}: give {how}, or topic[partition]@offset")


def _pairs(table: sa.Table, key: str) -> dict[str, object] | None:
    """`a=1,b=2`; a comma that no column name follows belongs to the value. None where the text is no such thing."""
    parts: list[list[str]] = []
    for piece in key.split(","):
        match = _PAIR.fullmatch(piece)
        if match is not None and match["column"] in table.c:
            parts.append([match["column"], match["value"]])
        elif parts:
            parts[-1][1] += "," + piece
        else:
            return None
    return {name: _value(table.c[name], text) for name, text in parts}


def _value(column: SqlColumn, text: str) -> object:
    """The text as the column's type."""
    try:
        kind = column.type.python_type
    except NotImplementedError:
        kind = str
    readers: dict[type, Callable[[str], object]] = {int: int, float: float, dt.datetime: _instant, bool: _boolean}
    try:
        return readers.get(kind, str)(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no {kind.__name__}, which column {column.name} holds") from error


def _instant(text: str) -> dt.datetime:
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo is None else naive_utc(found)


def _boolean(text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false"):
        raise ValueError(text)
    return text.lower() in ("1", "true")


def _row(
    connection: sa.Connection, stream: Stream, target: TargetTable, row: sa.RowMapping, fate: str = "row"
) -> Traced:
    stamp = row["_kafka_timestamp"]
    position = Position(row["_kafka_topic"], row["_kafka_partition"], row["_kafka_offset"])
    key = {n: row[n] for n in target.key} if target.is_upsert else None
    at = None if stamp is None else aware_utc(stamp)
    return Traced(fate, position, at, key, None, loads_of(connection, stream, position), row.get(INDEX_COLUMN))


def _at(connection: sa.Connection, stream: Stream, target: TargetTable, position: Position, limit: int) -> list[Traced]:
    """What stands at a position: a row, or several of a message that is several, a dead letter, or neither."""
    table, letters = target.table, DEAD_LETTERS.c
    names = zip(("_kafka_topic", "_kafka_partition", "_kafka_offset"), position, strict=True)
    rows = rows_where(connection, table, dict(names), limit)
    if rows:
        return [_row(connection, stream, target, row) for row in rows]
    letter = connection.execute(
        sa.select(letters.stage, letters.error, letters.kafka_timestamp).where(
            waiting(), letters.stream == stream.name, at_position(position)
        )
    ).first()
    loads = loads_of(connection, stream, position)
    if letter is None:
        return [Traced("no_row", position, None, None, None, loads)]
    stamp = None if letter.kafka_timestamp is None else aware_utc(letter.kafka_timestamp)
    return [Traced("dead_letter", position, stamp, None, f"{letter.stage}: {letter.error}", loads)]


def loads_of(connection: sa.Connection, stream: Stream, position: Position) -> tuple[LoadedBy, ...]:
    """Every load of a position, the newest first."""
    c = BATCHES.c
    shown = (
        c.start_offset, c.end_offset, c.kind, c.window_key, c.run_id, c.loaded_at, c.row_count, c.dead_letter_count
    )  # fmt: skip
    rows = connection.execute(
        sa.select(*shown)
        .where(
            of_partition(BATCHES, stream.name, position.topic_partition),
            c.start_offset <= position.offset,
            c.end_offset > position.offset,
        )
        .order_by(c.id.desc())
    )
    return tuple(
        LoadedBy(
            r.start_offset,
            r.end_offset,
            r.kind,
            r.window_key,
            r.run_id,
            aware_utc(r.loaded_at),
            r.row_count,
            r.dead_letter_count,
        )
        for r in rows
    )


class LoadDocument(TypedDict):
    kind: str
    start_offset: int
    end_offset: int
    window: str | None
    loaded_at: str
    rows: int
    dead_letters: int
    run_id: str
    run_url: str | None


def key_document(key: Mapping[str, object] | None) -> object:
    """A business key for programs: what JSON has no type for is text."""
    return None if key is None else json.loads(json.dumps(dict(key), default=str))


def load_document(loaded: LoadedBy, link: Callable[[str], str | None]) -> LoadDocument:
    """For programs. link: a run's page, where the UI's address is known."""
    return {
        "kind": loaded.kind,
        "start_offset": loaded.start,
        "end_offset": loaded.end,
        "window": loaded.window,
        "loaded_at": loaded.loaded_at.isoformat(),
        "rows": loaded.rows,
        "dead_letters": loaded.dead_letters,
        "run_id": loaded.run_id,
        "run_url": link(loaded.run_id),
    }


class TracedDocument(TypedDict):
    table: str
    fate: str
    key: object
    topic: str
    partition: int
    offset: int
    timestamp: str | None
    error: str | None
    loads: list[LoadDocument]
    index: int | None


def traced_document(traced: Traced, table: str, link: Callable[[str], str | None]) -> TracedDocument:
    """For programs."""
    stamp = traced.timestamp
    return {
        "table": table,
        "fate": traced.fate,
        "key": key_document(traced.key),
        "topic": traced.position.topic,
        "partition": traced.position.partition,
        "offset": traced.position.offset,
        "timestamp": None if stamp is None else stamp.isoformat(),
        "error": traced.error,
        "loads": [load_document(each, link) for each in traced.loads],
        "index": traced.index,
    }
