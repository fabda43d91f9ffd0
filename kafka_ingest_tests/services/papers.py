"""A table of upserts with an `id` of its own, as people make them on each database."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.model import UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.target import Target


class Paper(UpsertModel):
    __tablename__ = "paper"
    delete_on_tombstone: ClassVar[bool] = True
    isin: Mapped[str] = field(sa.String(12), primary_key=True)
    price: Mapped[int | None] = field(sa.Integer)
    note: Mapped[str | None] = field(sa.String(12), keep_absent=True)


STREAM = Stream(name="papers", topics="papers", route_by=RouteByTopic(), routes={"papers": Paper})

TEXT = {
    "mysql": "VARCHAR(12) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin",
    "mariadb": "VARCHAR(12) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
}
TOPIC = "VARCHAR(280)"
EXACT_TOPIC = "VARCHAR(280) CHARACTER SET ascii COLLATE ascii_bin"
COUNTED = {
    "mysql": "BIGINT AUTO_INCREMENT PRIMARY KEY",
    "mariadb": "BIGINT AUTO_INCREMENT PRIMARY KEY",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "sqlite": "INTEGER PRIMARY KEY",
}


def make(sink: Sink, own: str, *more: str, text: str | None = None) -> None:
    """The table as a person has made it; columns of ours that may be NULL are added by the first run."""
    with sink.engine.begin() as connection:
        is_mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
        kind = TEXT.get("mariadb" if is_mariadb else sink.kind, "VARCHAR(12)") if text is None else text
        topic = EXACT_TOPIC if sink.kind == "mysql" else TOPIC
        columns = [
            f"isin {kind} NOT NULL",
            "price INT",
            "note VARCHAR(12)",
            f"_kafka_topic {topic} NOT NULL",
            "_kafka_partition INT NOT NULL",
            "_kafka_offset BIGINT NOT NULL",
        ]
        first, *keys = own.split(", ", 1)
        connection.exec_driver_sql(f"CREATE TABLE paper (id {first}, {', '.join([*columns, *keys])})")
        for statement in more:
            connection.exec_driver_sql(statement)


def opened(request: pytest.FixtureRequest, database: str) -> Sink:
    url = f"sqlite:///{request.getfixturevalue('tmp_path')}/unique.db"
    return open_sink(sa.make_url(url if database == "sqlite" else request.getfixturevalue(f"{database}_url")))


def paper(isin: str, price: int, at: int = 0, **more: Any) -> Msg:
    return Msg({"isin": isin, "price": price, **more}, f'"{isin}"'.encode(), timestamp_ms=MORNING_MS + at)


def gone(isin: str, at: int = 0) -> Msg:
    return Msg(None, f'"{isin}"'.encode(), timestamp_ms=MORNING_MS + at)


def at(*messages: Msg, start: int, partition: int = 0) -> RawSlice:
    return raw_slice(Part(list(messages), "papers", partition, start))


LOG = [
    paper("a", 1, note="first"),
    paper("b", 2),
    paper("A", 3),
    paper("a", 4),
    gone("b"),
    paper("c", 5),
    paper("a", 6, note="last"),
    paper("c", 7),
]
WANTED = [("A", 3, None), ("a", 6, "last"), ("c", 7, None)]


def papers(target: Target) -> list[tuple[Any, ...]]:
    return sorted(target.all("SELECT isin, price, note FROM paper"))


def numbers(target: Target) -> dict[str, Any]:
    return dict(target.all("SELECT isin, id FROM paper"))
