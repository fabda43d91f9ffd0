"""The proposed module tried on the sample: the stream that it declares, and what its own pipeline makes of the messages."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.driver_rows import driver_rows
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.model import PLACE_COLUMNS, Model
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

_NUMBERS = itertools.count(1)
_VALUE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\b[0-9][0-9,.]*")
_MOST_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Reason:
    """Dead letters with the same error, but for its numbers and quoted values."""

    stage: str
    error: str
    """Of the first of them."""
    position: str
    count: int
    route: str | None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a sample."""

    messages: int
    rows: Mapping[str, int]
    """By table."""
    deletes: int
    ignored: int
    dead_letters: tuple[Reason, ...]
    """The most frequent first."""

    @property
    def dead(self) -> int:
        return sum(reason.count for reason in self.dead_letters)

    @property
    def share(self) -> float:
        """The part of the messages that would be dead letters."""
        return self.dead / self.messages if self.messages else 0.0


@contextmanager
def declared_module(text: str) -> Iterator[Stream]:
    """The stream that a module's text declares, while it is looked at. Its tables are forgotten afterwards, so that the module
    itself can be imported.

    Raises ConfigError where the module cannot be loaded.
    """
    before = set(Model.metadata.tables.values())
    module = ModuleType(f"kafka_ingest_proposed_{next(_NUMBERS)}")
    try:
        exec(compile(text, "the proposed module", "exec", dont_inherit=True), module.__dict__)  # noqa: S102  it is what we have written
        yield module.STREAM
    finally:
        for table in set(Model.metadata.tables.values()) - before:
            Model.metadata.remove(table)


def run_sample(stream: Stream, raw: RawSlice, find_schemas: FindSchemas) -> ParsedSlice:
    """The sample through the stream's own pipeline, as a run would have it. Writes nothing."""
    return run_pipeline(StreamDecoder(stream, find_schemas).decode(raw), stream)


def outcomes_of(parsed: ParsedSlice) -> Outcomes:
    """What became of the messages, with the reasons of dead letters."""
    found: dict[tuple[str, str], list[Any]] = {}
    for letter in sorted(parsed.dead_letters, key=lambda letter: letter.number):
        kind = (letter.stage, _VALUE.sub("…", letter.error)[:_MOST_CHARACTERS])
        found.setdefault(kind, []).append(letter)
    reasons = [
        Reason(stage, some[0].error, parsed.raw.position(some[0].number), len(some), some[0].route)
        for (stage, _), some in found.items()
    ]
    reasons.sort(key=lambda reason: -reason.count)
    return Outcomes(
        messages=len(parsed.raw),
        rows={target.label: len(rows) for target, rows in parsed.rows.items()},
        deletes=sum(len(rows) for rows in parsed.deletes.values()),
        ignored=len(parsed.ignored),
        dead_letters=tuple(reasons),
    )


def first_rows(parsed: ParsedSlice, target: TargetTable, count: int) -> list[dict[str, Any]]:
    """The first rows of a table as the database gets them, without Kafka's columns."""
    rows = parsed.rows.get(target)
    if rows is None:
        return []
    names = [str(name) for name in rows.columns if name not in PLACE_COLUMNS]
    return [dict(zip(names, values, strict=True)) for values in driver_rows(rows.head(count), names)] if names else []


def check_free(stream_name: str, tables: Sequence[str]) -> None:
    """Raises ConfigError where a model of this process has one of these tables already."""
    known = {name.lower() for name in Model.metadata.tables}
    taken = [table for table in tables if table.lower() in known]
    if taken:
        raise ConfigError(
            f"stream {stream_name}: a model has table {taken[0]!r} already; choose another name", stream=stream_name
        )
