"""Any number of streams with any number of topics each, for benchmarks/scale.py.

A module declares one stream, so `write_package` writes a package with a small module for each; their counts come from the
environment.
"""

import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.stream import BatchPolicy, RouteByTopic, Stream

NAME_VARIABLE = "KAFKA_INGEST_BENCH_NAME"
TOPICS_VARIABLE = "KAFKA_INGEST_BENCH_TOPICS"
GROUP_VARIABLE = "KAFKA_INGEST_BENCH_GROUP"
"""Of all streams; each is of its own where it is not set."""
RUN_VARIABLE = "KAFKA_INGEST_BENCH_RUN_SECONDS"
"""Longest run of each stream; the default's where it is not set."""


def topic_names(name: str, number: int, topics: int) -> tuple[str, ...]:
    """Topics of one stream."""
    return tuple(f"{name}_{number}_{topic}" for topic in range(topics))


def stream(name: str, number: int, topics: int, group: str | None = None, batch: BatchPolicy | None = None) -> Stream:
    """Stream `number` of the case `name`, with a table of its own."""
    names = topic_names(name, number, topics)
    body = {
        "__tablename__": f"{name}_{number}",
        "__annotations__": {"id": Mapped[str], "title": Mapped[str]},
        "id": field(sa.String(64)),
        "title": field(sa.String(500)),
    }
    model = type(f"News_{name}_{number}", (AppendModel,), body)
    return Stream(
        name=f"{name}_{number}",
        topics=names,
        route_by=RouteByTopic(),
        routes=dict.fromkeys(names, model),
        group=group,
        batch=batch or BatchPolicy(),
    )


def declared(number: int) -> Stream:
    """What the written modules declare: stream `number` of the environment's case."""
    seconds = os.environ.get(RUN_VARIABLE)
    batch = None if seconds is None else BatchPolicy(max_run_seconds=float(seconds))
    topics = int(os.environ[TOPICS_VARIABLE])
    return stream(os.environ[NAME_VARIABLE], number, topics, os.environ.get(GROUP_VARIABLE), batch)


def write_package(folder: Path, name: str, streams: int, topics: int) -> dict[str, str]:
    """A package of so many streams below `folder`; the variables with which Dagster finds and declares them."""
    package = folder / f"streams_of_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for number in range(streams):
        text = f"from benchmarks.many_streams import declared\n\nSTREAM = declared({number})\n"
        (package / f"stream_{number}.py").write_text(text)
    return {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(folder)]),
        "KAFKA_INGEST_STREAMS": package.name,
        NAME_VARIABLE: name,
        TOPICS_VARIABLE: str(topics),
    }
