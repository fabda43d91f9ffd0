"""A database of the user's: one new file, registered by its last line. Here SQLite under another name, writing row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import DatabaseUnavailable, KafkaIngestError
from kafka_ingest.sinks.base import RowsRejected, Sink, register_sink
from kafka_ingest.streams.target import TargetTable


class MemorySink(Sink):
    """Append tables only; in memory, or in the file that the URL names."""

    backends: ClassVar[tuple[str, ...]] = ("memory",)

    def __init__(self, url: sa.URL) -> None:
        self.engine = sa.create_engine(f"sqlite:///{url.database or ''}")
        self.written: list[int] = []
        """Rows per call of `insert`."""

    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        pass

    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        self.written.append(len(rows))
        table = target.table
        try:
            for row in rows.to_dict("records"):
                connection.execute(sa.insert(table), {str(n): _plain(v) for n, v in row.items()})
        except sa.exc.IntegrityError as error:
            raise RowsRejected(str(error.orig)) from error

    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        raise NotImplementedError

    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        raise NotImplementedError

    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        return DatabaseUnavailable(f"{doing}: {type(error).__name__}")


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


register_sink(MemorySink.backends, MemorySink)
