"""A sink without a database behind it: it counts the rows it is given. Its ledger is a file that is never synced to the disk.

What is left of a load is everything before the database, and the ledger's own statements. `counting:///FILE`, once this module is
imported: registered as any sink from outside the package.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import sqlalchemy as sa

from kafka_ingest import KafkaIngestError, Sink, TargetTable, errors, register_sink


class CountingSink(Sink):
    """Append tables only."""

    backends: ClassVar[tuple[str, ...]] = ("counting",)

    def __init__(self, url: sa.URL) -> None:
        self.rows = 0
        self.engine = sa.create_engine(sa.URL.create("sqlite", database=url.database), connect_args={"timeout": 30})
        sa.event.listen(self.engine, "connect", _on_connect)

    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Nothing to prepare."""

    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """Count them."""
        self.rows += len(rows)

    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        raise NotImplementedError("append tables only")

    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        raise NotImplementedError("append tables only")

    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        return errors.DatabaseUnavailable(f"{doing}: {error}")


def _on_connect(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


register_sink(CountingSink.backends, CountingSink)
