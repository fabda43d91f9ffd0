"""What today's code makes of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from kafka_ingest.checks.message_search import Message, slice_of
from kafka_ingest.errors import SourceTruncated, StepError
from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.slices import Outcome
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

KEYS_OF_A_MESSAGE = 1_000
"""Of a message that is more rows by business key, only so many are looked for."""


class OwnKey(NamedTuple):
    """A business key that a message has a row of."""

    key: Mapping[str, object]
    own: object
    """The value of the model's own order field."""


@dataclass(frozen=True, slots=True)
class Today:
    """What today's code makes of a message."""

    outcome: Outcome
    target: TargetTable | None = None
    keys: tuple[OwnKey, ...] = ()
    """The business keys of its rows, where the table has such: one, or, of a message that is several rows, each once."""
    error: str | None = None

    def __str__(self) -> str:
        table = "" if self.target is None else f" of table {self.target.label}"
        words = {"row": f"a row{table}", "delete": f"a delete{table}", "ignored": "nothing (it is ignored)"}
        return words.get(self.outcome, f"a dead letter ({self.error})")


def outcomes_today(
    stream: Stream, messages: Sequence[Message], find_schemas: FindSchemas
) -> tuple[dict[int, Today], str | None]:
    """What today's code makes of each message, by its place; and why that is not known, where a step raises."""
    if not messages:
        return {}, None
    today: dict[int, Today] = {}
    first = 0
    for part in StreamDecoder(stream, find_schemas).decode_all(slice_of(messages)):
        try:
            found = _outcomes(run_pipeline(part, stream))
        except (StepError, SourceTruncated) as error:
            return {}, str(error)
        today |= {first + number: each for number, each in found.items()}
        first += len(part.raw)
    return today, None


def _outcomes(parsed: ParsedSlice) -> dict[int, Today]:
    found = {int(number): Today("ignored") for number in parsed.ignored}
    found |= {
        letter.number: Today("dead_letter", error=f"{letter.stage}: {letter.error}") for letter in parsed.dead_letters
    }
    for target, frame in parsed.deletes.items():
        found |= _of_frame("delete", target, frame)
    for target, frame in parsed.rows.items():
        found |= _of_frame("row", target, frame)
    return found


def _of_frame(outcome: Outcome, target: TargetTable, frame: pd.DataFrame) -> dict[int, Today]:
    columns = {name: arrow_column(frame, name).to_pylist() for name in target.key}
    own = None if target.order_by is None else arrow_column(frame, target.order_by).to_pylist()
    keys: dict[int, dict[tuple[object, ...], OwnKey]] = {}
    for place, number in enumerate(frame.index):
        of_message = keys.setdefault(int(number), {})
        if target.is_upsert and len(of_message) < KEYS_OF_A_MESSAGE:
            key = {name: values[place] for name, values in columns.items()}
            of_message[tuple(key.values())] = OwnKey(key, None if own is None else own[place])
    return {number: Today(outcome, target, tuple(found.values())) for number, found in keys.items()}
