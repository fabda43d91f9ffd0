"""What each message is by its envelope and `delete_when`: a row, a delete, a truncated table, or nothing for a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.streams.envelopes.base import MessageEnvelope
from kafka_ingest.streams.formats.base import MessageReader
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Path, Wanted
from kafka_ingest.streams.json_schema import ROUTE_TYPE
from kafka_ingest.streams.stream import RouteByField, Stream

_MARK_TYPE: tuple[object, object] = (Any, None)
# A topic has a few; those of a malicious one are not kept for ever.
_MOST_KNOWN = 10_000

UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium puts in place of a large value that PostgreSQL did not send, as the change was not of it (its default for
`unavailable.value.placeholder`)."""
# As text, as JSON, and as the base64 of the bytes; a column of JSON holds the array that stands for an array.
_FORMS = pa.array(
    [
        UNAVAILABLE,
        f'"{UNAVAILABLE}"',
        "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
        f'["{UNAVAILABLE}"]',
    ],
    pa.large_string(),
)
_OBJECTS = (UNAVAILABLE, UNAVAILABLE.encode(), [UNAVAILABLE])


@dataclass(frozen=True, slots=True)
class Judged:
    """What a message is."""

    outcome: Literal["row", "delete", "nothing", "truncate", "bad"]
    row: Path = ()
    """Where the row stands that was written or deleted."""
    may_move: bool = False
    """Whether the row may have had another key before."""
    error: str = ""


class EnvelopeReader:
    """Reads what a stream's messages say about themselves: what they are, and, where it stands in a field, their type."""

    def __init__(self, stream: Stream, make: Callable[[Wanted], MessageReader]) -> None:
        self._envelope = stream.envelope or MessageEnvelope()
        self._when = stream.delete_rules.delete_when
        self._ignores_truncate = stream.on_truncate == "ignore"
        route = tuple(stream.route_by.path.split(".")) if isinstance(stream.route_by, RouteByField) else None
        self.is_judging = stream.envelope is not None or self._when is not None
        marks = (*self._envelope.marks, *(() if self._when is None else self._when.marks)) if self.is_judging else ()
        paths = list(dict.fromkeys([*([] if route is None else [route]), *marks]))
        self._marks = [paths.index(mark) for mark in marks]
        self._route = None if route is None else paths.index(route)
        self.reader = make(
            Wanted("message", [(p, ROUTE_TYPE if p == route else _MARK_TYPE) for p in paths], is_all=False)
        )
        self._known: dict[tuple[object, ...], Judged] = {}

    def types(self, decoded: Sequence[object]) -> list[Any] | None:
        """The messages' types; None where they do not stand in a field."""
        return None if self._route is None else self.reader.column(decoded, self._route)

    def judge(self, decoded: Sequence[object]) -> list[Judged]:
        """What each message is; equal ones are one object."""
        columns = [self.reader.column(decoded, place) for place in self._marks]
        if all(set(map(type, column)) <= {str, type(None)} for column in columns):
            tuples = list(zip(*columns, strict=True))
            known = {marks: self._judged(marks) for marks in set(tuples)}
            return [known[marks] for marks in tuples]
        return [self._judged(marks) for marks in zip(*columns, strict=True)]

    def _judged(self, marks: tuple[object, ...]) -> Judged:
        """`true` and 1 are two marks, and equal in Python; lists and objects have no hash."""
        key = (marks, tuple(map(type, marks)))
        try:
            found = self._known.get(key)
        except TypeError:
            return self._judge(marks)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[key] = self._judge(marks)
        return found

    def _judge(self, marks: tuple[object, ...]) -> Judged:
        own = len(self._envelope.marks)
        try:
            verdict = self._envelope.judge(*marks[:own])
        except BadMessage as error:
            return Judged("bad", error=str(error))
        if verdict == "truncate":
            return Judged("nothing" if self._ignores_truncate else "truncate")
        if verdict in ("row", "update") and self._when is not None and self._when.says(marks[own:]):
            return Judged("delete", self._envelope.row)
        if verdict == "delete":
            return Judged("delete", self._envelope.deleted)
        return Judged("nothing" if verdict == "nothing" else "row", self._envelope.row, may_move=verdict == "update")


def unavailable(columns: dict[str, pd.Series]) -> Iterator[tuple[str, list[int]]]:
    """Columns that hold UNAVAILABLE in place of a value, with the numbers of these messages."""
    for name, values in columns.items():
        if isinstance(values.dtype, pd.StringDtype):
            found = pc.is_in(pa.array(values, pa.large_string()), value_set=_FORMS).to_numpy(zero_copy_only=False)
        elif values.dtype == object:
            found = np.array([isinstance(value, str | bytes | list) and value in _OBJECTS for value in values.tolist()])
        else:
            continue
        numbers = values.index[found]
        if len(numbers):
            yield name, numbers.tolist()


def says_unavailable(name: str) -> str:
    """The error of a message that holds it."""
    return (
        f"{name}: {UNAVAILABLE}: PostgreSQL has not sent this value, as the change was not of it, and the row would lose it; "
        f"declare the column with keep_absent={UNAVAILABLE!r}, or set REPLICA IDENTITY FULL for the source's table"
    )
