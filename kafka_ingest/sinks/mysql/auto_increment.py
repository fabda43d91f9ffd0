"""AUTO_INCREMENT for columns that the database fills and that are no primary key."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn
from sqlalchemy.sql.compiler import DDLCompiler


@compiles(CreateColumn, "mysql", "mariadb")
def _counted_column(element: CreateColumn, compiler: DDLCompiler, **options: Any) -> str:
    """A column with an Identity that is no key: the server counts only in a column that has an index, and SQLAlchemy only in a
    primary key."""
    column = element.element
    text: str = compiler.visit_create_column(element, **options)  # type: ignore[no-untyped-call]
    if column.identity is None or column.primary_key:
        return text
    return f"{text} AUTO_INCREMENT UNIQUE"
