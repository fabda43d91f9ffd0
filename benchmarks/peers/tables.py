"""The peers' table: the columns of `Information` without the `_kafka_*` ones, which no peer fills."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kafka_ingest.streams.information import Information
from kafka_ingest.streams.model import KAFKA_COLUMNS

ROW_NUMBER = "row_number_"
"""AUTO_INCREMENT primary key in the place of the Kafka position: InnoDB's cheapest, rows are appended."""
DATE_COLUMNS = ("publish_time", "crawl_time")
REQUIRED = ("id", "title", "source", *DATE_COLUMNS)
"""Columns that every peer must fill in every row."""
_DATE_TEXT = sa.String(64)


def make_table(database_url: str, name: str, *, text_dates: bool = False) -> None:
    """Drop and create it. text_dates: the dates as VARCHAR, for a peer that cannot translate them.

    The index on `id` is there as in the product's table; the one on `_kafka_timestamp` and the three-column primary key
    are not, so a peer has less to write than the product and the LOAD DATA it is compared with.
    """
    metadata = sa.MetaData()
    number = sa.Column(ROW_NUMBER, sa.BigInteger, primary_key=True, autoincrement=True)
    columns = [
        sa.Column(
            c.name,
            _DATE_TEXT if text_dates and c.name in DATE_COLUMNS else c.type,
            nullable=True,
            index=c.name == "id",
        )
        for c in Information.__table__.columns
        if c.name not in KAFKA_COLUMNS
    ]
    table = sa.Table(name, metadata, number, *columns, mysql_engine="InnoDB", mysql_charset="utf8mb4")
    engine = sa.create_engine(database_url)
    try:
        with engine.begin() as connection:
            table.drop(connection, checkfirst=True)
            table.create(connection)
    finally:
        engine.dispose()


def rows_at_most(name: str) -> str:
    """The query for the highest row number of such a table: an upper bound of the count, exact while no insert failed."""
    return f"SELECT COALESCE(MAX({ROW_NUMBER}), 0) FROM {name}"


class RowWatch:
    """How many rows of a table are committed, over a connection of its own."""

    def __init__(self, database_url: str, name: str, at_most: str) -> None:
        """at_most: the query for an upper bound of the count."""
        self._engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        quoted = self._engine.dialect.identifier_preparer.quote(name)
        self._highest = sa.text(at_most)
        self._count = sa.text(f"SELECT COUNT(*) FROM {quoted}")
        self._columns = quoted

    def at_most(self) -> int:
        """Found without a scan."""
        return int(self._connection.execute(self._highest).scalar_one())

    def count(self) -> int:
        """Exact, by a scan."""
        return int(self._connection.execute(self._count).scalar_one())

    def filled(self, columns: Sequence[str]) -> dict[str, int]:
        """How many rows have a value in each column."""
        quote = self._engine.dialect.identifier_preparer.quote
        counts = ", ".join(f"COUNT({quote(c)})" for c in columns)
        row = self._connection.execute(sa.text(f"SELECT {counts} FROM {self._columns}")).one()
        return dict(zip(columns, map(int, row), strict=True))

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()
