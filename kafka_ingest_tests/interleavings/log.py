"""The messages of an example, the streams that load them, and what each stream makes of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.records import OffsetRange, ParsedSlice, TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel
from kafka_ingest.streams.model import field as column
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.support.raws import MORNING_MS, Msg, Part, piped, raw_slice

TOPIC = "i"
PARTITIONS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1))
REFUSED = 13
"""The number no table takes."""
HELD = "held"
"""The key of a row that a row of the table `i_child` refers to, so that it cannot be deleted."""


class Account(UpsertModel):
    __tablename__ = "i_account"
    __table_args__ = (sa.CheckConstraint(f"balance <> {REFUSED}", name="i_account_balance"),)

    delete_on_tombstone: ClassVar[bool] = True

    id: Mapped[str] = column(sa.String(8), primary_key=True)
    balance: Mapped[int] = column(sa.Integer)
    code: Mapped[str | None] = column(sa.String(8))


class Coded(UpsertModel):
    """An account whose code no other may have."""

    __tablename__ = "i_coded"
    __table_args__ = (
        sa.CheckConstraint(f"balance <> {REFUSED}", name="i_coded_balance"),
        sa.UniqueConstraint("code", name="i_coded_code"),
    )

    delete_on_tombstone: ClassVar[bool] = True

    id: Mapped[str] = column(sa.String(8), primary_key=True)
    balance: Mapped[int] = column(sa.Integer)
    code: Mapped[str | None] = column(sa.String(8))


class First(AppendModel):
    __tablename__ = "i_first"
    __table_args__ = (sa.CheckConstraint(f"amount <> {REFUSED}", name="i_first_amount"),)

    amount: Mapped[int] = column(sa.Integer)


class Second(AppendModel):
    __tablename__ = "i_second"
    __table_args__ = (sa.CheckConstraint(f"amount <> {REFUSED}", name="i_second_amount"),)

    amount: Mapped[int] = column(sa.Integer)


Version = Literal["v1", "v2", "fixed"]
"""Of the code: `v2` brings events to the other table than `v1`; `fixed` is `v1` that also knows what is late."""


def _versions(model: type[UpsertModel]) -> dict[Version, Stream]:
    routes: dict[Version, Mapping[str, Any]] = {
        "v1": {"account": model, "event": First, "other": Second},
        "v2": {"account": model, "event": Second, "other": First},
        "fixed": {"account": model, "event": First, "other": Second, "late account": model, "late event": First},
    }
    return {
        version: Stream(name="interleaved", topics=TOPIC, routes=each, steps=(), max_dead_letter_ratio=1.0)
        for version, each in routes.items()
    }


STREAMS = {False: _versions(Account), True: _versions(Coded)}
"""Whether codes are unique → version → stream."""

Place = Literal["i_first", "i_second", "upsert", "delete", "dead"]


@dataclass(frozen=True)
class Message:
    kind: Literal["account", "gone", "event", "broken"]
    stamp: int
    """Seconds; Kafka's timestamp."""
    key: str = ""
    value: int = 0
    code: str | None = None
    is_late: bool = False

    def place(self, version: Version) -> Place:
        """What a version of the code makes of it, where the database does not refuse it for its number."""
        if self.kind == "broken" or self.value == REFUSED or (self.is_late and version != "fixed"):
            return "dead"
        if self.kind == "event":
            return "i_second" if version == "v2" else "i_first"
        return "delete" if self.kind == "gone" else "upsert"

    @property
    def msg(self) -> Msg:
        stamp = MORNING_MS + 1_000 * self.stamp
        if self.kind == "gone":
            return Msg(None, key=self.key.encode(), timestamp_ms=stamp)
        if self.kind == "broken":
            return Msg(b"{", timestamp_ms=stamp)
        name = f"late {self.kind}" if self.is_late else self.kind
        number = "amount" if self.kind == "event" else "balance"
        return Msg({"type": name, "id": self.key, number: self.value, "code": self.code}, timestamp_ms=stamp)

    def __str__(self) -> str:
        number = " refused" if self.value == REFUSED else f" {self.value}"
        text = f"{'late ' if self.is_late else ''}{self.kind} {self.key}{'' if self.kind in ('gone', 'broken') else number}"
        return f"{text}{f' code {self.code}' if self.code else ''} at {self.stamp} s"


@dataclass
class Log:
    """Two partitions."""

    messages: tuple[tuple[Message, ...], ...]
    is_coded: bool
    _parsed: dict[tuple[tuple[OffsetRange, ...], Version], ParsedSlice] = field(default_factory=dict, repr=False)

    @property
    def streams(self) -> dict[Version, Stream]:
        return STREAMS[self.is_coded]

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(len(messages) for messages in self.messages)

    def parsed(self, ranges: tuple[OffsetRange, ...], version: Version) -> ParsedSlice:
        """What this version of the code makes of the ranges; made once, as many interleavings load the same."""
        if (ranges, version) not in self._parsed:
            raw = raw_slice(
                *(
                    Part([m.msg for m in self.messages[r.partition][r.start : r.end]], TOPIC, r.partition, r.start)
                    for r in ranges
                )
            )
            self._parsed[ranges, version] = piped(self.streams[version], raw)
        return self._parsed[ranges, version]

    def in_order(self) -> list[tuple[int, int, Message]]:
        """(partition, offset, message) in the total order: by the running maximum of the partition's timestamps up to the
        offset, then partition, then offset."""
        keyed = []
        for partition, messages in enumerate(self.messages):
            highest = accumulate((m.stamp for m in messages), max)
            keyed += [(stamp, partition, o, m) for o, (stamp, m) in enumerate(zip(highest, messages, strict=True))]
        return [(partition, offset, message) for _, partition, offset, message in sorted(keyed, key=lambda k: k[:3])]

    def __str__(self) -> str:
        return "\n".join(
            f"{TOPIC}[{partition}]@{offset}: {message}"
            for partition, messages in enumerate(self.messages)
            for offset, message in enumerate(messages)
        )
