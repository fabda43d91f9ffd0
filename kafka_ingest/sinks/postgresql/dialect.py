"""SQLAlchemy's dialect for PostgreSQL where it differs for us: types as models declare them, values as they are stored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from psycopg.types.string import TextLoader
from sqlalchemy.dialects import mysql, registry
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from kafka_ingest.sinks.postgresql.connection import TimedConnection

PING_SECONDS = 10


class _TypeCompiler(PGTypeCompiler):
    def visit_TEXT(self, type_: sa.Text, **options: Any) -> str:  # noqa: N802  the visitor's name
        """Without the length, which is a number of bytes to MySQL and a syntax error here."""
        return super().visit_TEXT(sa.Text(collation=type_.collation), **options)

    def visit_ENUM(self, type_: Any, identifier_preparer: Any = None, **options: Any) -> Any:  # noqa: N802
        return self.visit_VARCHAR(type_, **options)

    def visit_SET(self, type_: mysql.SET, **_options: Any) -> str:  # noqa: N802
        """All members, joined by commas."""
        return f"VARCHAR({sum(len(member) + 1 for member in type_.values)})"


class ExactDialect(PGDialect_psycopg):
    """An enumeration is a VARCHAR: what is no member is refused before the database is asked, and a type of its own would have to
    be altered with each new member. JSON is read as the text that is stored, where the driver would make it objects."""

    supports_statement_cache = True
    supports_native_enum = False
    type_compiler_cls = _TypeCompiler
    colspecs = {  # noqa: RUF012  as in the base
        **PGDialect_psycopg.colspecs,
        sa.Enum: sa.Enum,
        mysql.SET: mysql.SET,
        sa.JSON: sa.JSON,
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(use_native_hstore=False, **options)  # type: ignore[no-untyped-call]
        adapters = self._psycopg_adapters_map
        for name in ("json", "jsonb"):
            if adapters is not None:  # none where the dialect only writes SQL
                adapters.register_loader(name, TextLoader)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether the server is still there; the pool asks before each use."""
        assert isinstance(dbapi_connection, TimedConnection)  # noqa: S101  the sink makes no other
        with dbapi_connection.answering_within(PING_SECONDS):
            return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]


DRIVER = "postgresql+kafka_ingest"
registry.register(DRIVER.replace("+", "."), __name__, ExactDialect.__name__)
