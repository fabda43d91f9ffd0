"""Canal's flat messages (https://github.com/alibaba/canal: protocol/FlatMessage)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kafka_ingest.streams.envelopes.base import MessageEnvelope, Verdict, verdict_by_type
from kafka_ingest.streams.formats.leaves import Path

_VERDICTS: dict[object, Verdict] = {
    "INSERT": "row",
    "UPDATE": "update",
    "DELETE": "delete",
    "TRUNCATE": "truncate",
    "ERASE": "truncate",  # DROP TABLE
    **dict.fromkeys(
        ("CREATE", "ALTER", "RENAME", "CINDEX", "DINDEX", "QUERY", "GTID", "XACOMMIT", "XAROLLBACK", "MHEARTBEAT"),
        "nothing",
    ),
}


@dataclass(frozen=True, slots=True)
class Canal(MessageEnvelope):
    """Canal's flat messages (`canal.mq.flatMessage=true`): `type`, `database`, `table`, `data`, `old`, `es`, `ts`.

    `data` is an array of rows, which a model explodes by itself; an AppendModel says `explode = "[]"`. All values are texts, so
    that columns of other types need a cast. A deleted row is whole, in `data`. An update that changes a row's key deletes
    the row of the old one.
    """

    row: ClassVar[Path] = ("data",)
    deleted: ClassVar[Path] = ("data",)
    old: ClassVar[Path] = ("old",)
    is_array: ClassVar[bool] = True
    marks: ClassVar[tuple[Path, ...]] = (("type",),)
    deletes: ClassVar[bool] = True

    def judge(self, *marks: object) -> Verdict:
        (kind,) = marks
        return verdict_by_type(kind, _VERDICTS, "Canal")
