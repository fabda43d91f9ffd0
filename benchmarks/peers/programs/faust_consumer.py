"""A hand-made Faust consumer: routed by `type`, dates translated, PyMySQL executemany, one commit per batch.

Runs in a venv of its own, without kafka_ingest. At least once: Faust acknowledges a batch after the loop's body.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import faust
import pymysql
from dateutil import parser as dateutil_parser

SHANGHAI = timezone(timedelta(hours=8))
FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y年%m月%d日 %H时%M分%S秒", "%Y%m%d%H%M%S")
MILLISECONDS_FROM = 1e11


def translate_date(value: Any, zone: timezone) -> datetime | None:
    """Naive UTC, as PyMySQL writes it; the quickest reader of each form first."""
    if value is None:
        return None
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value / 1000 if value > MILLISECONDS_FROM else value, timezone.utc).replace(
            tzinfo=None
        )
    found = _read(value)
    if found is None:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(timezone.utc).replace(tzinfo=None)


def _read(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        pass
    for form in FORMATS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007  the zone is added above
        except ValueError:
            continue
    try:
        return dateutil_parser.parse(text)
    except (ValueError, OverflowError):
        return None


class MySQLManager:
    """One connection, one commit per batch."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self._connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.lstrip("/"),
            charset=options.get("charset", "utf8mb4"),
        )

    def insert(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, rows)
        self._connection.commit()


class InformationConsumer:
    """News items into their table."""

    columns = (
        "id", "title", "content", "source", "url", "language", "tags", "score", "is_original", "publish_time", "crawl_time",
    )  # fmt: skip

    def __init__(self, table: str, database: MySQLManager) -> None:
        marks = ", ".join(["%s"] * len(self.columns))
        # PyMySQL turns `INSERT … VALUES (…)` into one multi-row statement only in this form.
        self._statement = f"INSERT INTO `{table}` ({', '.join(self.columns)}) VALUES ({marks})"
        self._database = database

    def consume(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self._database.insert(self._statement, [self._row(m) for m in messages])

    @staticmethod
    def _row(message: Mapping[str, Any]) -> tuple[Any, ...]:
        source = message.get("source") or {}
        tags = message.get("tags")
        return (
            message["id"],
            message["title"],
            message.get("content"),
            source.get("name"),
            source.get("url"),
            message.get("language"),
            None if tags is None else json.dumps(tags, ensure_ascii=False),
            message.get("score"),
            message.get("isOriginal"),
            translate_date(message.get("publishTime"), SHANGHAI),
            translate_date(message.get("crawlTime"), timezone.utc),
        )


app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_BOOTSTRAP']}",
    store="memory://",
    topic_disable_leader=True,
    topic_allow_declare=False,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(os.environ["PEER_TOPIC"], value_serializer="json", key_serializer="raw")


@cache
def consumer_of(kind: str) -> InformationConsumer:
    """The consumer class of a message type, connected when its first message comes."""
    classes = {"information": InformationConsumer}
    return classes[kind](os.environ["PEER_TABLE"], MySQLManager(os.environ["PEER_DATABASE_URL"]))


@app.agent(topic)
async def ingest(stream: Any) -> None:
    async for batch in stream.take(int(os.environ["PEER_BATCH"]), within=float(os.environ["PEER_WITHIN"])):
        by_type = defaultdict(list)
        for message in batch:
            by_type[message["type"]].append(message)
        for kind, messages in by_type.items():
            consumer_of(kind).consume(messages)


if __name__ == "__main__":
    app.main()
