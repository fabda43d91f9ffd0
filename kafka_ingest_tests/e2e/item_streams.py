"""Streams of numbers, each with a topic and a table of its own, in a package that a test writes for child processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kafka_ingest.local.kafka import LocalKafka

_DECLARATION = """
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import AppendModel, BatchPolicy, RouteByTopic, Stream, field


class Item(AppendModel):
    __tablename__ = "{name}"
    number: Mapped[int] = field(sa.Integer)


STREAM = Stream(name="{name}", topics="{topic}", routes={{"{topic}": Item}}, route_by=RouteByTopic(), {more})
"""


def item_streams(
    kafka: LocalKafka, url: str, folder: Path, package: str, topics: Mapping[str, str], more: str
) -> dict[str, str]:
    """Write the package into a folder; what a child process needs to load its streams. topics: by name of the stream. more: other
    arguments of `Stream`, as source."""
    modules = folder / package
    modules.mkdir()
    (modules / "__init__.py").touch()
    for name, topic in topics.items():
        (modules / f"{name}.py").write_text(_DECLARATION.format(name=name, topic=topic, more=more))
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_INGEST_DATABASE_URL": url,
        "KAFKA_INGEST_STREAMS": package,
        "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])]),
    }
