"""Tables that are declared as data, on real servers: each type keeps its values, and refuses those that do not fit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.declaration import declared_stream
from kafka_ingest.testing.messages import one
from kafka_ingest.testing.target import Target

pytestmark = pytest.mark.services

WIDE = "é" * 70_000
# Type → values that are kept as they are, and values whose messages are dead letters.
TYPES: dict[str, tuple[list[Any], list[Any]]] = {
    "VARCHAR(3)": (["", "abc", "日本語", "x  "], ["abcd", 1.5]),
    "TEXT": (["", "line\nline"], [True]),
    "MEDIUMTEXT": ([WIDE], [{}]),
    "LONGTEXT": ([WIDE], [[]]),
    "SMALLINT": ([-32_768, 32_767], [32_768, "1"]),
    "INTEGER": ([-(2**31), 2**31 - 1], [2**31, 1.5]),
    "BIGINT": ([-(2**63), 2**63 - 1], [2**63]),
    "TINYINT": ([-128, 127], [128]),
    "TINYINT UNSIGNED": ([0, 255], [-1, 256]),
    "SMALLINT UNSIGNED": ([0, 65_535], [-1, 65_536]),
    "MEDIUMINT UNSIGNED": ([0, 2**24 - 1], [-1, 2**24]),
    "INT UNSIGNED": ([0, 2**32 - 1], [-1, 2**32]),
    "BIGINT UNSIGNED": ([0, 2**64 - 1], [-1, 2**64]),
    "YEAR": ([1901, 2155], [1900, 2156]),
    "BIT(9)": ([0, 511], [512]),
    "UUID": (["0189f7c0-0000-7000-8000-000000000001"], ["x"]),
    "DATE": (["2024-05-01"], ["yesterday"]),
    "DOUBLE": ([0.1, 1e300, -3.0], ["x"]),
    "DECIMAL(12,2)": ([Decimal("1234567890.12")], ["1.234", "12345678901"]),
    "BOOLEAN": ([True, False], [1]),
    "ENUM('a','it''s')": (["a", "it's"], ["A", "b"]),
    "SET('a','b')": (["", "a", "a,b"], ["c"]),
    "DATETIME(6)": (["2024-05-01T12:30:00.123456Z"], ["yesterday"]),
    "DATETIME(3)": (["2024-05-01T12:30:00.123456Z"], ["yesterday"]),
    "TIMESTAMP(6)": (["2024-05-01T12:30:00.123456Z"], ["2200-01-01"]),
}
BYTES: dict[str, tuple[list[Any], list[Any]]] = {
    "BINARY(2)": (["00ff"], ["00", "x"]),
    "VARBINARY(2)": (["", "00ff"], ["000000"]),
    "BLOB": (["00ff"], [7]),
    "MEDIUMBLOB": (["00ff"], ["0"]),
}
SHOWN = {
    "DATETIME(6)": "2024-05-01T12:30:00.123456",
    "DATETIME(3)": "2024-05-01T12:30:00.123000",
    "TIMESTAMP(6)": "2024-05-01T12:30:00.123456",
    "DATE": "2024-05-01",
}


def test_each_type_keeps_what_fits_and_refuses_what_does_not(any_database_url: str) -> None:
    columns = {f"c{n}": {"type": kind, "nullable": True} for n, kind in enumerate(TYPES | BYTES)}
    for column in columns.values():
        if column["type"] in BYTES:
            column["cast"] = {"bytes_from": "hex"}
    stream = declared_stream(
        {
            "name": "typed",
            "topics": "typed",
            "routes": {"row": {"table": "typed", "columns": columns}},
            "max_dead_letter_ratio": 1,
        }
    )
    target = Target(stream, open_sink(sa.make_url(any_database_url)))
    target.pin({TopicPartition("typed", 0): 0})
    good, bad = [], []
    for name, (fitting, others) in zip(columns, (TYPES | BYTES).values(), strict=True):
        good += [(name, value) for value in fitting]
        bad += [(name, value) for value in others]
    bodies = [
        {"type": "row", name: value if not isinstance(value, Decimal) else str(value)} for name, value in good + bad
    ]
    result = target.load(one(*bodies, topic="typed"))
    letters = target.all("SELECT kafka_offset FROM kafka_ingest_dead_letters ORDER BY 1")
    assert [offset for (offset,) in letters] == list(range(len(good), len(good) + len(bad)))
    assert result.total("rows") == len(good)
    rows = target.rows(stream.routes["row"], *columns)
    kept = [dict(zip(columns, row, strict=True))[name] for row, (name, _) in zip(rows, good, strict=True)]
    for found, (name, value) in zip(kept, good, strict=True):
        kind = columns[name]["type"]
        if kind in SHOWN:
            assert found.isoformat() == SHOWN[kind]
        elif kind in BYTES:
            assert bytes(found).hex() == value
        elif kind == "BIT(9)" and isinstance(found, bytes):
            assert int.from_bytes(found) == value
        else:
            assert (str(found) if kind == "UUID" else found) == value, columns[name]
    Target(stream, open_sink(sa.make_url(any_database_url)))  # the tables, which exist by now, fit their declaration
