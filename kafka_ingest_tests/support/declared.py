"""A declaration that is complete, and what a test gives instead of parts of it."""

from __future__ import annotations

from typing import Any

from kafka_ingest.streams.declaration import declared_stream
from kafka_ingest.streams.stream import Stream

COLUMNS: dict[str, Any] = {"symbol": "VARCHAR(16)", "price": "DECIMAL(12,2)"}
TABLE: dict[str, Any] = {"table": "quotes", "columns": COLUMNS}
QUOTES: dict[str, Any] = {"name": "quotes", "topics": "quotes", "routes": {"quote": TABLE}}


def stream(**given: Any) -> Stream:
    return declared_stream(QUOTES | given, place=("streams", 0))


def table(**given: Any) -> Stream:
    return stream(routes={"quote": TABLE | given})


def column(**given: Any) -> Stream:
    return table(columns={"price": given})
