"""What a backfill would leave of each business key: the load's rules played through, slice by slice, without writing."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka_ingest.sinks.latest_per_key import Place
from kafka_ingest.streams.kept import NEVER


class KeptValue(NamedTuple):
    """A kept column of a key's row (streams/kept.py), compared with the row that was there before the backfill."""

    place: str
    """Of the message that gave the value."""
    differs: bool
    default_differs: bool
    """Whether the column's default does."""

    def without_message(self) -> KeptValue:
        """As no message has carried it."""
        return KeptValue(NEVER, self.default_differs, self.default_differs)


@dataclass(slots=True)
class KeyState:
    """One business key so far. `outcome` compares with the table as it was before the backfill."""

    existed: bool
    row: Place | None
    grave: Place | None
    outcome: str
    differs: bool = False
    """Some column that is not kept does."""
    kept: dict[str, KeptValue] = field(default_factory=dict)
    has_own: bool = False
    """Whether the model has an order field of its own."""

    @classmethod
    def before(
        cls,
        row: Place | None,
        grave: Place | None,
        kept: Mapping[str, KeptValue] | None = None,
        *,
        has_own: bool = False,
    ) -> KeyState:
        """The state that the tables have: the key's row, and its tombstone; None for what is not there."""
        outcome = "absent" if row is None else "unchanged"
        return cls(row is not None, row, grave, outcome, kept=dict(kept or {}), has_own=has_own)

    def put(self, place: Place, *, differs: bool, kept: Mapping[str, KeptValue] | None = None) -> None:
        """A row comes; `differs` from the one that was there before the backfill. kept: its kept columns."""
        if self.grave is not None and self.grave.is_later(place):
            return
        if self.row is None or not self.row.is_later(place):
            self.row, self.differs = place, differs
        elif not kept:
            return
        buried = "" if self.grave is None else self.grave.text(has_own=self.has_own)
        for name, value in (kept or {}).items():
            if value.place > max(buried, NEVER) and value.place >= self.kept[name].place:
                self.kept[name] = value
        self._judge()

    def delete(self, place: Place) -> None:
        """A tombstone comes."""
        if self.grave is None or not self.grave.is_later(place):
            self.grave = place
        if self.row is None:
            return
        if self.grave.is_later(self.row):
            self.row = None
            self.outcome = "removed" if self.existed else "absent"
            self.kept = {name: value.without_message() for name, value in self.kept.items()}
            return
        buried = self.grave.text(has_own=self.has_own)
        for name, value in self.kept.items():
            if NEVER < value.place < buried:
                self.kept[name] = value.without_message()
        self._judge()

    def _judge(self) -> None:
        differs = self.differs or any(value.differs for value in self.kept.values())
        self.outcome = "added" if not self.existed else "changed" if differs else "unchanged"


class KeyStates:
    """The states of all keys met, in a temporary SQLite database: keys of a whole backfill may not fit the memory.

    Close it; its file goes with it.
    """

    def __init__(self) -> None:
        # "" is a private database, on disk once it outgrows its cache (SQLite manual, "Temporary Files").
        self._store = sqlite3.connect("")
        self._store.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, outcome TEXT, state TEXT) WITHOUT ROWID")

    def find(self, keys: Sequence[str]) -> dict[str, KeyState]:
        """Those of the keys that have been met before."""
        found = {}
        for key in keys:
            row = self._store.execute("SELECT state FROM keys WHERE key = ?", (key,)).fetchone()
            if row is not None:
                existed, place, grave, outcome, differs, kept, has_own = json.loads(row[0])
                found[key] = KeyState(
                    existed,
                    None if place is None else Place(*place),
                    None if grave is None else Place(*grave),
                    outcome,
                    differs,
                    {name: KeptValue(*value) for name, value in kept.items()},
                    has_own,
                )
        return found

    def keep(self, states: Iterable[tuple[str, KeyState]]) -> None:
        """Remember these states, in place of those of the same keys."""
        rows = [
            (key, s.outcome, json.dumps([s.existed, s.row, s.grave, s.outcome, s.differs, s.kept, s.has_own]))
            for key, s in states
        ]
        self._store.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", rows)

    def outcomes(self) -> Counter[str]:
        """Keys per outcome."""
        return Counter(dict(self._store.execute("SELECT outcome, COUNT(*) FROM keys GROUP BY outcome").fetchall()))

    def close(self) -> None:
        """Remove the states and their file. Idempotent."""
        self._store.close()


def key_text(key: Sequence[object]) -> str:
    """A business key as one text."""
    return json.dumps(list(key), default=str, ensure_ascii=False)
