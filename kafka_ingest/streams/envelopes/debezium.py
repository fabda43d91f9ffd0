"""Debezium's change events (https://debezium.io/documentation/reference/stable/connectors/), `before` and `after` in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kafka_ingest.streams.envelopes.base import MessageEnvelope, Verdict
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Path

_VERDICTS: dict[object, Verdict] = {
    "c": "row",  # created
    "u": "row",  # updated
    "r": "row",  # read by a snapshot
    "d": "delete",
    "t": "truncate",
    "m": "nothing",  # written by pg_logical_emit_message(), of no table
}


@dataclass(frozen=True, slots=True)
class Debezium(MessageEnvelope):
    """Change events of Debezium's connectors for relational databases: `op`, `before`, `after`, `source`, `ts_ms`.

    A delete is of the key in `before`, or, where `before` does not have it, in the message's key. Changes of the schema and
    markers of transactions count as ignored. Events unwrapped by ExtractNewRecordState have no envelope: declare
    `delete_when={"__deleted": ["true", True]}`.
    """

    row: ClassVar[Path] = ("after",)
    deleted: ClassVar[Path] = ("before",)
    has_whole_deletes: ClassVar[bool] = False  # REPLICA IDENTITY
    marks: ClassVar[tuple[Path, ...]] = (("op",), ("ddl",), ("databaseName",), ("status",), ("id",), ("event_count",))
    deletes: ClassVar[bool] = True

    def judge(self, *marks: object) -> Verdict:
        op, ddl, database, status, transaction, events = marks
        if op is None:
            is_schema_change = isinstance(ddl, str) and isinstance(database, str)
            is_marker = isinstance(transaction, str) and (
                (status == "BEGIN" and events is None) or (status == "END" and isinstance(events, int))
            )
            if is_schema_change or is_marker:
                return "nothing"
            raise BadMessage(
                "no field op, so this is no change event of Debezium; where it has the fields schema and payload, declare "
                "value_format=ConnectJson(), and where ExtractNewRecordState has unwrapped it, leave the envelope out and "
                "declare delete_when"
            )
        try:
            return _VERDICTS[op]
        except (KeyError, TypeError):
            raise BadMessage(f"op is {op!r:.40}, none of {', '.join(map(str, _VERDICTS))}") from None
