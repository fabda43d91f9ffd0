"""MySQL as the JVM's peers reach it."""

from __future__ import annotations

import sqlalchemy as sa

# Without the first, Connector/J sends a batch row by row.
_OPTIONS = "rewriteBatchedStatements=true&allowPublicKeyRetrieval=true&sslMode=PREFERRED&characterEncoding=UTF-8"


def jdbc_url(url: sa.URL) -> str:
    """Without user and password, which are settings of their own."""
    return f"jdbc:mysql://{url.host}:{url.port}/{url.database}?{_OPTIONS}"
