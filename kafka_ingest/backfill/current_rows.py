"""What the target tables hold now, for comparison with what a load would write. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from kafka_ingest.ledger.range_sql import position_of, range_conditions
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.misfits import existing_columns
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.column_types import BINARIES
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlRow, SqlSelect

Columns = dict[str, list[object]]
"""Values by column name, row by row."""


class ExistingRows:
    """Rows of one model's table as they stand. A table that does not exist is empty; a column it lacks is NULL."""

    def __init__(self, connection: sa.Connection, sink: Sink, target: TargetTable) -> None:
        self._connection = connection
        self._sink = sink
        self._target = target
        self._table = target.table
        inspector = sa.inspect(connection)
        self._exists = inspector.has_table(self._table.name, schema=self._table.schema)
        present = existing_columns(inspector, self._table) if self._exists else set()
        self.names = [c.name for c in self._table.columns]
        self._selected = [
            sink.readable(c) if c.name.lower() in present else sa.null().label(c.name) for c in self._table.columns
        ]
        self._graves = target.tombstones
        if self._graves is not None and not inspector.has_table(self._graves.name, schema=self._graves.schema):
            self._graves = None

    def in_range(self, wanted: OffsetRange) -> Columns:
        """Rows of these positions, in order of offset."""
        topic, partition, offset = position_of(self._table)
        ((where, values),) = range_conditions((topic, partition, offset), [wanted])
        return self._columns(sa.select(*self._selected).where(where).order_by(offset).params(dict(values)))

    def of_keys(self, keys: Sequence[tuple[object, ...]]) -> Columns:
        """Rows of these business keys."""
        return self._columns(sa.select(*self._selected).where(self._keyed(self._table, keys)))

    def tombstones_of_keys(self, keys: Sequence[tuple[object, ...]]) -> Columns:
        """Business keys and places of the tombstones of these keys."""
        names = self._target.delete_columns
        if self._graves is None:
            return {name: [] for name in names}
        graves = self._graves
        present = existing_columns(sa.inspect(self._connection), graves)
        selected = [self._sink.readable(graves.c[n]) if n in present else sa.null().label(n) for n in names]
        query = sa.select(*selected).where(self._keyed(graves, keys))
        return _by_column(names, self._connection.execute(query))

    def _keyed(self, table: sa.Table, keys: Sequence[tuple[object, ...]]) -> sa.ColumnElement[bool]:
        columns = [table.c[name] for name in self._target.key]
        binary = [isinstance(column.type, BINARIES) for column in columns]
        if any(binary):
            keys = [tuple(bytes.fromhex(str(v)) if b else v for v, b in zip(key, binary, strict=True)) for key in keys]
        if len(columns) == 1:
            return columns[0].in_([key[0] for key in keys])
        return sa.tuple_(*columns).in_(keys)

    def _columns(self, query: SqlSelect) -> Columns:
        return _by_column(self.names, self._connection.execute(query) if self._exists else [])


def _by_column(names: Sequence[str], rows: Iterable[SqlRow]) -> Columns:
    columns = list(zip(*rows, strict=True))
    return {name: list(columns[i]) if columns else [] for i, name in enumerate(names)}
