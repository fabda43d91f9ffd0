"""The first contact of a run with its database, which is answered soon or not at all."""

from __future__ import annotations

from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.kafka.timeouts import StillWaiting, within
from kafka_ingest.sinks.base import Sink

# A connection and a ping take milliseconds; a third packet after a lost one is sent after 3 s.
FIRST_CONTACT_SECONDS = 5.0


def first_contact(sink: Sink) -> None:
    """Connect, once. The connection is the pool's then. Raises DatabaseUnavailable where it takes longer than
    FIRST_CONTACT_SECONDS, whatever timeouts the URL names, and what `Sink.classify_error` makes of a refusal."""
    try:
        within(FIRST_CONTACT_SECONDS, lambda: _connect(sink), release=lambda: None)
    except StillWaiting:
        raise DatabaseUnavailable(f"the database did not answer within {FIRST_CONTACT_SECONDS:g} s.") from None


def _connect(sink: Sink) -> None:
    with sink.errors("connecting to the database"), sink.engine.connect():
        pass
