"""Text compared byte for byte in MySQL and MariaDB.

Their default collations take 'A' for 'a' and 'é' for 'e', so two business keys would become one row (MySQL manual, "Collation
Naming Conventions": `_bin`; "NO PAD" attribute).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import TypeCompiler

from kafka_ingest.streams.model import ExactText


def is_mariadb(connection: sa.Connection) -> bool:
    """Whether the server is MariaDB, whatever the URL calls it."""
    return _is_mariadb(connection.dialect)


@compiles(ExactText, "mysql", "mariadb")
def _declaration(kind: ExactText, compiler: TypeCompiler, **options: Any) -> str:
    collation = "utf8mb4_nopad_bin" if _is_mariadb(compiler.dialect) else "utf8mb4_0900_bin"
    return compiler.process(mysql.VARCHAR(kind.length, charset="utf8mb4", collation=collation), **options)


def _is_mariadb(dialect: sa.Dialect) -> bool:
    return bool(getattr(dialect, "is_mariadb", False))
