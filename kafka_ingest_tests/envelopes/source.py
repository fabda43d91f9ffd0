"""A table at the source that changes by chance, and the events of its changes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from kafka_ingest.testing.messages import MORNING_MS, Msg
from kafka_ingest_tests.envelopes.world import change, key, row

PARTITIONS = 3

Row = dict[str, Any]


class Source:
    """The table of Debezium's tutorial, its rows by their key, and its log in Kafka's partitions.

    keys: its rows have the keys 1 to this. by_key: a row's events stand in one partition; otherwise in any.
    """

    def __init__(self, chance: random.Random, *, keys: int = 12, by_key: bool = True) -> None:
        self.rows: dict[int, Row] = {}
        self.partitions: list[list[Msg]] = [[] for _ in range(PARTITIONS)]
        self.counts = dict.fromkeys(("c", "u", "d", "moved"), 0)
        """Events by their `op`, and changed keys, of which each is a delete and an insert."""
        self._chance = chance
        self._keys = keys
        self._by_key = by_key
        self._lsn = 1_000

    def change(self) -> None:
        """One change, and its event, or the events of a changed key."""
        number, other = self._chance.randint(1, self._keys), self._chance.randint(1, self._keys)
        match self._chance.choice(("write", "write", "delete", "move")):
            case "write":
                self._write(number, self.made(number))
            case "delete" if number in self.rows:
                self._delete(number)
            case "move" if number in self.rows and other not in self.rows:
                moved = self.rows[number] | {"id": other}
                self._delete(number)
                self._write(other, moved)
                self.counts["moved"] += 1

    def made(self, number: int) -> Row:
        """A row with this key as somebody writes it."""
        return row(number, self._chance.choice(("Ä", "b", "c ", "", "d'e\\")))

    def before_delete(self, old: Row) -> Row | None:
        """What a delete tells of the row, by its replica identity: its key, all of it, or nothing."""
        chosen: Row | None = self._chance.choice(({"id": old["id"]}, old, None))
        return chosen

    def encoded(self, row: Row) -> Row:
        """The row as Debezium writes its values."""
        return row

    def value(self, event: Mapping[str, Any]) -> Any:
        """A message's value with this event."""
        return event

    def key(self, number: int) -> bytes:
        """A message's key."""
        return key(number)

    def _write(self, number: int, new: Row) -> None:
        old = self.rows.get(number)
        self._send(number, "c" if old is None else "u", old, new)
        self.rows[number] = new

    def _delete(self, number: int) -> None:
        self._send(number, "d", self.before_delete(self.rows.pop(number)), None)
        self._put(number, None)

    def _send(self, number: int, op: str, before: Row | None, after: Row | None) -> None:
        self._lsn += 8
        self.counts[op] += 1
        encoded = [None if row is None else self.encoded(row) for row in (before, after)]
        self._put(number, self.value(change(op, *encoded, lsn=self._lsn)))

    def _put(self, number: int, value: Any) -> None:
        partition = number % PARTITIONS if self._by_key else self._chance.randrange(PARTITIONS)
        # A clock that runs backwards now and then.
        timestamp_ms = MORNING_MS + self._lsn + self._chance.choice((0, 0, 0, -200))
        self.partitions[partition].append(Msg(value, key=self.key(number), timestamp_ms=timestamp_ms))
