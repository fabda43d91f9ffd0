"""CloudEvents 1.0 in the structured mode of the Kafka protocol binding: JSON with the attributes beside `data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kafka_ingest.streams.envelopes.base import MessageEnvelope, Verdict
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Path


@dataclass(frozen=True, slots=True)
class CloudEvents(MessageEnvelope):
    """Structured CloudEvents: the row is `data`, and `Envelope("time")` an attribute.

    In the binary mode the value is the data and the attributes are headers: there is no envelope to declare, but
    `RouteByHeader("ce_type")` and `source=Header("ce_time")`.
    """

    row: ClassVar[Path] = ("data",)
    deleted: ClassVar[Path] = ("data",)
    marks: ClassVar[tuple[Path, ...]] = (("specversion",),)

    def judge(self, *marks: object) -> Verdict:
        (version,) = marks
        if version == "1.0":
            return "row"
        raise BadMessage(
            "no field specversion, so this is no structured CloudEvent; of the binary mode leave the envelope out, and read the "
            'attributes from the headers: RouteByHeader("ce_type"), source=Header("ce_time")'
            if version is None
            else f"specversion is {version!r:.40}, not '1.0'"
        )
