"""What a backfill would leave of each business key: the load's rules played through, slice by slice, without writing."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kafka_ingest.sinks.latest_per_key import Place


@dataclass(slots=True)
class KeyState:
    """One business key so far. `outcome` compares with the table as it was before the backfill."""

    existed: bool
    row: Place | None
    grave: Place | None
    outcome: str

    @classmethod
    def before(cls, row: Place | None, grave: Place | None) -> KeyState:
        """The state that the tables have: the key's row, and its tombstone; None for what is not there."""
        return cls(row is not None, row, grave, "absent" if row is None else "unchanged")

    def put(self, place: Place, *, differs: bool) -> None:
        """A row comes; `differs` from the one that was there before the backfill."""
        if any(held is not None and held.is_later(place) for held in (self.grave, self.row)):
            return
        self.row = place
        self.outcome = "added" if not self.existed else "changed" if differs else "unchanged"

    def delete(self, place: Place) -> None:
        """A tombstone comes."""
        if self.grave is None or not self.grave.is_later(place):
            self.grave = place
        if self.row is not None and self.grave.is_later(self.row):
            self.row = None
            self.outcome = "removed" if self.existed else "absent"


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
                existed, place, grave, outcome = json.loads(row[0])
                found[key] = KeyState(
                    existed, None if place is None else Place(*place), None if grave is None else Place(*grave), outcome
                )
        return found

    def keep(self, states: Iterable[tuple[str, KeyState]]) -> None:
        """Remember these states, in place of those of the same keys."""
        rows = [(key, s.outcome, json.dumps([s.existed, s.row, s.grave, s.outcome])) for key, s in states]
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
