"""When so many messages are bad that nothing is loaded: a bad deploy must not drain a topic into dead letters."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kafka_ingest.errors import DeadLetterLimit
from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest.slices import BatchKind, DeadLetter, RangeCounts, RawSlice, ranges_text
from kafka_ingest.streams.stream import Stream

# So many messages are judged together: one bad message of one is not a bad deploy. A smaller slice is judged with those that
# were loaded before it.
JUDGED_MESSAGES = 100


def is_over_limit(stream: Stream, messages: int, dead_letters: int) -> bool:
    """Whether so large a part of these messages is bad that they must not load."""
    return messages >= JUDGED_MESSAGES and dead_letters > stream.max_dead_letter_ratio * messages


def judge(
    connection: sa.Connection,
    stream: Stream,
    raw: RawSlice,
    counts: Sequence[RangeCounts],
    letters: Sequence[DeadLetter],
) -> None:
    """Judge a slice by its own dead letters, and a small one also by what the ledger says of the messages before it, back to
    JUDGED_MESSAGES: however small the slices, about that many are loaded before a stream stops.

    A slice that is itself within the limit is loaded whatever came before it: with the fault mended, a stream goes on.
    Raises DeadLetterLimit.
    """
    messages = sum(c.range.size - c.absent for c in counts)
    dead = len(letters)
    if dead <= stream.max_dead_letter_ratio * messages:
        return
    before, dead_before = (
        (0, 0) if messages >= JUDGED_MESSAGES else _before(connection, stream, counts[0].kind, messages)
    )
    if not is_over_limit(stream, messages + before, dead + dead_before):
        return
    first = min(letters, key=lambda letter: letter.number)
    with_those_before = f", and {dead_before} of the {before} messages loaded before them" if before else ""
    raise DeadLetterLimit(
        f"stream {stream.name}: {dead} of {messages} messages in {ranges_text(c.range for c in counts)} are bad"
        f"{with_those_before}, over the limit of {stream.max_dead_letter_ratio:.0%}; nothing was loaded. "
        f"First: {raw.position(first.number)}: {first.error}. "
        "Fix the model or the producer, or raise max_dead_letter_ratio.",
        stream=stream.name,
        dead_letters=dead,
        messages=messages,
        limit=stream.max_dead_letter_ratio,
        ranges=tuple(c.range for c in counts),
    )


def _before(connection: sa.Connection, stream: Stream, kind: BatchKind, messages: int) -> tuple[int, int]:
    """Messages and dead letters of the newest entries that make the number up to JUDGED_MESSAGES."""
    c = BATCHES.c
    known = c.row_count + c.delete_count + c.dead_letter_count + c.ignored_count
    query = sa.select(known, c.dead_letter_count).where(c.stream == stream.name, c.kind == kind).order_by(c.id.desc())
    before = dead = 0
    for more, more_dead in connection.execute(query.limit(JUDGED_MESSAGES)):
        if messages + before >= JUDGED_MESSAGES:
            break
        before, dead = before + int(more), dead + int(more_dead)
    return before, dead
