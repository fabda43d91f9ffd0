"""The limit: LOAD DATA of the topic's rows from a prepared file, over one connection, into the product's own table.

Independent of how the product writes and sends its rows: plain PyMySQL, tab-separated text in LOAD DATA's default form.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pymysql
import sqlalchemy as sa

from kafka_ingest.dates import DateRule, parse_dates
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.information import STREAM, Information

ROUNDS = 5
PARTITIONS = 4
COLUMNS = (
    "id", "title", "content", "source", "url", "language", "tags", "score", "is_original", "publish_time", "crawl_time",
    "_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_timestamp",
)  # fmt: skip
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_TIMESTAMP = dt.datetime(2026, 1, 1, 7, 0)  # noqa: DTZ001  a DATETIME


def load_data_rates(values: Sequence[bytes], database_url: str, *, rounds: int = ROUNDS) -> list[float]:
    """Rows a second of each round, sorted: one statement and its commit, after a first round that is not counted.

    values: good JSON news of type `information`. The table `information` of the database is emptied before each round.

    Raises RuntimeError where not every row was stored without a warning.
    """
    url = sa.make_url(database_url)
    sink = open_sink(url)
    prepare_tables(sink, STREAM)
    sink.close()
    table = Information.__table__.name
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.tsv"
        file.write_text("".join(_lines(values)), newline="")
        columns = ", ".join(f"`{c}`" for c in COLUMNS)
        load = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE `{table}` CHARACTER SET utf8mb4 ({columns})"
        rates = [_round(url, table, load, len(values)) for _ in range(rounds + 1)]
    return sorted(rates[1:])


def limit_of(rates: Sequence[float]) -> float:
    """Rows a second."""
    return statistics.median(rates)


def _round(url: sa.URL, table: str, load: str, rows: int) -> float:
    connection = pymysql.connect(
        host=url.host or "",
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        charset="utf8mb4",
        local_infile=True,
        init_command="SET SESSION time_zone = '+00:00'",
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE TABLE `{table}`")
        started = time.perf_counter()
        stored = cursor.execute(load)
        warnings = cursor.warning_count
        connection.commit()
        took = time.perf_counter() - started
        if stored != rows or warnings:
            cursor.execute("SHOW WARNINGS LIMIT 3")
            raise RuntimeError(f"{stored} of {rows} rows, {warnings} warnings: {cursor.fetchall()}")
    return rows / took


def _lines(values: Sequence[bytes]) -> Iterator[str]:
    messages = [json.loads(v) for v in values]
    published = _dates([m["publishTime"] for m in messages], "Asia/Shanghai")
    crawled = _dates([m.get("crawlTime") for m in messages], "UTC")
    for number, (message, *dates) in enumerate(zip(messages, published, crawled, strict=True)):
        source, tags = message.get("source") or {}, message.get("tags")
        fields = (
            message["id"], message["title"], message.get("content"), source.get("name"), source.get("url"),
            message.get("language"), None if tags is None else json.dumps(tags, ensure_ascii=False),
            message.get("score"), message.get("isOriginal"), *dates,
            "information", number % PARTITIONS, number // PARTITIONS, _TIMESTAMP,
        )  # fmt: skip
        yield "\t".join(map(_field, fields)) + "\n"


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return str(int(value))
    return str(value).translate(_ESCAPES)


def _dates(values: list[Any], zone: str) -> list[Any]:
    instants = parse_dates(pd.Series(values, dtype="object"), DateRule(timezone=zone)).instants
    return [None if pd.isna(at) else at for at in instants]
