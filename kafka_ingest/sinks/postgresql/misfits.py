"""What keeps an existing table of PostgreSQL from holding a model's values as they are."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kafka_ingest.sinks.misfits import Misfit


def postgresql_misfits(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
    """See `Sink.misfits`."""
    return []
