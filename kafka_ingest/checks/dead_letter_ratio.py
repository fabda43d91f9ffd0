"""Is a suspicious part of the messages bad? Below the limit that fails a batch, there is one that warns."""

from __future__ import annotations

import sqlalchemy as sa

from kafka_ingest.checks.run_ledger import CheckResult
from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.dead_letter_limit import JUDGED_MESSAGES
from kafka_ingest.streams.stream import Stream

# A small run is judged together with the loads before it, looked for this many ledger entries back.
ENTRIES_BACK = 500


def check_dead_letter_ratio(sink: Sink, stream: Stream, run_id: str) -> CheckResult:
    """Dead letters of this run's messages against the stream's `warn_dead_letter_ratio`.

    A run of under 100 messages is judged together with the loads just before it; if these are under 100 too, it passes.
    """
    c = BATCHES.c
    with sink.errors("reading the ledger's dead letters"), sink.engine.connect() as connection:
        entries = connection.execute(
            _counts().where(c.stream == stream.name, c.run_id == run_id, c.kind != "lost").order_by(c.id.desc())
        ).all()
        messages, bad = sum(e.messages for e in entries), sum(e.dead_letter_count for e in entries)
        checked = len(entries)
        if entries and messages < JUDGED_MESSAGES:
            first = min(e.id for e in entries)
            before = connection.execute(
                _counts()
                .where(c.id < first, c.id >= first - ENTRIES_BACK, c.stream == stream.name, c.kind == "live")
                .order_by(c.id.desc())
            ).all()
            for each in before:
                if messages >= JUDGED_MESSAGES:
                    break
                messages, bad, checked = messages + each.messages, bad + each.dead_letter_count, checked + 1
    ratio = bad / messages if messages else 0.0
    limit = stream.warn_dead_letter_ratio
    details = {"dead_letter_ratio": round(ratio, 4), "limit": limit, "messages": messages, "dead_letters": bad}
    if messages < JUDGED_MESSAGES or ratio <= limit:
        return CheckResult(checked, (), details)
    return CheckResult(
        checked, (f"{bad} of {messages} messages are dead letters: {ratio:.1%}, over {limit:.1%}",), details
    )


def _counts() -> sa.Select[tuple[int, int, int]]:
    c = BATCHES.c
    messages = (c.end_offset - c.start_offset - c.absent_count).label("messages")
    return sa.select(c.id, messages, c.dead_letter_count)
