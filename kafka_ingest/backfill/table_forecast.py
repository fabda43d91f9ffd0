"""One target table against what a load would write to it, slice by slice. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from kafka_ingest.backfill.current_rows import Columns, ExistingRows
from kafka_ingest.backfill.key_forecast import KeyState, KeyStates, key_text
from kafka_ingest.backfill.row_diff import Mask, differs
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.sinks.latest_per_key import Place, latest_per_key
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.model import PLACE_COLUMNS
from kafka_ingest.streams.target import TargetTable

# Existing rows held at once.
_OFFSETS_AT_ONCE = 10_000
_KEYS_AT_ONCE = 1_000


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
        for number, whole in enumerate(parsed.raw.ranges):
            own = None if rows is None else rows[index[rows.index.to_numpy(dtype=np.int64)] == number]
            for start in range(whole.start, whole.end, _OFFSETS_AT_ONCE):
                end = min(start + _OFFSETS_AT_ONCE, whole.end)
                self._compare_range(OffsetRange(whole.topic, whole.partition, start, end), own)

    def _compare_range(self, wanted: OffsetRange, rows: pd.DataFrame | None) -> None:
        old = self._existing.in_range(wanted)
        if rows is not None:
            offsets = rows["_kafka_offset"].to_numpy(dtype=np.int64)
            rows = rows[(offsets >= wanted.start) & (offsets < wanted.end)]
        new_offsets = np.empty(0, np.int64) if rows is None else rows["_kafka_offset"].to_numpy(dtype=np.int64)
        old_offsets = np.array(old["_kafka_offset"], dtype=np.int64)
        _, at_new, at_old = np.intersect1d(new_offsets, old_offsets, assume_unique=True, return_indices=True)
        self._found.added += len(new_offsets) - len(at_new)
        self._found.removed += len(old_offsets) - len(at_old)
        if rows is not None and len(at_new):
            changed = _differ(self._target, rows, at_new.tolist(), old, at_old.tolist(), self._sink)
            self._found.changed += int(changed.sum())
            self._found.unchanged += int((~changed).sum())

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
        mask = _differ(self._target, rows, common, old, [at_old[keys[i]] for i in common], self._sink)
        changed = dict(zip(common, mask.tolist(), strict=True))
        states = self._states_of(keys, old)
        for i, place in enumerate(self._places(rows)):
            states[key_text(keys[i])].put(place, differs=changed.get(i, True))
        self._states.keep(states.items())

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
        graves = self._existing.tombstones_of_keys(keys)
        rows_at = dict(zip(map(key_text, _keys(self._target, old)), _places(self._target, old), strict=True))
        graves_at = dict(zip(map(key_text, _keys(self._target, graves)), _places(self._target, graves), strict=True))
        texts = [key_text(key) for key in keys]
        met = self._states.find(texts)
        return {t: met.get(t) or KeyState.before(rows_at.get(t), graves_at.get(t)) for t in texts}

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


def _differ(
    target: TargetTable,
    rows: pd.DataFrame,
    at_new: Sequence[int],
    old: Mapping[str, Sequence[object]],
    at_old: Sequence[int],
    sink: Sink,
) -> Mask:
    """Row by row of the pairs (at_new, at_old), whether any column differs."""
    types = {c.name: c.type for c in target.table.columns}
    taken = pa.array(at_new, pa.int64())
    found: Mask = np.zeros(len(at_new), dtype=bool)
    for name in target.columns:
        new = arrow_column(rows, name).take(taken)
        found |= differs(
            types[name], new, [old[name][i] for i in at_old], is_single_float=sink.is_single_float(types[name])
        )
    return found


def _lists(rows: pd.DataFrame, names: Sequence[str]) -> Columns:
    """Columns as plain values. A frame of deletes has plain columns, one of rows Arrow's."""
    return {name: arrow_column(rows, name).to_pylist() for name in names}


def _keys(target: TargetTable, columns: Mapping[str, Sequence[object]]) -> list[tuple[object, ...]]:
    return list(zip(*(columns[name] for name in target.key), strict=True))


def _places(target: TargetTable, columns: Mapping[str, Sequence[object]]) -> list[Place]:
    own = () if target.order_by is None else (columns[target.order_by],)
    return [Place.of(*values) for values in zip(*(columns[name] for name in PLACE_COLUMNS), *own, strict=True)]
