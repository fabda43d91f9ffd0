"""One target table against what a load would write to it, slice by slice. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from kafka_ingest.backfill.current_rows import Columns, ExistingRows
from kafka_ingest.backfill.key_forecast import KeptValue, KeyState, KeyStates, key_text
from kafka_ingest.backfill.row_diff import Mask, differs
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.sinks.kept_columns import default_array
from kafka_ingest.sinks.latest_per_key import Place, latest_per_key
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.kept import NEVER, place_column, source_text
from kafka_ingest.streams.model import INDEX_COLUMN, PLACE_COLUMNS
from kafka_ingest.streams.target import TargetTable

# Existing rows held at once: of an offset each, or of messages that are many rows.
_OFFSETS_AT_ONCE = 10_000
_EXPLODED_AT_ONCE = 100
_KEYS_AT_ONCE = 1_000
_PLACE_BITS = 32  # of the INTEGER that an element's place is


@dataclass(slots=True)
class TableForecast:
    """Rows of one table. `removed`: rows of the ranges (append tables) or keys a tombstone deletes (upsert tables)."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


class AppendComparison:
    """Rows by Kafka position: a load replaces a range's rows."""

    def __init__(self, connection: sa.Connection, sink: Sink, target: TargetTable) -> None:
        self.name = target.label
        self._target = target
        self._sink = sink
        self._existing = ExistingRows(connection, sink, target)
        self._found = TableForecast()

    def compare(self, parsed: ParsedSlice) -> None:
        """Count what loading this slice's ranges would do. Each range once: nothing is remembered of it."""
        rows = parsed.rows.get(self._target)
        index = parsed.raw.range_index
        at_once = _OFFSETS_AT_ONCE if self._target.explode is None else _EXPLODED_AT_ONCE
        for number, whole in enumerate(parsed.raw.ranges):
            own = None if rows is None else rows[index[rows.index.to_numpy(dtype=np.int64)] == number]
            for start in range(whole.start, whole.end, at_once):
                end = min(start + at_once, whole.end)
                self._compare_range(OffsetRange(whole.topic, whole.partition, start, end), own)

    def _compare_range(self, wanted: OffsetRange, rows: pd.DataFrame | None) -> None:
        old = self._existing.in_range(wanted)
        if rows is not None:
            offsets = rows["_kafka_offset"].to_numpy(dtype=np.int64)
            rows = rows[(offsets >= wanted.start) & (offsets < wanted.end)]
        new_keys = np.empty(0, np.int64) if rows is None else self._keys_in(wanted, rows)
        old_keys = self._keys_in(wanted, old)
        _, at_new, at_old = np.intersect1d(new_keys, old_keys, assume_unique=True, return_indices=True)
        self._found.added += len(new_keys) - len(at_new)
        self._found.removed += len(old_keys) - len(at_old)
        if rows is not None and len(at_new):
            pairs = Pairs(at_new.tolist(), old, at_old.tolist())
            changed = _differ(self._target, rows, self._target.columns, pairs, self._sink)
            self._found.changed += int(changed.sum())
            self._found.unchanged += int((~changed).sum())

    def _keys_in(self, wanted: OffsetRange, rows: pd.DataFrame | Columns) -> npt.NDArray[np.int64]:
        """A number for each row, by its offset in the range and, where a message is several rows, its place in the array."""
        keys = np.asarray(rows["_kafka_offset"], dtype=np.int64) - wanted.start
        if self._target.explode is not None:
            keys = (keys << _PLACE_BITS) + np.asarray(rows[INDEX_COLUMN], dtype=np.int64)
        return keys

    def result(self) -> TableForecast:
        """The counts of all slices so far."""
        return self._found

    def close(self) -> None:
        """Nothing to close."""


class UpsertComparison:
    """Rows by business key: the last message wins, between slices too."""

    def __init__(self, connection: sa.Connection, sink: Sink, target: TargetTable) -> None:
        self.name = target.label
        self._target = target
        self._sink = sink
        self._existing = ExistingRows(connection, sink, target)
        self._states = KeyStates()
        self._defaults = {bound.name: default_array(target, bound) for bound in target.kept}
        ours = {place_column(name) for name in self._defaults}
        self._whole = [name for name in target.columns if name not in self._defaults and name not in ours]

    def compare(self, parsed: ParsedSlice) -> None:
        """Count what loading this slice would do, after those before it."""
        rows, deletes = parsed.rows.get(self._target), parsed.deletes.get(self._target)
        if rows is None and deletes is None:
            return
        newest, graves = latest_per_key(self._target, parsed.raw, rows, deletes)
        for start in range(0, len(newest), _KEYS_AT_ONCE):
            self._put(newest.iloc[start : start + _KEYS_AT_ONCE])
        for start in range(0, len(graves), _KEYS_AT_ONCE):
            self._delete(graves.iloc[start : start + _KEYS_AT_ONCE])

    def _put(self, rows: pd.DataFrame) -> None:
        keys = _keys(self._target, _lists(rows, self._target.key))
        old = self._existing.of_keys(keys)
        at_old = {key: i for i, key in enumerate(_keys(self._target, old))}
        common = [i for i, key in enumerate(keys) if key in at_old]
        pairs = Pairs(common, old, [at_old[keys[i]] for i in common])
        mask = _differ(self._target, rows, self._whole, pairs, self._sink)
        changed = dict(zip(common, mask.tolist(), strict=True))
        kept = {name: self._kept_values(name, rows, pairs) for name in self._defaults}
        states = self._states_of(keys, old)
        for i, place in enumerate(self._places(rows)):
            mine = {name: values[i] for name, values in kept.items()}
            states[key_text(keys[i])].put(place, differs=changed.get(i, True), kept=mine)
        self._states.keep(states.items())

    def _kept_values(self, name: str, rows: pd.DataFrame, pairs: Pairs) -> list[KeptValue]:
        """Of each row that comes, a kept column."""
        kind, old = self._target.table.c[name].type, [pairs.old[name][i] for i in pairs.at_old]
        is_single = self._sink.is_single_float(kind)
        new, default = arrow_column(rows, name), self._defaults[name]
        taken = pa.array(pairs.at_new, pa.int64())
        changed = dict(zip(pairs.at_new, differs(kind, new.take(taken), old, is_single_float=is_single), strict=True))
        of_default = differs(kind, default.take(pa.array([0] * len(old), pa.int64())), old, is_single_float=is_single)
        defaults = dict(zip(pairs.at_new, of_default, strict=True))
        texts = _sources(self._target, name, _lists(rows, [name, place_column(name)]), self._places(rows))
        return [
            KeptValue(text, bool(changed.get(i, True)), bool(defaults.get(i, True))) for i, text in enumerate(texts)
        ]

    def _held_values(self, old: Columns) -> list[dict[str, KeptValue]]:
        """Of each row that is there, its kept columns."""
        places = _places(self._target, old)
        found: list[dict[str, KeptValue]] = [{} for _ in places]
        for name, default in self._defaults.items():
            kind = self._target.table.c[name].type
            again = default.take(pa.array([0] * len(places), pa.int64()))
            mask = differs(kind, again, old[name], is_single_float=self._sink.is_single_float(kind))
            for row, text, is_other in zip(found, _sources(self._target, name, old, places), mask, strict=True):
                row[name] = KeptValue(text, False, bool(is_other))
        return found

    def _delete(self, rows: pd.DataFrame) -> None:
        keys = _keys(self._target, _lists(rows, self._target.key))
        states = self._states_of(keys, self._existing.of_keys(keys))
        for key, place in zip(keys, self._places(rows), strict=True):
            states[key_text(key)].delete(place)
        self._states.keep(states.items())

    def _places(self, rows: pd.DataFrame) -> list[Place]:
        names = PLACE_COLUMNS if self._target.order_by is None else (*PLACE_COLUMNS, self._target.order_by)
        return _places(self._target, _lists(rows, names))

    def _states_of(self, keys: Sequence[tuple[object, ...]], old: Columns) -> dict[str, KeyState]:
        """The keys' states: as the slices before have left them, else as the tables have them."""
        rows_at = self._places_by_key(old)
        kept_at = dict(zip(rows_at, self._held_values(old), strict=True))
        nothing = {name: KeptValue(NEVER, True, True) for name in self._defaults}
        deleted_at: dict[str, Place] = {}
        if self._target.tombstones is not None:
            deleted_at = self._places_by_key(self._existing.tombstones_of_keys(keys))
        has_own = self._target.order_by is not None
        texts = [key_text(key) for key in keys]
        met = self._states.find(texts)
        return {
            t: met.get(t)
            or KeyState.before(rows_at.get(t), deleted_at.get(t), kept_at.get(t, nothing), has_own=has_own)
            for t in texts
        }

    def _places_by_key(self, columns: Columns) -> dict[str, Place]:
        return dict(zip(map(key_text, _keys(self._target, columns)), _places(self._target, columns), strict=True))

    def result(self) -> TableForecast:
        """Keys by what all slices so far would have made of them; a key is counted once."""
        found = self._states.outcomes()
        return TableForecast(found["added"], found["changed"], found["unchanged"], found["removed"])

    def close(self) -> None:
        """Remove the file of keys. Idempotent."""
        self._states.close()


def table_comparison(connection: sa.Connection, sink: Sink, target: TargetTable) -> AppendComparison | UpsertComparison:
    """The comparison for a table. Close it."""
    kind = UpsertComparison if target.is_upsert else AppendComparison
    return kind(connection, sink, target)


class Pairs(NamedTuple):
    """Rows that come, and those of the same keys or positions that are there."""

    at_new: Sequence[int]
    old: Mapping[str, Sequence[object]]
    at_old: Sequence[int]


def _differ(target: TargetTable, rows: pd.DataFrame, names: Sequence[str], pairs: Pairs, sink: Sink) -> Mask:
    """Pair by pair, whether any of these columns differs."""
    types = {c.name: c.type for c in target.table.columns}
    taken = pa.array(pairs.at_new, pa.int64())
    found: Mask = np.zeros(len(pairs.at_new), dtype=bool)
    for name in names:
        new, old = arrow_column(rows, name).take(taken), [pairs.old[name][i] for i in pairs.at_old]
        found |= differs(types[name], new, old, is_single_float=sink.is_single_float(types[name]))
    return found


def _sources(
    target: TargetTable, name: str, columns: Mapping[str, Sequence[object]], places: Sequence[Place]
) -> list[str]:
    """Row by row, the place of the message that gave a kept column's value."""
    own = [place.text(has_own=target.order_by is not None) for place in places]
    held: Sequence[Any] = columns[place_column(name)]
    values = columns[name]
    return [
        source_text(place, mine, is_null=value is None) for place, mine, value in zip(held, own, values, strict=True)
    ]


def _lists(rows: pd.DataFrame, names: Sequence[str]) -> Columns:
    """Columns as plain values. A frame of deletes has plain columns, one of rows Arrow's."""
    return {name: arrow_column(rows, name).to_pylist() for name in names}


def _keys(target: TargetTable, columns: Mapping[str, Sequence[object]]) -> list[tuple[object, ...]]:
    return list(zip(*(columns[name] for name in target.key), strict=True))


def _places(target: TargetTable, columns: Mapping[str, Sequence[object]]) -> list[Place]:
    own = () if target.order_by is None else (columns[target.order_by],)
    return [Place.of(*values) for values in zip(*(columns[name] for name in PLACE_COLUMNS), *own, strict=True)]
