"""Some messages of a slice, decoded at C speed; those that cannot be are dead letters, with the cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kafka_ingest.pipelines.diagnosis import BYTE_ORDER_MARK, explain
from kafka_ingest.slices import DeadLetter
from kafka_ingest.streams.formats.arrays import ArrayReader
from kafka_ingest.streams.formats.base import BAD_MESSAGE, ColumnReader, MessageReader
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.json_schema import MAX_DEPTH

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Messages:
    """Some messages of a slice: their numbers, and their values, none of them null."""

    numbers: Numbers
    values: Sequence[Any]

    def at(self, places: list[int]) -> Messages:
        """Those at these places among them."""
        return Messages(self.numbers[places], [self.values[place] for place in places])


def decode_each(
    reader: MessageReader | ArrayReader,
    messages: Messages,
    dead_letters: list[DeadLetter],
    *,
    stage: str,
    route: str | None = None,
) -> tuple[Sequence[object], Messages]:
    """Decode many messages at C speed, together where the format can: only those that break the loop are looked at one by one.

    Returns what was decoded and the messages it came from, without a byte order mark; the others are appended to `dead_letters`.
    """
    numbers, values = messages.numbers, messages.values
    if isinstance(reader, ColumnReader) and values and (together := reader.decode_together(values)) is not None:
        return together, messages
    # No shorter one can be too deep.
    decode = reader.decode_long if max(map(len, values), default=0) > 2 * MAX_DEPTH else reader.decode
    rest = iter(values)
    decoded: list[object] = []
    bad: list[int] = []
    while True:
        try:
            # extend() keeps what it appended before the iterator raised, so len(decoded) is where it stopped.
            decoded.extend(map(decode, rest))
            break
        except BAD_MESSAGE as error:
            at = len(decoded) + len(bad)
            json = reader.json_of(values[at])
            if json is not None and values[at].startswith(BYTE_ORDER_MARK):
                values = [value.removeprefix(BYTE_ORDER_MARK) for value in values]
                messages = Messages(numbers, values)
                rest = iter(values[at:])
                continue
            is_type_error = isinstance(error, msgspec.ValidationError) and "$" in str(error)
            dead_letters.append(
                DeadLetter(
                    number=int(numbers[at]),
                    stage="route" if is_type_error and stage == "route" else "decode",
                    error=_explain(error, json),
                    route=route,
                )
            )
            bad.append(at)
    if not bad:
        return decoded, messages
    refused = set(bad)
    return decoded, messages.at([place for place in range(len(values)) if place not in refused])


def _explain(error: Exception, json: bytes | None) -> str:
    """json: what the bytes hold of it; None where the format is another."""
    if isinstance(error, BadMessage):
        return str(error)
    if json is not None:
        return explain(error, json)
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start} of a text"
    return "the message is nested too deep" if isinstance(error, RecursionError) else str(error)
