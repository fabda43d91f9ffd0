"""A database copied by what `mysqldump --single-transaction` sends: one consistent snapshot, while others load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Backup:
    """Each table's CREATE statement and rows."""

    tables: dict[str, tuple[str, list[dict[str, Any]]]]

    @classmethod
    def of(cls, url: str) -> Backup:
        """Of all tables, as they were at one moment."""
        engine = sa.create_engine(url)
        found = {}
        with engine.connect() as connection:
            # SHOW CREATE TABLE is no part of a snapshot: as with mysqldump, no table is made or altered meanwhile.
            connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            connection.execute(sa.text("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"))
            for name in sa.inspect(connection).get_table_names():
                made = connection.execute(sa.text(f"SHOW CREATE TABLE `{name}`")).one()[1]
                rows = connection.execute(sa.text(f"SELECT * FROM `{name}`")).mappings()
                found[name] = (made, [dict(row) for row in rows])
            connection.rollback()
        engine.dispose()
        return cls(found)

    def restore(self, url: str, only: Callable[[str], bool] = lambda _name: True) -> None:
        """Replace these tables by what they were."""
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            for name, (made, rows) in self.tables.items():
                if not only(name):
                    continue
                connection.execute(sa.text(f"DROP TABLE IF EXISTS `{name}`"))
                connection.exec_driver_sql(made.replace("%", "%%"))
                if rows:
                    table = sa.table(name, *(sa.column(column) for column in rows[0]))
                    connection.execute(sa.insert(table), rows)
        engine.dispose()

    def rows_of(self, name: str) -> int:
        return len(self.tables[name][1])


def is_ledger(name: str) -> bool:
    """Whether a table is one of the ledger's."""
    return name.startswith("kafka_ingest_")
