"""Orders of ten lines, each line a row: what `stages --explode` reads."""

from __future__ import annotations

import json
from decimal import Decimal

from sqlalchemy import BigInteger, Integer, Numeric, String
from sqlalchemy.orm import Mapped

from benchmarks.formats import Written
from benchmarks.streams import STREAM
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream

LINES = 10


class OrderLine(AppendModel):
    """Two columns of the order around the lines, three of a line."""

    __tablename__ = "order_lines"
    explode = "order.lines"

    order_id: Mapped[str] = field(String(40), path="id")
    score: Mapped[int] = field(Integer)
    sku: Mapped[str] = field(String(20), path="order.lines.sku")
    quantity: Mapped[int] = field(BigInteger, path="order.lines.quantity")
    price: Mapped[Decimal] = field(Numeric(10, 2), path="order.lines.price")


def _order(news: bytes) -> bytes:
    message = json.loads(news)
    lines = [
        {"sku": f"article {number}", "quantity": number, "price": number + 0.25, "note": message["language"]}
        for number in range(LINES)
    ]
    return json.dumps({"id": message["id"], "score": message["score"], "order": {"lines": lines}}).encode()


EXPLODED = Written(
    Stream(
        name=STREAM.name,
        topics=STREAM.topics,
        routes={STREAM.topic_names[0]: OrderLine},
        route_by=RouteByTopic(),
        batch=STREAM.batch,
    ),
    _order,
)
