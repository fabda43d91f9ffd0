"""Tables of PostgreSQL that number their rows."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

_IS_NUMBERED = """SELECT EXISTS (SELECT FROM pg_attribute AS a
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL(%s::text[])
    AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE '%%nextval(%%'))"""


def is_numbered(connection: sa.Connection, table: str, names: Sequence[str]) -> bool:
    """Whether a row that is offered to INSERT draws a number from a sequence: an identity or a serial column, not one of `names`.

    table: quoted. names: the columns that are written.
    """
    found = connection.exec_driver_sql(_IS_NUMBERED, (table.replace("%%", "%"), list(names)))
    return bool(found.scalar_one())
