"""Maxwell's daemon (https://maxwells-daemon.io/dataformat/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kafka_ingest.streams.envelopes.base import MessageEnvelope, Verdict, verdict_by_type
from kafka_ingest.streams.formats.leaves import Path

_VERDICTS: dict[object, Verdict] = {
    "insert": "row",
    "update": "update",
    "delete": "delete",
    "bootstrap-insert": "row",
    "bootstrap-start": "nothing",
    "bootstrap-complete": "nothing",
    "table-create": "nothing",
    "table-alter": "nothing",
    "table-drop": "truncate",
    "database-create": "nothing",
    "database-alter": "nothing",
    "database-drop": "nothing",
}


@dataclass(frozen=True, slots=True)
class Maxwell(MessageEnvelope):
    """Maxwell's messages: `type`, `database`, `table`, `data`, `old`, `ts`. A deleted row is whole, in `data`. An
    update that changes a row's key deletes the row of the old one.

    Of a TRUNCATE Maxwell sends nothing; that a table was dropped counts as one.
    """

    row: ClassVar[Path] = ("data",)
    deleted: ClassVar[Path] = ("data",)
    old: ClassVar[Path] = ("old",)
    marks: ClassVar[tuple[Path, ...]] = (("type",),)
    deletes: ClassVar[bool] = True

    def judge(self, *marks: object) -> Verdict:
        (kind,) = marks
        return verdict_by_type(kind, _VERDICTS, "Maxwell")
