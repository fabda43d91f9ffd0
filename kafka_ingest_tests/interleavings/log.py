"""The messages of an example, the streams that load them, and what each stream makes of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.slices import LogIdentity, OffsetRange, RawSlice, TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel
from kafka_ingest.streams.model import field as column
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice

TOPIC = "i"
TOPIC_ID, RECREATED_ID = "first", "second"
PARTITIONS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1))
REFUSED = 13
"""The number no table takes."""
NO_TAG = -1
NULL_CODE = "null"
"""Of a message that says so; one without a code does not carry it."""
HELD = "held"
"""The key of a row that a row of the table `i_child` refers to, so that it cannot be deleted."""


class Account(UpsertModel):
    __tablename__ = "i_account"
    __table_args__ = (sa.CheckConstraint(f"balance <> {REFUSED}", name="i_account_balance"),)

    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

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
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

    id: Mapped[str] = column(sa.String(8), primary_key=True)
    balance: Mapped[int] = column(sa.Integer)
    code: Mapped[str | None] = column(sa.String(8))


class Partial(UpsertModel):
    """An account that keeps what a message does not carry."""

    __tablename__ = "i_partial"

    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

    id: Mapped[str] = column(sa.String(8), primary_key=True)
    balance: Mapped[int] = column(sa.Integer)
    code: Mapped[str | None] = column(sa.String(8), keep_absent=True)
    tag: Mapped[int] = column(sa.Integer, keep_absent=True, default=NO_TAG)


class Turned(UpsertModel):
    """An account whose messages have an order of their own, deletes too, which stand in their values."""

    __tablename__ = "i_turned"
    __table_args__ = (sa.CheckConstraint(f"balance <> {REFUSED}", name="i_turned_balance"),)

    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "turn"

    id: Mapped[str] = column(sa.String(8), primary_key=True)
    balance: Mapped[int] = column(sa.Integer)
    turn: Mapped[int] = column(sa.Integer)


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
        version: Stream(
            name="interleaved",
            topics=TOPIC,
            routes=each,
            steps=(),
            max_dead_letter_ratio=1.0,
            delete_when={"gone": True} if model is Turned else None,
        )
        for version, each in routes.items()
    }


STREAMS = {model.__tablename__: _versions(model) for model in (Account, Coded, Partial, Turned)}
"""Table of the accounts → version → stream."""
DECODERS = {
    table: {version: StreamDecoder(stream) for version, stream in versions.items()}
    for table, versions in STREAMS.items()
}

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
    tag: int | None = None
    """Of a message that carries it."""
    is_partial: bool = False
    turn: int | None = None
    """The order of its own, where the log's accounts have one."""

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
        own = {} if self.turn is None else {"turn": self.turn}
        if self.kind == "gone" and own:
            return Msg({"type": "account", "id": self.key, "gone": True} | own, timestamp_ms=stamp)
        if self.kind == "gone":
            return Msg(None, key=self.key.encode(), timestamp_ms=stamp)
        if self.kind == "broken":
            return Msg(b"{", timestamp_ms=stamp)
        name = f"late {self.kind}" if self.is_late else self.kind
        number = "amount" if self.kind == "event" else "balance"
        fields: dict[str, object] = {"type": name, "id": self.key, number: self.value, "code": self.code} | own
        if self.is_partial:
            fields["code"] = None if self.code == NULL_CODE else self.code
            fields["tag"] = self.tag
            fields = {n: v for n, v in fields.items() if v is not None or (n == "code" and self.code == NULL_CODE)}
        return Msg(fields, timestamp_ms=stamp)

    def __str__(self) -> str:
        number = " refused" if self.value == REFUSED else f" {self.value}"
        text = f"{'late ' if self.is_late else ''}{self.kind} {self.key}{'' if self.kind in ('gone', 'broken') else number}"
        text += f" tag {self.tag}" if self.tag is not None else ""
        turn = "" if self.turn is None else f" turn {self.turn}"
        return f"{text}{f' code {self.code}' if self.code else ''}{turn} at {self.stamp} s"


@dataclass
class Log:
    """Two partitions."""

    messages: tuple[tuple[Message, ...], ...]
    is_coded: bool
    topic_id: str = TOPIC_ID
    is_partial: bool = False
    is_turned: bool = False
    """Whether its accounts have an order of their own."""
    _parsed: dict[tuple[tuple[OffsetRange, ...], Version], ParsedSlice] = field(default_factory=dict, repr=False)
    _recreated: Log | None = field(default=None, repr=False, compare=False)
    _whole: dict[Version, ParsedSlice] = field(default_factory=dict, repr=False)

    @property
    def table(self) -> str:
        """Of its accounts."""
        if self.is_turned:
            return "i_turned"
        return "i_partial" if self.is_partial else "i_coded" if self.is_coded else "i_account"

    @property
    def streams(self) -> dict[Version, Stream]:
        return STREAMS[self.table]

    @property
    def ends(self) -> tuple[int, ...]:
        return tuple(len(messages) for messages in self.messages)

    def parse(self, raw: RawSlice, version: Version) -> ParsedSlice:
        """What this version of the code makes of the messages of any slice."""
        return run_pipeline(DECODERS[self.table][version].decode(raw), self.streams[version])

    @property
    def recreated(self) -> Log:
        """Another topic of the same name, with as many messages."""
        if self._recreated is None:
            others = tuple(
                tuple(replace(m, value=m.value if m.value == REFUSED else m.value + 5_000) for m in messages)
                for messages in self.messages
            )
            self._recreated = replace(self, messages=others, topic_id=RECREATED_ID, _parsed={}, _whole={})
        return self._recreated

    def parsed(self, ranges: tuple[OffsetRange, ...], version: Version) -> ParsedSlice:
        """What this version of the code makes of the ranges, in a topic of two partitions that is read from its beginning.

        The whole log is parsed once, and the ranges are cut out of it: parsing takes longer than loading.
        """
        if version not in self._whole:
            parts = [Part([m.msg for m in messages], TOPIC, p) for p, messages in enumerate(self.messages)]
            self._whole[version] = self.parse(raw_slice(*parts), version)
        if (ranges, version) not in self._parsed:
            self._parsed[ranges, version] = _cut(self._whole[version], ranges, self.topic_id)
        return self._parsed[ranges, version]

    def in_order(self) -> list[tuple[int, int, Message]]:
        """(partition, offset, message) in the total order: by its own order where it has one, then by the running maximum of the
        partition's timestamps up to the offset, then partition, then offset."""
        keyed = []
        for partition, messages in enumerate(self.messages):
            highest = accumulate((m.stamp for m in messages), max)
            keyed += [
                (-1 if m.turn is None else m.turn, stamp, partition, o, m)
                for o, (stamp, m) in enumerate(zip(highest, messages, strict=True))
            ]
        return [(partition, offset, message) for *_, partition, offset, message in sorted(keyed, key=lambda k: k[:4])]

    def __str__(self) -> str:
        return "\n".join(
            f"{TOPIC}[{partition}]@{offset}: {message}"
            for partition, messages in enumerate(self.messages)
            for offset, message in enumerate(messages)
        )


def _cut(whole: ParsedSlice, ranges: tuple[OffsetRange, ...], topic_id: str) -> ParsedSlice:
    """The messages of these ranges out of a log of which range `n` is the whole partition `n`."""
    raw = whole.raw
    of_range = [
        np.flatnonzero((raw.range_index == r.partition) & (raw.offsets >= r.start) & (raw.offsets < r.end))
        for r in ranges
    ]
    kept = np.concatenate(of_range)
    number = np.full(len(raw), -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))

    def frames(found: dict[TargetTable, pd.DataFrame]) -> dict[TargetTable, pd.DataFrame]:
        some = {target: frame[number[frame.index.to_numpy()] >= 0] for target, frame in found.items()}
        return {t: f.set_axis(number[f.index.to_numpy()]) for t, f in some.items() if len(f)}

    return ParsedSlice(
        raw=RawSlice(
            ranges=ranges,
            range_index=np.repeat(np.arange(len(ranges), dtype=np.int32), [len(own) for own in of_range]),
            offsets=raw.offsets[kept],
            timestamps_ms=raw.timestamps_ms[kept],
            keys=[raw.keys[n] for n in kept],
            values=[raw.values[n] for n in kept],
            headers=[raw.headers[n] for n in kept],
            absent=(0,) * len(ranges),
            logs=(LogIdentity(topic_id),) * len(ranges),
            order_starts=tuple(raw.order_before(r.partition, r.start) for r in ranges),
        ),
        rows=frames(whole.rows),
        deletes=frames(whole.deletes),
        dead_letters=[replace(d, number=int(number[d.number])) for d in whole.dead_letters if number[d.number] >= 0],
    )
